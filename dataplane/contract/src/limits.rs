//! Named bounds of the dataplane. Each says what happens when it is reached.

/// Bytes in one pool slot: a datagram of an Ethernet MTU plus what the kernel writes in front of it
/// (`io_uring_recvmsg_out`, source address). A longer datagram is truncated by the kernel, counted, dropped.
pub const SLOT_LEN: usize = 2048;

/// Most slots a shard lends to the kernel for receiving. When all that are lent are full, datagrams wait in their sockets
/// (counted as `no_buffers`) until the next turn gives slots back.
pub const SLOTS_IN_KERNEL: u16 = 4096;

/// Slots of a broadcast whose targets keep up: an IDR picture that is not whole yet (30 packets at 1 Mbit/s), and what was
/// gathered and is not sent.
const SLOTS_PER_BROADCAST: u32 = 48;

/// Slots for targets that do not keep up, of all broadcasts together: some fifteen of 1 Mbit/s up to
/// [`SEND_QUEUE_MS_MAX`]. When they are used up the longest queue is dropped to its next IDR picture.
const SLOTS_FOR_SLOW_TARGETS: u32 = 8192;

/// Slots of a shard that carries up to `broadcasts_max` broadcasts, if no number is set. A buffer ring names 65535 at most.
pub fn pool_slots(broadcasts_max: usize) -> u32 {
    let broadcasts_max = u32::try_from(broadcasts_max).unwrap_or(u32::MAX);
    let for_broadcasts = broadcasts_max.saturating_mul(SLOTS_PER_BROADCAST);
    (u32::from(SLOTS_IN_KERNEL) + SLOTS_FOR_SLOW_TARGETS)
        .saturating_add(for_broadcasts)
        .min(u32::from(u16::MAX))
}

/// RTP packets a reorder buffer holds. When full, the oldest gap counts as lost and the buffer moves on.
pub const REORDER_PACKETS_MAX: usize = 256;

/// Slices of one open access unit. Beyond it the access unit is dropped up to the next IDR picture.
pub const ACCESS_UNIT_SLICES_MAX: usize = 1024;

/// Bytes of one access unit: nginx-rtmp closes the connection above a message of 1 MiB.
pub const ACCESS_UNIT_BYTES_MAX: usize = 1_000_000;

/// Bytes waiting for one RTMP target. Beyond it the oldest sound is dropped; no picture waits any more by then.
pub const SEND_QUEUE_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Slices waiting for one RTMP target; same consequence.
pub const SEND_QUEUE_SLICES_MAX: usize = 4096;

/// Media time waiting for one RTMP target, in ms; same consequence.
pub const SEND_QUEUE_MS_MAX: u32 = 10_000;

/// Of [`SEND_QUEUE_BYTES_MAX`] what pictures leave to sound: beyond the rest whole pictures are dropped up to the next
/// IDR picture. 10 s of sound at 200 kbit/s.
pub const SEND_QUEUE_SOUND_BYTES: usize = 256 * 1024;

/// Of [`SEND_QUEUE_SLICES_MAX`] what pictures leave to sound; same consequence. 10 s of AAC frames, two slices each.
pub const SEND_QUEUE_SOUND_SLICES: usize = 1024;

/// Media time in ms beyond which pictures do not wait; same consequence. Sound that came meanwhile has as long again.
pub const SEND_QUEUE_PICTURES_MS_MAX: u32 = 5_000;

/// iovecs of one vectored send (`IOV_MAX` is 1024); the rest goes with the next send.
pub const IOVECS_MAX: usize = 512;

/// RTMP targets of one broadcast; a further one is refused. Each costs a connection, a queue of at most
/// [`SEND_QUEUE_SLICES_MAX`] references and the writes; the payload is shared.
pub const TARGETS_PER_BROADCAST_MAX: usize = 256;

/// DTMF steps waiting on one call; a longer order is refused.
pub const DTMF_QUEUE_MAX: usize = 64;

/// Commands waiting for one shard; the control plane is told that the shard is busy.
pub const MAILBOX_COMMANDS_MAX: usize = 1024;

/// Reports waiting for the control plane; beyond it statistics are skipped, state changes wait in the shard.
pub const MAILBOX_REPORTS_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_is_the_sum_of_its_users_up_to_what_a_buffer_ring_can_name() {
        assert_eq!(pool_slots(1), 4096 + 8192 + 48);
        assert_eq!((pool_slots(500) as usize * SLOT_LEN) >> 20, 70);
        assert_eq!(pool_slots(usize::MAX), 65_535);
    }
}
