//! Published vectors, the rules of indices and keys, and what hostile packets come to.

use sipcast_contract::{Secret, SrtpMaster, SrtpSuite, Timestamp};

use super::cipher::Cipher;
use super::*;

const SUITES: [SrtpSuite; 3] =
    [SrtpSuite::AesCm128HmacSha1_80, SrtpSuite::AesCm128HmacSha1_32, SrtpSuite::AeadAes128Gcm];
const SSRC: u32 = 0xcafe_babe;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect("hex");
    digits.chunks(2).map(byte).collect()
}

fn master(seed: u8) -> Secret<SrtpMaster> {
    Secret::new(SrtpMaster {
        key: std::array::from_fn(|at| seed ^ at as u8),
        salt: std::array::from_fn(|at| seed.wrapping_mul(3) ^ at as u8),
    })
}

fn ms(at: u64) -> Timestamp {
    Timestamp::from_millis(at)
}

fn rtp(sequence_number: u16, ssrc: u32, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80, 96];
    packet.extend(sequence_number.to_be_bytes());
    packet.extend(7u32.to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet.extend(payload);
    packet
}

fn report(ssrc: u32) -> Vec<u8> {
    let mut packet = vec![0x80, 200, 0, 6];
    packet.extend(ssrc.to_be_bytes());
    packet.extend([9; 20]);
    packet
}

/// A peer that sends with one SSRC at a time, from rollover counter 0.
struct Peer(SrtpSender);

impl Peer {
    fn new(suite: SrtpSuite, seed: u8) -> Self {
        Self(SrtpSender::new(suite, &master(seed)))
    }

    fn rtp(&mut self, sequence_number: u16) -> Vec<u8> {
        protect(rtp(sequence_number, SSRC, b"some payload"), |out, len| self.0.protect_rtp(out, len))
    }

    fn rtcp(&mut self) -> Vec<u8> {
        protect(report(SSRC), |out, len| self.0.protect_rtcp(out, len))
    }
}

fn protect(mut packet: Vec<u8>, with: impl FnOnce(&mut [u8], usize) -> Result<usize, SrtpError>) -> Vec<u8> {
    let len = packet.len();
    packet.resize(len + TRAILER_LEN_MAX, 0);
    let end = with(&mut packet, len).expect("protected");
    packet.truncate(end);
    packet
}

/// Sequence number of what came through, which is checked to be whole.
fn unprotect(receiver: &mut SrtpReceiver, packet: &[u8], at: u64) -> Result<u16, SrtpError> {
    let mut packet = packet.to_vec();
    let len = receiver.unprotect_rtp(&mut packet, ms(at))?;
    assert_eq!(&packet[12..len], b"some payload");
    Ok(u16::from_be_bytes([packet[2], packet[3]]))
}

fn unprotect_report(receiver: &mut SrtpReceiver, packet: &[u8], at: u64) -> Result<(), SrtpError> {
    let mut packet = packet.to_vec();
    let len = receiver.unprotect_rtcp(&mut packet, ms(at))?;
    assert_eq!(&packet[..len], &report(SSRC)[..]);
    Ok(())
}

/// RFC 7714 §16.1 and §17.1: session keys are given, not derived.
#[test]
fn published_packets_of_aes_gcm() {
    let key: [u8; 16] = std::array::from_fn(|at| at as u8);
    let salt: [u8; 12] = hex("51756964 2070726f 2071756f").try_into().expect("12 bytes");
    let cipher = Cipher::gcm_of_session_key(&key, salt);
    let plain =
        hex("8040f17b 8041f8d3 5501a0b2 47616c6c 69612065 7374206f 6d6e6973 20646976 69736120 696e2070
         61727465 73207472 6573");
    let sealed =
        hex("8040f17b 8041f8d3 5501a0b2 f24de3a3 fb34de6c acba861c 9d7e4bca be633bd5 0d294e6f 42a5f47a
         51c7d19b 36de3adf 8833899d 7f27beb1 6a9152cf 765ee439 0cce");
    let mut packet = plain.clone();
    packet.resize(plain.len() + TRAILER_LEN_MAX, 0);
    let end = cipher.seal_rtp(&mut packet, plain.len(), 12, 0x5501_a0b2, 0xf17b).expect("room");
    assert_eq!(packet[..end], sealed);
    let len = cipher.open_rtp(&mut packet[..end], 12, 0x5501_a0b2, 0xf17b).expect("authentic");
    assert_eq!(packet[..len], plain);

    let plain =
        hex("81c8000d 4d617273 4e545031 4e545032 52545020 0000042a 0000e930 4c756e61 deadbeef deadbeef
         deadbeef deadbeef deadbeef");
    let sealed =
        hex("81c8000d 4d617273 63e94885 dcdab67c a727d766 2f6b7e99 7ff5c0f7 6c06f32d c676a5f1 730d6fda
         4ce09b46 86303ded 0bb9275b c84aa458 96cf4d2f c5abf872 45d9eade 800005d4");
    let mut packet = plain.clone();
    packet.resize(plain.len() + TRAILER_LEN_MAX, 0);
    let end = cipher.seal_rtcp(&mut packet, plain.len(), 0x4d61_7273, 0x5d4).expect("room");
    assert_eq!(packet[..end], sealed);
    assert_eq!(cipher.srtcp_index(&packet[..end]), Ok(0x5d4));
    let len = cipher.open_rtcp(&mut packet[..end], 0x4d61_7273, 0x5d4).expect("authentic");
    assert_eq!(packet[..len], plain);
}

/// Packets that libsrtp 2 makes of the master key of RFC 3711 B.3; its own test has the first. The other one shows how
/// a salt of 96 bits goes into the key derivation.
#[test]
fn packets_of_libsrtp() {
    let master = Secret::new(SrtpMaster {
        key: hex("e1f97a0d3e018be0d64fa32c06de4139").try_into().expect("16 bytes"),
        salt: hex("0ec675ad498afeebb6960b3aabe6").try_into().expect("14 bytes"),
    });
    let mut sender = SrtpSender::new(SrtpSuite::AesCm128HmacSha1_80, &master);
    let plain = hex("800f1234 decafbad cafebabe abababab abababab abababab abababab");
    let sealed = hex("800f1234 decafbad cafebabe 4e55dc4c e79978d8 8ca4d215 949d2402 b78d6acc 99ea179b 8dbb");
    assert_eq!(protect(plain.clone(), |out, len| sender.protect_rtp(out, len)), sealed);
    let mut sender = SrtpSender::new(SrtpSuite::AeadAes128Gcm, &master);
    let sealed =
        hex("800f1234 decafbad cafebabe 0eca0cf9 5ee955b2 6cd3d288 b49f6ca9 59171450 975f4144 da9cdd7a
         e989a277");
    assert_eq!(protect(plain, |out, len| sender.protect_rtp(out, len)), sealed);
}

#[test]
fn what_is_protected_is_unprotected_and_nothing_else() {
    for suite in SUITES {
        let mut peer = Peer::new(suite, 1);
        let mut receiver = SrtpReceiver::new(suite, &master(1));
        let (packet, report) = (peer.rtp(65_533), peer.rtcp());
        let (rtp_tag_len, rtcp_tag_len) = match suite {
            SrtpSuite::AesCm128HmacSha1_80 => (10, 10),
            SrtpSuite::AesCm128HmacSha1_32 => (4, 10),
            SrtpSuite::AeadAes128Gcm => (16, 16),
        };
        assert_eq!((packet.len(), report.len()), (24 + rtp_tag_len, 28 + 4 + rtcp_tag_len));
        assert_ne!(&packet[12..24], b"some payload");
        for at in 0..packet.len() {
            let mut forged = packet.clone();
            forged[at] ^= 0x04;
            assert!(unprotect(&mut receiver, &forged, 0).is_err(), "{suite:?} byte {at}");
        }
        for at in 0..report.len() {
            let mut forged = report.clone();
            forged[at] ^= 0x80;
            assert!(unprotect_report(&mut receiver, &forged, 0).is_err(), "{suite:?} byte {at}");
        }
        for len in 0..packet.len() {
            assert!(unprotect(&mut receiver, &packet[..len], 0).is_err());
            assert!(unprotect_report(&mut receiver, &report[..len.min(report.len() - 1)], 0).is_err());
        }
        let plain = rtp(65_533, SSRC, b"some payload, and it is not protected");
        assert_eq!(unprotect(&mut receiver, &plain, 0), Err(SrtpError::AuthenticationFailed));
        // After all that the state is as it was.
        assert_eq!(unprotect(&mut receiver, &packet, 0), Ok(65_533));
        assert_eq!(unprotect(&mut receiver, &packet, 0), Err(SrtpError::Replayed));
        assert_eq!(unprotect_report(&mut receiver, &report, 0), Ok(()));
        assert_eq!(unprotect_report(&mut receiver, &report, 0), Err(SrtpError::Replayed));
    }
}

#[test]
fn the_rollover_counter_survives_wraps_loss_and_reordering() {
    for suite in SUITES {
        let mut peer = Peer::new(suite, 2);
        let mut receiver = SrtpReceiver::new(suite, &master(2));
        let mut packets: Vec<(u16, Vec<u8>)> = Vec::new();
        for number in 65_533..4 * 65_536u32 {
            // A few around each wrap, else one of 200: much is lost.
            let from_wrap = (number + 16) % 65_536;
            if from_wrap < 32 || number % 200 == 0 {
                packets.push((number as u16, peer.rtp(number as u16)));
            }
        }
        // Each three in reverse, so that the wrap is crossed to and fro.
        for three in packets.chunks_mut(3) {
            three.reverse();
        }
        for (number, packet) in &packets {
            assert_eq!(unprotect(&mut receiver, packet, 0), Ok(*number), "{suite:?}");
        }
        for (_, packet) in &packets {
            // Close ones are known; those of former rounds would need a counter that is past.
            assert!(unprotect(&mut receiver, packet, 0).is_err());
        }
    }
}

#[test]
fn a_stream_whose_beginning_was_lost_is_joined_behind_its_first_wrap() {
    for suite in SUITES {
        let mut peer = Peer::new(suite, 3);
        let (before, behind) = (peer.rtp(65_534), peer.rtp(3));
        let mut receiver = SrtpReceiver::new(suite, &master(3));
        assert_eq!(unprotect(&mut receiver, &behind, 0), Ok(3));
        assert_eq!(unprotect(&mut receiver, &before, 0), Ok(65_534), "late, with the counter of before");
    }
}

#[test]
fn changed_keys_take_effect_and_those_of_before_hold_for_five_seconds() {
    for suite in SUITES {
        let (mut before, mut after) = (Peer::new(suite, 4), Peer::new(suite, 5));
        let mut receiver = SrtpReceiver::new(suite, &master(4));
        assert_eq!(unprotect(&mut receiver, &before.rtp(1), 0), Ok(1));
        receiver.set_keys(suite, &master(5), ms(1000));
        // The peer still sends with the old ones, then with the new ones, then something late arrives.
        let late = before.rtp(2);
        assert_eq!(unprotect(&mut receiver, &before.rtp(3), 1001), Ok(3));
        assert_eq!(unprotect_report(&mut receiver, &before.rtcp(), 1001), Ok(()));
        assert_eq!(unprotect(&mut receiver, &after.rtp(4), 1002), Ok(4));
        assert_eq!(unprotect_report(&mut receiver, &after.rtcp(), 1002), Ok(()));
        assert_eq!(unprotect(&mut receiver, &late, 5999), Ok(2));
        assert_eq!(unprotect(&mut receiver, &before.rtp(5), 6000), Err(SrtpError::AuthenticationFailed));
        assert_eq!(unprotect(&mut receiver, &after.rtp(6), 6000), Ok(6));
    }
}

#[test]
fn the_same_keys_again_keep_counter_and_window() {
    for suite in SUITES {
        let mut peer = Peer::new(suite, 6);
        let mut receiver = SrtpReceiver::new(suite, &master(6));
        assert_eq!(unprotect(&mut receiver, &peer.rtp(65_535), 0), Ok(65_535));
        let wrapped = peer.rtp(0);
        assert_eq!(unprotect(&mut receiver, &wrapped, 0), Ok(0));
        receiver.set_keys(suite, &master(6), ms(60_000));
        assert_eq!(unprotect(&mut receiver, &wrapped, 60_000), Err(SrtpError::Replayed));
        assert_eq!(unprotect(&mut receiver, &peer.rtp(1), 60_000), Ok(1), "the counter is still 1");
    }
}

#[test]
fn new_keys_are_taken_with_the_counter_carried_on_or_set_back() {
    for suite in SUITES {
        for is_set_back in [false, true] {
            let mut peer = Peer::new(suite, 7);
            let mut receiver = SrtpReceiver::new(suite, &master(7));
            for number in [30_000u16, 60_000, 20_000, 50_000, 10_000, 40_000, 1, 30_000] {
                assert_eq!(unprotect(&mut receiver, &peer.rtp(number), 0), Ok(number));
            }
            receiver.set_keys(suite, &master(8), ms(0));
            let mut after = if is_set_back { Peer::new(suite, 8) } else { peer };
            after.0.set_keys(suite, &master(8));
            assert_eq!(unprotect(&mut receiver, &after.rtp(30_001), 1), Ok(30_001), "{suite:?}");
            assert_eq!(unprotect(&mut receiver, &after.rtp(30_002), 9000), Ok(30_002), "{suite:?}");
        }
    }
}

#[test]
fn many_sources_hold_no_more_memory_and_the_latest_are_remembered() {
    let suite = SrtpSuite::AesCm128HmacSha1_80;
    let mut receiver = SrtpReceiver::new(suite, &master(9));
    let sent = |ssrc| {
        let mut sender = SrtpSender::new(suite, &master(9));
        protect(rtp(1, ssrc, b"some payload"), |out, len| sender.protect_rtp(out, len))
    };
    for ssrc in 0..100 {
        assert_eq!(unprotect(&mut receiver, &sent(ssrc), 0), Ok(1));
    }
    for ssrc in 92..100 {
        assert_eq!(unprotect(&mut receiver, &sent(ssrc), 0), Err(SrtpError::Replayed));
    }
    assert_eq!(unprotect(&mut receiver, &sent(1), 0), Ok(1), "long ago");
}

#[test]
fn header_extension_and_contributing_sources_stay_plain() {
    for suite in SUITES {
        let mut packet =
            vec![0x91, 96, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 9, 9, 9, 9, 0xbe, 0xde, 0, 1, 1, 2, 3, 4];
        packet.extend(b"payload");
        let plain = packet.clone();
        let mut sender = SrtpSender::new(suite, &master(10));
        let mut packet = protect(packet, |out, len| sender.protect_rtp(out, len));
        assert_eq!(packet[..24], plain[..24]);
        assert_ne!(packet[24..31], plain[24..]);
        let mut receiver = SrtpReceiver::new(suite, &master(10));
        let len = receiver.unprotect_rtp(&mut packet, ms(0)).expect("authentic");
        assert_eq!(packet[..len], plain);
        // An extension that reaches into the tag.
        let mut reaching = rtp(1, SSRC, &[0xbe, 0xde, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0]);
        reaching[0] |= 0x10;
        reaching.extend([0; 4]);
        assert!(receiver.unprotect_rtp(&mut reaching, ms(0)).is_err());
    }
}

#[test]
fn what_we_send_never_uses_an_index_twice() {
    let suite = SrtpSuite::AeadAes128Gcm;
    let mut sender = SrtpSender::new(suite, &master(11));
    let mut space = [0; 64];
    let mut send = |sequence_number| {
        space[..24].copy_from_slice(&rtp(sequence_number, SSRC, b"some payload"));
        sender.protect_rtp(&mut space, 24).map(|_| ())
    };
    assert_eq!(send(65_535), Ok(()));
    assert_eq!(send(65_535), Err(SrtpError::Replayed));
    assert_eq!(send(65_534), Err(SrtpError::Replayed));
    assert_eq!(send(0), Ok(()));
    assert_eq!(send(65_535), Err(SrtpError::Replayed));
    assert_eq!(sender.protect_rtp(&mut space[..30], 24), Err(SrtpError::Replayed));
    let mut fresh = SrtpSender::new(suite, &master(12));
    assert_eq!(fresh.protect_rtp(&mut space[..30], 24), Err(SrtpError::NoRoom));
    assert_eq!(fresh.protect_rtp(&mut space, 11), Err(SrtpError::Malformed));
    assert_eq!(fresh.protect_rtcp(&mut space, 7), Err(SrtpError::Malformed));
}

#[test]
fn any_bytes_are_survived() {
    for suite in SUITES {
        let mut receiver = SrtpReceiver::new(suite, &master(13));
        receiver.set_keys(suite, &master(14), ms(0));
        let mut state = 1u64;
        for round in 0..3000 {
            let mut next = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) as u8
            };
            let len = usize::from(next()) * (1 + round % 9);
            let mut packet: Vec<u8> = (0..len).map(|_| next()).collect();
            assert!(receiver.unprotect_rtp(&mut packet, ms(0)).is_err());
            assert!(receiver.unprotect_rtcp(&mut packet, ms(0)).is_err());
        }
        // Longer than a slot, in the grace of new keys.
        assert!(receiver.unprotect_rtp(&mut vec![0x80; 70_000], ms(0)).is_err());
    }
}

#[test]
fn keys_are_not_printed() {
    let receiver = SrtpReceiver::new(SrtpSuite::AeadAes128Gcm, &master(0xab));
    let sender = SrtpSender::new(SrtpSuite::AeadAes128Gcm, &master(0xab));
    let text = format!("{receiver:?} {sender:?}");
    assert_eq!(
        text,
        "SrtpReceiver { suite: AeadAes128Gcm, is_rekeyed: false } SrtpSender { suite: AeadAes128Gcm, .. }"
    );
}
