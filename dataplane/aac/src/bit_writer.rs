//! Bits into bytes, the first one highest (ISO/IEC 14496-3 §4.4, `bslbf` and `uimsbf`).

/// Writes to the front of a buffer.
pub(crate) struct BitWriter<'a> {
    out: &'a mut [u8],
    /// Whole bytes that are written.
    len: usize,
    /// Those bits behind them that are no whole byte yet, from the highest bit on: fewer than 8. They are written, too.
    bits: u64,
    waiting: u32,
}

impl<'a> BitWriter<'a> {
    /// Most bits of one [`BitWriter::put`].
    pub(crate) const BITS_MAX: u32 = 56;

    /// What does not fit into `out` is dropped; the caller knows the length beforehand. Behind what is written up to seven
    /// bytes of `out` become 0.
    pub(crate) fn new(out: &'a mut [u8]) -> Self {
        Self { out, len: 0, bits: 0, waiting: 0 }
    }

    /// Writes the lowest `count` bits of `value`, at most [`BitWriter::BITS_MAX`]; those above must be 0.
    ///
    /// Without a branch that depends on the bits: lengths of code words cannot be foretold.
    #[inline(always)]
    pub(crate) fn put(&mut self, value: u64, count: u32) {
        debug_assert!(count <= Self::BITS_MAX && value >> count == 0);
        let waiting = self.waiting + count;
        // In two steps, as `waiting` may be 0.
        self.bits |= value << (63 - waiting) << 1;
        match self.out.get_mut(self.len..self.len + 8) {
            Some(out) => out.copy_from_slice(&self.bits.to_be_bytes()),
            None => put_last(self.out, self.len, self.bits),
        }
        self.len += (waiting / 8) as usize;
        self.bits <<= waiting & !7;
        self.waiting = waiting & 7;
    }

    /// Bits written so far, those included that had no room.
    pub(crate) fn count(&self) -> usize {
        self.len * 8 + self.waiting as usize
    }

    /// Fills the last byte up with 0 and says how many bytes there are.
    pub(crate) fn finish(self) -> usize {
        self.len + usize::from(self.waiting > 0)
    }
}

/// The same as eight bytes at once, where the buffer ends before. It takes the writer apart, so that this one's parts may
/// stay in registers.
#[cold]
fn put_last(out: &mut [u8], len: usize, bits: u64) {
    let room = out.get_mut(len..).unwrap_or_default();
    room.iter_mut().zip(bits.to_be_bytes()).for_each(|(out, byte)| *out = byte);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_follow_one_another_highest_first() {
        let mut out = [0xff; 16];
        let mut writer = BitWriter::new(&mut out);
        for (value, count) in [(0b101, 3), (0, 0), (0xdead_beef, 32), (1, 1), (0x1234, 16), (0b11, 2)] {
            writer.put(value, count);
        }
        assert_eq!(writer.count(), 54);
        assert_eq!(writer.finish(), 7);
        let expected = 0b101_u64 << 51 | 0xdead_beef << 19 | 1 << 18 | 0x1234 << 2 | 0b11;
        assert_eq!(out[..7], (expected << 10).to_be_bytes()[..7]);
        assert_eq!(out[7 + 7..], [0xff; 2], "no more than seven bytes behind the end");
    }

    #[test]
    fn a_buffer_that_ends_with_the_bits_holds_them_all() {
        for room in 0..=16 {
            let (mut wide, mut exact) = ([0xff; 32], [0xff; 32]);
            for (out, end) in [(&mut wide, 32), (&mut exact, room)] {
                let mut writer = BitWriter::new(&mut out[..end]);
                (0..42).for_each(|n| writer.put(n % 8, 3));
                assert_eq!(writer.finish(), 16);
            }
            assert_eq!(exact[..room], wide[..room], "{room}");
            assert!(exact[room..].iter().all(|byte| *byte == 0xff), "{room}: beyond the buffer");
        }
    }

    #[test]
    fn what_has_no_room_is_dropped() {
        let mut out = [0; 3];
        let mut writer = BitWriter::new(&mut out);
        writer.put(0x0102_0304, 32);
        writer.put(0x05, 8);
        assert_eq!(writer.finish(), 5);
        assert_eq!(BitWriter::new(&mut out).finish(), 0);
    }
}
