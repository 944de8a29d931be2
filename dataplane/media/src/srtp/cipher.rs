//! The session keys of one direction, and what they do to one packet whose index is known.
//! AES in counter mode with HMAC-SHA1 (RFC 3711 §4.1.1, §4.2.1), AES-GCM (RFC 7714 §8, §9). Stateless: indices,
//! replay and rollover are `receive` and `send`.
//!
//! AES comes from AWS-LC, whose assembly is fast on every CPU; HMAC-SHA1 from RustCrypto, a fifth faster here.

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::EncryptingKey;
use hmac::{Hmac, Mac};
use sha1::Sha1;
use sipcast_contract::{SrtpMaster, SrtpSuite};

use super::key_derivation::{Label, add_key_stream, aes_ctr, derive};
use super::{E_BIT, RTCP_HEADER_LEN, SRTCP_INDEX_LEN, SrtpError};

/// Session keys of RTP and RTCP.
pub(super) struct SessionKeys {
    pub(super) rtp: Cipher,
    pub(super) rtcp: Cipher,
}

/// The keys of one of them.
pub(super) enum Cipher {
    Counter(Box<Counter>),
    Gcm(Box<Gcm>),
}

/// AES_CM_128_HMAC_SHA1.
pub(super) struct Counter {
    key: EncryptingKey,
    salt: [u8; 14],
    /// Keyed, cloned for each packet: the two blocks of the key are hashed once.
    hmac: Hmac<Sha1>,
    tag_len: usize,
}

/// AEAD_AES_128_GCM.
pub(super) struct Gcm {
    key: LessSafeKey,
    salt: [u8; 12],
}

impl SessionKeys {
    pub(super) fn new(suite: SrtpSuite, master: &SrtpMaster) -> Self {
        let labels = (Label::RtpEncryption, Label::RtpAuthentication, Label::RtpSalt);
        let rtp_tag_len = match suite {
            // RFC 4568 §6.2.2.
            SrtpSuite::AesCm128HmacSha1_32 => 4,
            _ => HMAC_TAG_LEN,
        };
        let rtcp_labels = (Label::RtcpEncryption, Label::RtcpAuthentication, Label::RtcpSalt);
        Self {
            rtp: Cipher::new(suite, master, labels, rtp_tag_len),
            rtcp: Cipher::new(suite, master, rtcp_labels, HMAC_TAG_LEN),
        }
    }
}

impl Cipher {
    fn new(
        suite: SrtpSuite,
        master: &SrtpMaster,
        (encryption, authentication, salt): (Label, Label, Label),
        tag_len: usize,
    ) -> Self {
        let key = derive(suite, master, encryption);
        match suite {
            SrtpSuite::AeadAes128Gcm => {
                let key = UnboundKey::new(&AES_128_GCM, &key).expect("an AES-128 key has 16 bytes");
                Self::Gcm(Box::new(Gcm { key: LessSafeKey::new(key), salt: derive(suite, master, salt) }))
            }
            SrtpSuite::AesCm128HmacSha1_80 | SrtpSuite::AesCm128HmacSha1_32 => {
                let authentication = derive::<20>(suite, master, authentication);
                let hmac = <Hmac<Sha1> as Mac>::new_from_slice(&authentication)
                    .expect("HMAC takes a key of any length");
                let salt = derive(suite, master, salt);
                Self::Counter(Box::new(Counter { key: aes_ctr(&key), salt, hmac, tag_len }))
            }
        }
    }

    /// Whether a packet that fails is spoiled: then it can be tried with one index only.
    pub(super) const fn spoils_what_fails(&self) -> bool {
        // AEAD decrypts before it knows.
        matches!(self, Self::Gcm(_))
    }

    const fn tag_len(&self) -> usize {
        match self {
            Self::Counter(counter) => counter.tag_len,
            Self::Gcm(_) => GCM_TAG_LEN,
        }
    }

    /// Decrypts an RTP packet of which `header_len` bytes are plain; gives its length without tag.
    pub(super) fn open_rtp(
        &self,
        packet: &mut [u8],
        header_len: usize,
        ssrc: u32,
        index: u64,
    ) -> Result<usize, SrtpError> {
        let len = packet.len().checked_sub(self.tag_len()).ok_or(SrtpError::Malformed)?;
        if len < header_len {
            return Err(SrtpError::Malformed);
        }
        match self {
            Self::Counter(counter) => {
                let (plain, tag) = packet.split_at_mut(len);
                // RFC 3711 §4.2: the rollover counter goes behind the packet.
                counter.verify(plain, &rollover_counter(index).to_be_bytes(), tag)?;
                add_key_stream(&counter.key, counter.iv(ssrc, index), &mut plain[header_len..]);
            }
            Self::Gcm(gcm) => {
                let (header, rest) = packet.split_at_mut(header_len);
                gcm.open(gcm.rtp_nonce(ssrc, index), header, rest)?;
            }
        }
        Ok(len)
    }

    /// Encrypts the first `len` bytes of `out` and puts the tag behind them; gives the length with tag.
    pub(super) fn seal_rtp(
        &self,
        out: &mut [u8],
        len: usize,
        header_len: usize,
        ssrc: u32,
        index: u64,
    ) -> Result<usize, SrtpError> {
        let end = len + self.tag_len();
        let (packet, tag) = out.get_mut(..end).ok_or(SrtpError::NoRoom)?.split_at_mut(len);
        match self {
            Self::Counter(counter) => {
                add_key_stream(&counter.key, counter.iv(ssrc, index), &mut packet[header_len..]);
                counter.sign(packet, &rollover_counter(index).to_be_bytes(), tag);
            }
            Self::Gcm(gcm) => {
                let (header, payload) = packet.split_at_mut(header_len);
                gcm.seal(gcm.rtp_nonce(ssrc, index), header, payload, tag)?;
            }
        }
        Ok(end)
    }

    /// The index that an SRTCP packet carries in its trailer (RFC 3711 §3.4).
    pub(super) fn srtcp_index(&self, packet: &[u8]) -> Result<u32, SrtpError> {
        if packet.len() < RTCP_HEADER_LEN + SRTCP_INDEX_LEN + self.tag_len() {
            return Err(SrtpError::Malformed);
        }
        let behind = match self {
            Self::Counter(counter) => counter.tag_len,
            // RFC 7714 §9: the index comes last.
            Self::Gcm(_) => 0,
        };
        let word = &packet[..packet.len() - behind];
        let word = word.last_chunk::<SRTCP_INDEX_LEN>().map_or(0, |word| u32::from_be_bytes(*word));
        // Unencrypted SRTCP must have been agreed on (RFC 4568 §6.3.2), and never is.
        if word & E_BIT == 0 { Err(SrtpError::Malformed) } else { Ok(word & !E_BIT) }
    }

    /// Decrypts an SRTCP packet whose index was read with [`Cipher::srtcp_index`]; gives its plain length.
    pub(super) fn open_rtcp(&self, packet: &mut [u8], ssrc: u32, index: u32) -> Result<usize, SrtpError> {
        let len = packet
            .len()
            .checked_sub(SRTCP_INDEX_LEN + self.tag_len())
            .filter(|len| *len >= RTCP_HEADER_LEN)
            .ok_or(SrtpError::Malformed)?;
        match self {
            Self::Counter(counter) => {
                let (signed, tag) = packet.split_at_mut(len + SRTCP_INDEX_LEN);
                counter.verify(signed, &[], tag)?;
                let iv = counter.iv(ssrc, index.into());
                add_key_stream(&counter.key, iv, &mut signed[RTCP_HEADER_LEN..len]);
            }
            Self::Gcm(gcm) => {
                let (header, rest) = packet.split_at_mut(RTCP_HEADER_LEN);
                let sealed_len = rest.len() - SRTCP_INDEX_LEN;
                gcm.open(gcm.rtcp_nonce(ssrc, index), &srtcp_aad(header, index), &mut rest[..sealed_len])?;
            }
        }
        Ok(len)
    }

    /// Encrypts the first `len` bytes of `out`, an RTCP packet, and puts the trailer behind them.
    pub(super) fn seal_rtcp(
        &self,
        out: &mut [u8],
        len: usize,
        ssrc: u32,
        index: u32,
    ) -> Result<usize, SrtpError> {
        let end = len + SRTCP_INDEX_LEN + self.tag_len();
        let packet = out.get_mut(..end).ok_or(SrtpError::NoRoom)?;
        let word = (index | E_BIT).to_be_bytes();
        match self {
            Self::Counter(counter) => {
                let iv = counter.iv(ssrc, index.into());
                add_key_stream(&counter.key, iv, &mut packet[RTCP_HEADER_LEN..len]);
                let (signed, tag) = packet.split_at_mut(len + SRTCP_INDEX_LEN);
                signed[len..].copy_from_slice(&word);
                counter.sign(signed, &[], tag);
            }
            Self::Gcm(gcm) => {
                let (header, rest) = packet.split_at_mut(RTCP_HEADER_LEN);
                let (sealed, trailer) = rest.split_at_mut(len - RTCP_HEADER_LEN);
                let (tag, index_word) = trailer.split_at_mut(GCM_TAG_LEN);
                gcm.seal(gcm.rtcp_nonce(ssrc, index), &srtcp_aad(header, index), sealed, tag)?;
                index_word.copy_from_slice(&word);
            }
        }
        Ok(end)
    }
}

impl Counter {
    /// RFC 3711 §4.1.1: IV = (k_s * 2^16) XOR (SSRC * 2^64) XOR (i * 2^16).
    fn iv(&self, ssrc: u32, index: u64) -> [u8; 16] {
        let mut iv = [0; 16];
        iv[..14].copy_from_slice(&self.salt);
        exclusive_or(&mut iv[4..8], &ssrc.to_be_bytes());
        exclusive_or(&mut iv[6..14], &index.to_be_bytes());
        iv
    }

    fn mac(&self, packet: &[u8], behind: &[u8]) -> Hmac<Sha1> {
        let mut hmac = self.hmac.clone();
        hmac.update(packet);
        hmac.update(behind);
        hmac
    }

    /// In constant time, so that a forger learns nothing from how long it takes.
    fn verify(&self, packet: &[u8], behind: &[u8], tag: &[u8]) -> Result<(), SrtpError> {
        let verified = self.mac(packet, behind).verify_truncated_left(tag);
        verified.map_err(|_| SrtpError::AuthenticationFailed)
    }

    fn sign(&self, packet: &[u8], behind: &[u8], tag: &mut [u8]) {
        let whole = self.mac(packet, behind).finalize().into_bytes();
        tag.copy_from_slice(&whole[..self.tag_len]);
    }
}

impl Gcm {
    /// RFC 7714 §8.1: 16 bits of 0, SSRC, rollover counter, sequence number; XOR the salt.
    fn rtp_nonce(&self, ssrc: u32, index: u64) -> Nonce {
        self.nonce(ssrc, index)
    }

    /// RFC 7714 §9.1: 16 bits of 0, SSRC, 16 bits of 0, the index of 31 bits; XOR the salt.
    fn rtcp_nonce(&self, ssrc: u32, index: u32) -> Nonce {
        self.nonce(ssrc, index.into())
    }

    fn nonce(&self, ssrc: u32, index_48: u64) -> Nonce {
        let mut nonce = self.salt;
        exclusive_or(&mut nonce[2..6], &ssrc.to_be_bytes());
        exclusive_or(&mut nonce[6..], &index_48.to_be_bytes()[2..]);
        Nonce::assume_unique_for_key(nonce)
    }

    fn open(&self, nonce: Nonce, aad: &[u8], sealed: &mut [u8]) -> Result<(), SrtpError> {
        let opened = self.key.open_in_place(nonce, Aad::from(aad), sealed);
        opened.map(|_| ()).map_err(|_| SrtpError::AuthenticationFailed)
    }

    fn seal(&self, nonce: Nonce, aad: &[u8], plain: &mut [u8], tag: &mut [u8]) -> Result<(), SrtpError> {
        // Fails only above 64 GiB.
        let sealed = self
            .key
            .seal_in_place_separate_tag(nonce, Aad::from(aad), plain)
            .map_err(|_| SrtpError::KeyUsedUp)?;
        tag.copy_from_slice(sealed.as_ref());
        Ok(())
    }
}

#[cfg(test)]
impl Cipher {
    /// For vectors that give session keys.
    pub(super) fn gcm_of_session_key(key: &[u8; 16], salt: [u8; 12]) -> Self {
        let key = UnboundKey::new(&AES_128_GCM, key).expect("16 bytes");
        Self::Gcm(Box::new(Gcm { key: LessSafeKey::new(key), salt }))
    }
}

/// RFC 3711 §3.3.1: the upper 32 of the 48 bits of a packet index.
fn rollover_counter(index: u64) -> u32 {
    (index >> 16) as u32
}

/// RFC 7714 §9.2: the plain header, then E bit and index.
fn srtcp_aad(header: &[u8], index: u32) -> [u8; RTCP_HEADER_LEN + SRTCP_INDEX_LEN] {
    let mut aad = [0; RTCP_HEADER_LEN + SRTCP_INDEX_LEN];
    aad[..RTCP_HEADER_LEN].copy_from_slice(header);
    aad[RTCP_HEADER_LEN..].copy_from_slice(&(index | E_BIT).to_be_bytes());
    aad
}

fn exclusive_or(out: &mut [u8], with: &[u8]) {
    for (out, with) in out.iter_mut().zip(with) {
        *out ^= with;
    }
}

/// RFC 4568 §6.2.1: 80 bits.
const HMAC_TAG_LEN: usize = 10;
/// RFC 7714 §13.2: AEAD_AES_128_GCM has a tag of 16 bytes.
pub(super) const GCM_TAG_LEN: usize = 16;
