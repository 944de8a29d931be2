//! RTMP handshake, simple (Adobe RTMP 1.0 §5.2) and with digests (HMAC-SHA256, as Flash Player 9 began it).
//! Takes: bytes of the peer. Gives: bytes to send, and whether it is complete.
//! Leaves out: encryption (RTMPE) and what follows the handshake.
//!
//! C1 and S1 are 1536 bytes: time (4), version or zero (4), filler (1528). With digests, 32 bytes of the filler
//! are an HMAC-SHA256 over the other 1504 bytes, at an offset that four bytes of the filler give:
//!
//! ```text
//! scheme 0:  offset = 12  + (sum of bytes 8..12)    % 728
//! scheme 1:  offset = 776 + (sum of bytes 772..776) % 728
//! ```
//!
//! C2 and S2 then end in an HMAC over their first 1504 bytes, keyed by an HMAC of the other side's digest;
//! in the simple handshake they echo S1 and C1.

use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::random::SplitMix64;

/// Bytes of C1, S1, C2, S2.
pub const PACKET_LEN: usize = 1536;

/// Why a handshake failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// C0 or S0 names a version that is not plain RTMP.
    #[error("not plain RTMP")]
    Version,
}

/// Which C1 a client sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Zero version, S1 is echoed.
    Simple,
    /// With a digest in scheme 0, as ffmpeg does; a server that knows no digests still sees a valid C1.
    #[default]
    Digest,
}

/// Where the digest lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    Zero,
    One,
}

/// The client's side.
#[derive(Debug)]
pub struct ClientHandshake {
    random: SplitMix64,
    received: Received,
    /// C2 is written, S2 comes next.
    answered: bool,
}

impl ClientHandshake {
    /// Begins: appends C0 and C1 to `out`.
    pub fn new(mode: Mode, seed: u64, out: &mut Vec<u8>) -> Self {
        let mut random = SplitMix64::new(seed);
        out.push(VERSION);
        let first = first_packet(mode, CLIENT_VERSION, CLIENT_KEY_PART, Scheme::Zero, &mut random);
        out.extend_from_slice(&first);
        Self { random, received: Received::new(1 + PACKET_LEN), answered: false }
    }

    /// Takes what it needs from the front of `input`, appends C2 to `out` when S1 is whole. `true`: complete, the
    /// rest of `input` is chunk stream.
    ///
    /// S2 is taken as it comes: real servers echo the wrong packet, or sign where nobody asked (librtmp and
    /// ffmpeg only warn).
    ///
    /// # Errors
    /// [`HandshakeError::Version`] when S0 is no plain RTMP.
    pub fn handle_input(&mut self, input: &mut &[u8], out: &mut Vec<u8>) -> Result<bool, HandshakeError> {
        if !self.answered {
            if !self.received.take(input)? {
                return Ok(false);
            }
            let s1 = self.received.packet();
            match find_digest(s1, SERVER_KEY_PART) {
                Some((_, digest)) => {
                    out.extend_from_slice(&signed_packet(&digest, CLIENT_KEY, &mut self.random))
                }
                None => out.extend_from_slice(s1),
            }
            self.answered = true;
            self.received = Received::new(PACKET_LEN);
        }
        self.received.take(input)
    }
}

/// The server's side.
#[derive(Debug)]
pub struct ServerHandshake {
    random: SplitMix64,
    received: Received,
    /// S0, S1 and S2 are written, C2 comes next.
    answered: bool,
}

impl ServerHandshake {
    /// Waits for C0 and C1.
    pub fn new(seed: u64) -> Self {
        Self { random: SplitMix64::new(seed), received: Received::new(1 + PACKET_LEN), answered: false }
    }

    /// Takes what it needs from the front of `input`, appends S0, S1 and S2 to `out` when C1 is whole. `true`:
    /// complete, the rest of `input` is chunk stream. The content of C2 is not looked at, as in every server.
    ///
    /// # Errors
    /// [`HandshakeError::Version`] when C0 is no plain RTMP.
    pub fn handle_input(&mut self, input: &mut &[u8], out: &mut Vec<u8>) -> Result<bool, HandshakeError> {
        if !self.answered {
            if !self.received.take(input)? {
                return Ok(false);
            }
            out.push(VERSION);
            let c1 = self.received.packet();
            match find_digest(c1, CLIENT_KEY_PART) {
                Some((scheme, digest)) => {
                    let s1 =
                        first_packet(Mode::Digest, SERVER_VERSION, SERVER_KEY_PART, scheme, &mut self.random);
                    out.extend_from_slice(&s1);
                    out.extend_from_slice(&signed_packet(&digest, SERVER_KEY, &mut self.random));
                }
                None => {
                    let s1 = first_packet(Mode::Simple, 0, SERVER_KEY_PART, Scheme::Zero, &mut self.random);
                    out.extend_from_slice(&s1);
                    out.extend_from_slice(c1);
                }
            }
            self.answered = true;
            self.received = Received::new(PACKET_LEN);
        }
        self.received.take(input)
    }
}

/// Gathers a fixed number of bytes over any fragmentation.
#[derive(Debug)]
struct Received {
    bytes: Vec<u8>,
    wanted: usize,
}

impl Received {
    fn new(wanted: usize) -> Self {
        Self { bytes: Vec::with_capacity(wanted), wanted }
    }

    /// `true` once all bytes are there. The version byte is checked as soon as it is.
    fn take(&mut self, input: &mut &[u8]) -> Result<bool, HandshakeError> {
        let (taken, rest) = input.split_at(input.len().min(self.wanted - self.bytes.len()));
        self.bytes.extend_from_slice(taken);
        *input = rest;
        if self.wanted == 1 + PACKET_LEN && !self.bytes.first().copied().is_none_or(is_plain) {
            return Err(HandshakeError::Version);
        }
        Ok(self.bytes.len() == self.wanted)
    }

    fn packet(&self) -> &[u8] {
        &self.bytes[1..]
    }
}

/// §5.2.2: 0-2 are old, 6 (and 8, 9) encrypt, 32 and above would be text.
const fn is_plain(version: u8) -> bool {
    matches!(version, 3..=5 | 7 | 10..=31)
}

fn first_packet(
    mode: Mode,
    version: u32,
    key: &[u8],
    scheme: Scheme,
    random: &mut SplitMix64,
) -> [u8; PACKET_LEN] {
    let mut packet = [0; PACKET_LEN];
    random.fill(&mut packet[8..]);
    if mode == Mode::Digest {
        packet[4..8].copy_from_slice(&version.to_be_bytes());
        let at = digest_offset(&packet, scheme);
        let digest = digest_around(&packet, at, key);
        packet[at..at + DIGEST_LEN].copy_from_slice(&digest);
    }
    packet
}

/// C2 or S2 with digests: filler, then an HMAC of it by a key made from the other side's digest.
fn signed_packet(digest: &[u8; DIGEST_LEN], key: &[u8], random: &mut SplitMix64) -> [u8; PACKET_LEN] {
    let mut packet = [0; PACKET_LEN];
    let (filler, signature) = packet.split_at_mut(PACKET_LEN - DIGEST_LEN);
    random.fill(filler);
    let key = hmac_sha256(key, &[digest]);
    signature.copy_from_slice(&hmac_sha256(&key, &[filler]));
    packet
}

/// The digest of a first packet and where it was found; `None`: a simple handshake.
fn find_digest(packet: &[u8], key: &[u8]) -> Option<(Scheme, [u8; DIGEST_LEN])> {
    // A zero version is how the simple handshake is told apart (§5.2.3).
    if packet[4..8] == [0; 4] {
        return None;
    }
    [Scheme::Zero, Scheme::One].into_iter().find_map(|scheme| {
        let at = digest_offset(packet, scheme);
        let digest = digest_around(packet, at, key);
        (packet[at..at + DIGEST_LEN] == digest).then_some((scheme, digest))
    })
}

fn digest_offset(packet: &[u8], scheme: Scheme) -> usize {
    let at = match scheme {
        Scheme::Zero => 8,
        Scheme::One => 772,
    };
    let sum: usize = packet[at..at + 4].iter().map(|&b| usize::from(b)).sum();
    at + 4 + sum % 728
}

fn digest_around(packet: &[u8], at: usize, key: &[u8]) -> [u8; DIGEST_LEN] {
    hmac_sha256(key, &[&packet[..at], &packet[at + DIGEST_LEN..]])
}

fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> [u8; DIGEST_LEN] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

const VERSION: u8 = 3;
const DIGEST_LEN: usize = 32;
/// What ffmpeg and Flash Player put there: any value from 9.0.115 on asks for digests.
const CLIENT_VERSION: u32 = 0x0900_7c02;
/// Flash Media Server 4.5; ffmpeg asks for a digest from 3 on.
const SERVER_VERSION: u32 = 0x0405_0001;
const CLIENT_KEY: &[u8; 62] = b"Genuine Adobe Flash Player 001\
    \xf0\xee\xc2\x4a\x80\x68\xbe\xe8\x2e\x00\xd0\xd1\x02\x9e\x7e\x57\
    \x6e\xec\x5d\x2d\x29\x80\x6f\xab\x93\xb8\xe6\x36\xcf\xeb\x31\xae";
const CLIENT_KEY_PART: &[u8] = CLIENT_KEY.split_at(30).0;
const SERVER_KEY: &[u8; 68] = b"Genuine Adobe Flash Media Server 001\
    \xf0\xee\xc2\x4a\x80\x68\xbe\xe8\x2e\x00\xd0\xd1\x02\x9e\x7e\x57\
    \x6e\xec\x5d\x2d\x29\x80\x6f\xab\x93\xb8\xe6\x36\xcf\xeb\x31\xae";
const SERVER_KEY_PART: &[u8] = SERVER_KEY.split_at(36).0;

#[cfg(test)]
mod tests {
    use super::*;

    fn server_reply(first: &[u8]) -> (ServerHandshake, Vec<u8>) {
        let mut server = ServerHandshake::new(7);
        let mut out = Vec::new();
        let mut input = first;
        assert_eq!(server.handle_input(&mut input, &mut out), Ok(false));
        assert_eq!(out.len(), 1 + 2 * PACKET_LEN);
        (server, out)
    }

    fn signature_is_valid(packet: &[u8], digest: &[u8; 32], key: &[u8]) -> bool {
        let key = hmac_sha256(key, &[digest]);
        hmac_sha256(&key, &[&packet[..1504]])[..] == packet[1504..]
    }

    #[test]
    fn both_modes_complete_at_every_fragmentation() {
        for mode in [Mode::Simple, Mode::Digest] {
            for piece in [1, 2, 3, 700, 1536, 1537, 3072, 5000] {
                let (mut to_server, mut to_client) = (Vec::new(), Vec::new());
                let mut client = ClientHandshake::new(mode, 1, &mut to_server);
                let mut server = ServerHandshake::new(2);
                let mut done = (false, false);
                let mut rounds = 0;
                while !(done.0 && done.1) {
                    let batch = std::mem::take(&mut to_server);
                    for mut part in batch.chunks(piece) {
                        done.1 = server.handle_input(&mut part, &mut to_client).expect("plain RTMP");
                    }
                    let batch = std::mem::take(&mut to_client);
                    for mut part in batch.chunks(piece) {
                        done.0 = client.handle_input(&mut part, &mut to_server).expect("plain RTMP");
                    }
                    rounds += 1;
                    assert!(rounds < 5);
                }
            }
        }
    }

    #[test]
    fn a_simple_client_gets_its_packet_echoed() {
        let mut first = Vec::new();
        let mut client = ClientHandshake::new(Mode::Simple, 3, &mut first);
        assert_eq!(first[5..9], [0; 4]);
        let (_, reply) = server_reply(&first);
        assert_eq!(reply[0], 3);
        assert_eq!(reply[5..9], [0; 4]);
        assert_eq!(reply[1 + PACKET_LEN..], first[1..]);
        let mut c2 = Vec::new();
        let mut input = &reply[..];
        assert_eq!(client.handle_input(&mut input, &mut c2), Ok(true));
        assert_eq!(c2, reply[1..1 + PACKET_LEN]);
    }

    #[test]
    fn digests_are_signed_both_ways_in_both_schemes() {
        for scheme in [Scheme::Zero, Scheme::One] {
            let mut random = SplitMix64::new(11);
            let c1 = first_packet(Mode::Digest, CLIENT_VERSION, CLIENT_KEY_PART, scheme, &mut random);
            let (found, c1_digest) = find_digest(&c1, CLIENT_KEY_PART).expect("signed");
            assert_eq!(found, scheme);
            let mut first = vec![3];
            first.extend_from_slice(&c1);
            let (_, reply) = server_reply(&first);
            let (s1, s2) = reply[1..].split_at(PACKET_LEN);
            let (found, s1_digest) = find_digest(s1, SERVER_KEY_PART).expect("signed");
            assert_eq!(found, scheme);
            assert!(signature_is_valid(s2, &c1_digest, SERVER_KEY));
            let mut c2 = Vec::new();
            let mut client = ClientHandshake::new(Mode::Digest, 3, &mut Vec::new());
            let mut input = &reply[..];
            assert_eq!(client.handle_input(&mut input, &mut c2), Ok(true));
            assert!(signature_is_valid(&c2, &s1_digest, CLIENT_KEY));
        }
    }

    #[test]
    fn a_broken_digest_falls_back_to_the_echo() {
        let mut first = Vec::new();
        let _ = ClientHandshake::new(Mode::Digest, 3, &mut first);
        first[1500] ^= 1;
        let (_, reply) = server_reply(&first);
        assert_eq!(reply[1 + PACKET_LEN..], first[1..]);
    }

    #[test]
    fn a_text_protocol_and_encryption_are_refused_at_the_first_byte() {
        for byte in [b'G', 0, 6, 32, 255] {
            let mut out = Vec::new();
            let mut input = &[byte][..];
            assert_eq!(
                ServerHandshake::new(1).handle_input(&mut input, &mut out),
                Err(HandshakeError::Version)
            );
        }
    }

    #[test]
    fn what_follows_the_handshake_is_left_in_the_input() {
        let mut first = Vec::new();
        let _ = ClientHandshake::new(Mode::Simple, 3, &mut first);
        first.extend_from_slice(&[9; PACKET_LEN]);
        first.extend_from_slice(b"chunks");
        let mut input = &first[..];
        assert_eq!(ServerHandshake::new(1).handle_input(&mut input, &mut Vec::new()), Ok(true));
        assert_eq!(input, b"chunks");
    }
}
