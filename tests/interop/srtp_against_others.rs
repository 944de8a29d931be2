//! SRTP against other implementations, packet by packet: libsrtp in both directions, FFmpeg as sender.

use std::net::UdpSocket;
use std::process::Command;
use std::time::Duration;

use sipcast_contract::{Secret, SrtpMaster, SrtpSuite, Timestamp};
use sipcast_media::srtp::{SrtpError, SrtpReceiver, SrtpSender, TRAILER_LEN_MAX};

use crate::support::libsrtp::{Libsrtp, base64};
use crate::support::process::{Process, directory};

const SUITES: [SrtpSuite; 3] =
    [SrtpSuite::AesCm128HmacSha1_80, SrtpSuite::AesCm128HmacSha1_32, SrtpSuite::AeadAes128Gcm];
const SSRC: u32 = 0x1234_5678;
const NOW: Timestamp = Timestamp::ZERO;

#[test]
fn libsrtp_reads_what_we_protect_and_the_reverse_across_wraps() {
    for suite in SUITES {
        let master = master(suite);
        let (mut sender, mut receiver) = (SrtpSender::new(suite, &master), SrtpReceiver::new(suite, &master));
        let mut peer = libsrtp(suite, &master);
        // From 65 533 over three wraps, with gaps, packets of many lengths, reports in between.
        let mut number = 65_533u32;
        for round in 0..900usize {
            let plain = rtp(number as u16, round * 7 % 1300);
            let ours = protect(&plain, |out, len| sender.protect_rtp(out, len));
            let theirs = peer.ask("protect", "rtp", &plain).expect("protected");
            assert_eq!(ours, theirs, "{suite:?}: {number}");
            assert_eq!(
                peer.ask("unprotect", "rtp", &ours).as_deref(),
                Some(&plain[..]),
                "{suite:?}: {number}"
            );
            let mut packet = theirs;
            let len = receiver.unprotect_rtp(&mut packet, NOW).expect("authentic");
            assert_eq!(packet[..len], plain, "{suite:?}: {number}");
            number += if (number + 20) % 65_536 < 40 { 1 } else { 293 };
            if round % 10 != 0 {
                continue;
            }
            let plain = report(round / 10 % 5 * 24);
            let ours = protect(&plain, |out, len| sender.protect_rtcp(out, len));
            let theirs = peer.ask("protect", "rtcp", &plain).expect("protected");
            // libsrtp begins its index at 1, we at 0.
            assert_eq!(peer.ask("unprotect", "rtcp", &ours).as_deref(), Some(&plain[..]), "{suite:?}");
            let mut packet = theirs;
            let len = receiver.unprotect_rtcp(&mut packet, NOW).expect("authentic");
            assert_eq!(packet[..len], plain, "{suite:?}");
        }
        assert!(number > 3 * 65_536, "{number}");
    }
}

#[test]
fn what_libsrtp_sent_is_taken_out_of_order_and_once() {
    for suite in SUITES {
        let master = master(suite);
        let mut receiver = SrtpReceiver::new(suite, &master);
        let mut peer = libsrtp(suite, &master);
        let packets: Vec<Vec<u8>> = (65_500..65_700u32)
            .map(|number| peer.ask("protect", "rtp", &rtp(number as u16, 100)).expect("protected"))
            .collect();
        let order = (0..packets.len()).map(|at| if at % 20 < 18 { at ^ 1 } else { at });
        for at in order.filter(|at| at % 13 != 5) {
            let mut packet = packets[at].clone();
            assert!(receiver.unprotect_rtp(&mut packet, NOW).is_ok(), "{suite:?}: {at}");
            let again = receiver.unprotect_rtp(&mut packets[at].clone(), NOW);
            assert_eq!(again, Err(SrtpError::Replayed), "{suite:?}: {at}");
        }
        for at in (0..packets.len()).filter(|at| at % 13 == 5) {
            assert!(
                receiver.unprotect_rtp(&mut packets[at].clone(), NOW).is_ok(),
                "late, but not lost: {at}"
            );
        }
    }
}

#[test]
fn what_ffmpeg_sends_is_read() {
    // By the name of RFC 4568 FFmpeg's short tag is short on RTCP, too, against §6.2.2; by that of RFC 5764 it is not.
    for (suite, name) in [
        (SrtpSuite::AesCm128HmacSha1_80, "AES_CM_128_HMAC_SHA1_80"),
        (SrtpSuite::AesCm128HmacSha1_32, "SRTP_AES128_CM_HMAC_SHA1_32"),
    ] {
        let master = master(suite);
        let socket = UdpSocket::bind(("127.0.0.1", 0)).expect("a free port");
        socket.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket");
        let port = socket.local_addr().expect("bound").port();
        let key = [&master.reveal().key[..], &master.reveal().salt[..]].concat();
        let mut command = Command::new("ffmpeg");
        command.args(["-v", "error", "-re", "-f", "lavfi", "-i", "testsrc=size=320x240:rate=30", "-t", "20"]);
        command.args(["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-f", "rtp"]);
        command.args(["-srtp_out_suite", name, "-srtp_out_params", &base64(&key)]);
        command.arg(format!("srtp://127.0.0.1:{port}?rtcpport={port}&pkt_size=1200"));
        let ffmpeg = Process::start("ffmpeg", &directory("ffmpeg-srtp"), &mut command);
        let mut receiver = SrtpReceiver::new(suite, &master);
        let (mut packets, mut reports) = (0, 0);
        while packets < 60 || reports < 1 {
            let mut datagram = [0; 2048];
            let len = socket.recv(&mut datagram).expect("FFmpeg sends");
            if (192..=223).contains(&datagram[1]) {
                let len = receiver.unprotect_rtcp(&mut datagram[..len], NOW).expect("authentic");
                assert_eq!((datagram[1], len % 4), (200, 0), "a sender report");
                reports += 1;
            } else {
                let len = receiver.unprotect_rtp(&mut datagram[..len], NOW).expect("authentic");
                assert!((1..30).contains(&(datagram[12] & 0x1f)) && len > 12, "an H.264 payload");
                packets += 1;
            }
        }
        drop(ffmpeg);
    }
}

fn master(suite: SrtpSuite) -> Secret<SrtpMaster> {
    let seed = suite.name().len() as u8;
    Secret::new(SrtpMaster {
        key: std::array::from_fn(|at| (at as u8).wrapping_mul(37) ^ seed),
        salt: std::array::from_fn(|at| (at as u8).wrapping_mul(91) ^ seed),
    })
}

fn rtp(sequence_number: u16, payload_len: usize) -> Vec<u8> {
    let mut packet = vec![0x80, 96];
    packet.extend(sequence_number.to_be_bytes());
    packet.extend(u32::from(sequence_number).to_be_bytes());
    packet.extend(SSRC.to_be_bytes());
    packet.extend((0..payload_len).map(|at| at as u8 ^ sequence_number as u8));
    packet
}

fn report(blocks_len: usize) -> Vec<u8> {
    let mut packet = vec![0x80 | (blocks_len / 24) as u8, 201, 0, (1 + blocks_len / 4) as u8];
    packet.extend(SSRC.to_be_bytes());
    packet.extend((0..blocks_len).map(|at| at as u8));
    packet
}

fn protect(packet: &[u8], with: impl FnOnce(&mut [u8], usize) -> Result<usize, SrtpError>) -> Vec<u8> {
    let mut out = packet.to_vec();
    out.resize(packet.len() + TRAILER_LEN_MAX, 0);
    let len = with(&mut out, packet.len()).expect("protected");
    out.truncate(len);
    out
}

fn libsrtp(suite: SrtpSuite, master: &Secret<SrtpMaster>) -> Libsrtp {
    let master = master.reveal();
    Libsrtp::start(suite.name(), &[&master.key[..], &master.salt[..suite.salt_len()]].concat())
}
