//! SRTP and SRTCP (RFC 3711, RFC 7714): a stranger's bytes never pass, what the other side protected does, once.

use std::time::Duration;

use sipcast_contract::{Secret, SrtpMaster, SrtpSuite, Timestamp};
use sipcast_media::srtp::{SrtpReceiver, SrtpSender};

use crate::input::Input;

const SUITES: [SrtpSuite; 3] =
    [SrtpSuite::AeadAes128Gcm, SrtpSuite::AesCm128HmacSha1_80, SrtpSuite::AesCm128HmacSha1_32];

/// Room for tag, MKI and index behind a packet.
const ROOM: usize = 64;

/// Protected packets, damaged ones, strangers' ones, and new keys.
pub fn packets(data: &[u8]) {
    let mut input = Input::new(data);
    let suite = SUITES[usize::from(input.byte()) % SUITES.len()];
    let mut sender = SrtpSender::new(suite, &master(1));
    let mut receiver = SrtpReceiver::new(suite, &master(1));
    let mut now = Timestamp::from_millis(1000);
    while !input.is_empty() {
        let op = input.byte();
        let is_rtcp = op & 1 == 1;
        match op >> 1 & 7 {
            0 => {
                let mut packet = input.counted(1500).to_vec();
                let taken = match is_rtcp {
                    true => receiver.unprotect_rtcp(&mut packet, now),
                    false => receiver.unprotect_rtp(&mut packet, now),
                };
                assert!(taken.is_err(), "nobody guesses a tag");
            }
            1 => {
                let key = input.byte();
                sender.set_keys(suite, &master(key));
                receiver.set_keys(suite, &master(key), now);
            }
            2 => now = now + Duration::from_millis(u64::from(input.number())),
            damage => {
                let plain = input.counted(1400);
                let mut packet = plain.to_vec();
                packet.resize(plain.len() + ROOM, 0);
                let protected = match is_rtcp {
                    true => sender.protect_rtcp(&mut packet, plain.len()),
                    false => sender.protect_rtp(&mut packet, plain.len()),
                };
                let Ok(len) = protected else { continue };
                assert!(len > plain.len() && len <= plain.len() + ROOM);
                packet.truncate(len);
                if damage == 3 {
                    let at = usize::from(input.number()) % len;
                    packet[at] ^= 1 << (input.byte() & 7);
                }
                let unprotect = |receiver: &mut SrtpReceiver, mut packet: Vec<u8>| {
                    let len = match is_rtcp {
                        true => receiver.unprotect_rtcp(&mut packet, now)?,
                        false => receiver.unprotect_rtp(&mut packet, now)?,
                    };
                    packet.truncate(len);
                    Ok::<_, sipcast_media::srtp::SrtpError>(packet)
                };
                // Old ones may be beyond the window; but what passes is what was sent, and passes once.
                let first = unprotect(&mut receiver, packet.clone());
                if let Ok(taken) = first {
                    assert_ne!(damage, 3, "a damaged packet passed");
                    assert_eq!(taken, plain, "what passes is what was sent");
                    assert!(unprotect(&mut receiver, packet).is_err(), "a replay passed");
                }
            }
        }
    }
}

fn master(fill: u8) -> Secret<SrtpMaster> {
    Secret::new(SrtpMaster { key: [fill; SrtpSuite::KEY_LEN], salt: [!fill; SrtpSuite::SALT_LEN_MAX] })
}
