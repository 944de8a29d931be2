//! The record layer once the handshake is done: AEAD records of TLS 1.2 (RFC 5246 §6.2.3.3, RFC 5288, RFC 7905) and
//! TLS 1.3 (RFC 8446 §5). Takes: plain text in pieces, or a record. Gives: a record, or its plain text, in place.
//! Leaves out: what a record means (`session`), where keys come from (rustls).
//!
//! ```text
//! TLS 1.3:            23 03 03 len | content, content type | tag 16     additional data: the 5 bytes in front
//! TLS 1.2 AES-GCM:  type 03 03 len | nonce 8 | content     | tag 16     additional data: sequence number, type, 03 03,
//! TLS 1.2 ChaCha20: type 03 03 len | content               | tag 16                      length of the content
//! ```

use aws_lc_rs::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use rustls::ConnectionTrafficSecrets;

/// Content types (RFC 8446 §5.1).
pub const CHANGE_CIPHER_SPEC: u8 = 20;
pub const ALERT: u8 = 21;
pub const HANDSHAKE: u8 = 22;
pub const APPLICATION_DATA: u8 = 23;

/// Plain text of one record at most (RFC 8446 §5.1).
pub const PLAIN_LEN_MAX: usize = 1 << 14;
/// What a record adds to its plain text at most.
pub const OVERHEAD_LEN_MAX: usize = HEADER_LEN + EXPLICIT_NONCE_LEN + 1 + TAG_LEN;
/// Header of a record.
pub const HEADER_LEN: usize = 5;
/// What follows the header at most (RFC 5246 §6.2.3; TLS 1.3 allows 256 instead of 2048 bytes more).
pub const BODY_LEN_MAX: usize = PLAIN_LEN_MAX + 2048;
const EXPLICIT_NONCE_LEN: usize = 8;
const TAG_LEN: usize = 16;
const NONCE_LEN: usize = 12;

/// Records under one key: RFC 8446 §5.5 allows 2^24.5 full ones for AES-GCM.
pub const RECORDS_MAX: u64 = 1 << 24;

/// A record that is no TLS, cannot be decrypted or is too long, or a key that is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

/// How records are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    Tls13,
    Tls12Gcm,
    Tls12ChaCha,
}

/// One direction's key.
pub struct Keys {
    key: LessSafeKey,
    iv: [u8; NONCE_LEN],
    sequence: u64,
    layout: Layout,
}

impl Keys {
    /// From what the handshake agreed on.
    pub fn new((sequence, secrets): (u64, ConnectionTrafficSecrets), is_tls13: bool) -> Result<Self, Broken> {
        let (algorithm, key, iv, layout) = match &secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => {
                (&aead::AES_128_GCM, key, iv, Layout::Tls12Gcm)
            }
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => {
                (&aead::AES_256_GCM, key, iv, Layout::Tls12Gcm)
            }
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => {
                (&aead::CHACHA20_POLY1305, key, iv, Layout::Tls12ChaCha)
            }
            _ => return Err(Broken),
        };
        let key = LessSafeKey::new(UnboundKey::new(algorithm, key.as_ref()).map_err(|_| Broken)?);
        let iv = iv.as_ref().try_into().map_err(|_| Broken)?;
        Ok(Self { key, iv, sequence, layout: if is_tls13 { Layout::Tls13 } else { layout } })
    }

    /// Whether the key has served long enough for another to be agreed on.
    pub const fn wants_update(&self) -> bool {
        self.sequence >= RECORDS_MAX / 2
    }

    /// Appends one record. `write` appends its content, at most [`PLAIN_LEN_MAX`] bytes; it is encrypted where it
    /// stands.
    pub fn seal(
        &mut self,
        content_type: u8,
        out: &mut Vec<u8>,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), Broken> {
        if self.sequence >= RECORDS_MAX {
            return Err(Broken);
        }
        let nonce = self.nonce();
        let outer_type = if self.layout == Layout::Tls13 { APPLICATION_DATA } else { content_type };
        let record = out.len();
        out.extend_from_slice(&[outer_type, 3, 3, 0, 0]);
        if self.layout == Layout::Tls12Gcm {
            // The sequence number under the start value that the handshake gave: never the same twice.
            out.extend_from_slice(&nonce[NONCE_LEN - EXPLICIT_NONCE_LEN..]);
        }
        let content = out.len();
        write(out);
        let content_len = out.len() - content;
        debug_assert!(content_len <= PLAIN_LEN_MAX);
        if self.layout == Layout::Tls13 {
            out.push(content_type);
        }
        let body_len = out.len() + TAG_LEN - record - HEADER_LEN;
        out[record + 3..record + HEADER_LEN].copy_from_slice(&(body_len as u16).to_be_bytes());
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = if self.layout == Layout::Tls13 {
            let header: [u8; HEADER_LEN] = [outer_type, 3, 3, out[record + 3], out[record + 4]];
            self.key.seal_in_place_separate_tag(nonce, Aad::from(header), &mut out[content..])
        } else {
            let additional = self.additional_data(content_type, content_len);
            self.key.seal_in_place_separate_tag(nonce, Aad::from(additional), &mut out[content..])
        };
        out.extend_from_slice(tag.map_err(|_| Broken)?.as_ref());
        self.sequence += 1;
        Ok(())
    }

    /// Decrypts one record, header included, where it stands: content type and content.
    pub fn open<'a>(&mut self, record: &'a mut [u8]) -> Result<(u8, &'a [u8]), Broken> {
        if self.sequence >= RECORDS_MAX {
            return Err(Broken);
        }
        let (header, body) = record.split_first_chunk_mut::<HEADER_LEN>().ok_or(Broken)?;
        let opened = match self.layout {
            Layout::Tls13 => {
                if header[0] != APPLICATION_DATA {
                    return Err(Broken);
                }
                let nonce = Nonce::assume_unique_for_key(self.nonce());
                self.key.open_in_place(nonce, Aad::from(*header), body)
            }
            Layout::Tls12Gcm => {
                let (explicit, sealed) = body.split_first_chunk_mut::<EXPLICIT_NONCE_LEN>().ok_or(Broken)?;
                let mut nonce = self.iv;
                nonce[NONCE_LEN - EXPLICIT_NONCE_LEN..].copy_from_slice(explicit);
                let content_len = sealed.len().checked_sub(TAG_LEN).ok_or(Broken)?;
                let additional = self.additional_data(header[0], content_len);
                let nonce = Nonce::assume_unique_for_key(nonce);
                self.key.open_in_place(nonce, Aad::from(additional), sealed)
            }
            Layout::Tls12ChaCha => {
                let content_len = body.len().checked_sub(TAG_LEN).ok_or(Broken)?;
                let additional = self.additional_data(header[0], content_len);
                let nonce = Nonce::assume_unique_for_key(self.nonce());
                self.key.open_in_place(nonce, Aad::from(additional), body)
            }
        };
        let plain: &'a [u8] = opened.map_err(|_| Broken)?;
        self.sequence += 1;
        let (content_type, content) = if self.layout == Layout::Tls13 {
            // RFC 8446 §5.4: the content type is the last byte that is not zero.
            let end = plain.iter().rposition(|&byte| byte != 0).ok_or(Broken)?;
            (plain[end], &plain[..end])
        } else {
            (header[0], plain)
        };
        if content.len() > PLAIN_LEN_MAX { Err(Broken) } else { Ok((content_type, content)) }
    }

    /// RFC 8446 §5.3, RFC 7905 §2; for AES-GCM of TLS 1.2 what rustls does.
    fn nonce(&self) -> [u8; NONCE_LEN] {
        let mut nonce = self.iv;
        for (byte, sequence) in nonce[NONCE_LEN - 8..].iter_mut().zip(self.sequence.to_be_bytes()) {
            *byte ^= sequence;
        }
        nonce
    }

    /// RFC 5246 §6.2.3.3.
    fn additional_data(&self, content_type: u8, content_len: usize) -> [u8; 13] {
        let mut data = [0; 13];
        data[..8].copy_from_slice(&self.sequence.to_be_bytes());
        data[8..11].copy_from_slice(&[content_type, 3, 3]);
        // At most 2^14 + 2048 by the length in the header, or 2^14 by the caller.
        data[11..].copy_from_slice(&(content_len as u16).to_be_bytes());
        data
    }
}

/// Length of the first record in `bytes`, header included, when it is there whole.
pub fn first_record(bytes: &[u8]) -> Result<Option<usize>, Broken> {
    let Some(header) = bytes.first_chunk::<HEADER_LEN>() else { return Ok(None) };
    let body_len = usize::from(u16::from_be_bytes([header[3], header[4]]));
    if !(CHANGE_CIPHER_SPEC..=APPLICATION_DATA).contains(&header[0])
        || header[1] != 3
        || body_len > BODY_LEN_MAX
    {
        return Err(Broken);
    }
    let len = HEADER_LEN + body_len;
    Ok((bytes.len() >= len).then_some(len))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(layout: Layout, sequence: u64) -> Keys {
        let (algorithm, len) = match layout {
            Layout::Tls12ChaCha => (&aead::CHACHA20_POLY1305, 32),
            _ => (&aead::AES_128_GCM, 16),
        };
        let key = LessSafeKey::new(UnboundKey::new(algorithm, &[7; 32][..len]).expect("the key's length"));
        Keys { key, iv: [3; NONCE_LEN], sequence, layout }
    }

    const LAYOUTS: [Layout; 3] = [Layout::Tls13, Layout::Tls12Gcm, Layout::Tls12ChaCha];

    #[test]
    fn what_is_sealed_opens_again_in_order_only() {
        for layout in LAYOUTS {
            let (mut tx, mut rx) = (keys(layout, 5), keys(layout, 5));
            for len in [0, 1, 1000, PLAIN_LEN_MAX] {
                let mut out = vec![0xaa; 3];
                let content: Vec<u8> = (0..len).map(|at| at as u8).collect();
                tx.seal(APPLICATION_DATA, &mut out, |out| out.extend_from_slice(&content)).expect("sealed");
                let record = &mut out[3..];
                assert!(record.len() <= len + OVERHEAD_LEN_MAX);
                assert_eq!(first_record(record), Ok(Some(record.len())));
                let mut again = record.to_vec();
                assert_eq!(rx.open(record), Ok((APPLICATION_DATA, &content[..])), "{layout:?} {len}");
                assert_eq!(rx.open(&mut again), Err(Broken), "a replay");
            }
        }
    }

    #[test]
    fn every_changed_or_missing_byte_is_noticed() {
        for layout in LAYOUTS {
            let mut whole = Vec::new();
            keys(layout, 0).seal(ALERT, &mut whole, |out| out.extend_from_slice(&[1, 0])).expect("sealed");
            for at in 0..whole.len() {
                let mut record = whole.clone();
                record[at] ^= 1;
                let is_noticed = keys(layout, 0).open(&mut record).is_err();
                // Version and length of TLS 1.2 are not authenticated as they stand: the layout is what is checked.
                assert!(is_noticed || (layout != Layout::Tls13 && (1..5).contains(&at)), "{layout:?} {at}");
                assert!(keys(layout, 0).open(&mut whole.clone()[..at]).is_err(), "{layout:?} cut at {at}");
            }
        }
    }

    #[test]
    fn a_key_is_not_used_for_ever() {
        let mut keys = keys(Layout::Tls13, RECORDS_MAX - 1);
        assert!(keys.wants_update());
        assert_eq!(keys.seal(ALERT, &mut Vec::new(), |_| {}), Ok(()));
        assert_eq!(keys.seal(ALERT, &mut Vec::new(), |_| {}), Err(Broken));
    }

    #[test]
    fn what_is_no_record_is_told_from_a_part_of_one() {
        assert_eq!(first_record(&[22, 3, 3, 0]), Ok(None));
        assert_eq!(first_record(&[22, 3, 3, 0, 2, 0]), Ok(None));
        assert_eq!(first_record(&[22, 3, 3, 0, 1, 0, 9]), Ok(Some(6)));
        for bytes in [&[3, 0, 0, 0, 0][..], &[22, 2, 0, 0, 1], &[23, 3, 3, 0xff, 0xff], b"HTTP/1.1"] {
            assert_eq!(first_record(bytes), Err(Broken));
        }
    }
}
