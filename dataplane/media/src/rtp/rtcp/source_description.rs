//! Source description (RFC 3550 §6.5); of its items only CNAME is used.

use super::{RtcpError, word};

/// Chunks of one SDES packet, each of one source.
#[derive(Clone, Debug)]
pub struct SourceDescription<'a> {
    count: u8,
    chunks: &'a [u8],
}

impl<'a> SourceDescription<'a> {
    /// Invariant once read: every chunk lies inside `chunks`.
    pub(super) fn read(count: u8, body: &'a [u8]) -> Result<Self, RtcpError> {
        let mut rest = body;
        for _ in 0..count {
            (_, rest) = chunk(rest)?;
        }
        Ok(Self { count, chunks: body })
    }

    /// SSRC and CNAME of each source that gives one.
    pub fn cnames(&self) -> impl Iterator<Item = (u32, &'a [u8])> {
        let mut rest = self.chunks;
        (0..self.count).filter_map(move |_| {
            let (found, after) = chunk(rest).ok()?;
            rest = after;
            found
        })
    }
}

/// The canonical name of one of our sources: 1 to 255 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cname(Box<str>);

impl Cname {
    /// From its text; `None` when it is empty or longer than 255 bytes.
    pub fn new(text: &str) -> Option<Self> {
        (1..=usize::from(u8::MAX)).contains(&text.len()).then(|| Self(text.into()))
    }

    /// A short-term persistent one (RFC 7022 §4.2): 96 bits from `seed` and a counter, in hexadecimal. It says
    /// nothing about this machine, and is the same for all streams of a call.
    pub fn from_seed(seed: u64) -> Self {
        let mut random = super::super::random::SplitMix64::new(seed ^ 0x434e_414d_4500);
        let (high, low) = (random.next_u64(), random.next_u64() as u32);
        Self(format!("{high:016x}{low:08x}").into())
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

type Chunk<'a> = (Option<(u32, &'a [u8])>, &'a [u8]);

/// Reads one chunk: SSRC, items up to a null, padded to a word. Gives its CNAME and what follows.
fn chunk(bytes: &[u8]) -> Result<Chunk<'_>, RtcpError> {
    let (ssrc, items) = word(bytes)?;
    let mut cname = None;
    let mut at = 0;
    loop {
        match items.get(at..).ok_or(RtcpError::Length)? {
            [0, ..] => break,
            [kind, len, rest @ ..] => {
                let text = rest.get(..usize::from(*len)).ok_or(RtcpError::Length)?;
                if *kind == CNAME {
                    cname = Some((ssrc, text));
                }
                at += 2 + usize::from(*len);
            }
            _ => return Err(RtcpError::Length),
        }
    }
    // RFC 3550 §6.5: one null ends the list, more pad it to the next word.
    let end = (at / 4 + 1) * 4;
    Ok((cname, items.get(end..).ok_or(RtcpError::Length)?))
}

/// RFC 3550 §6.5.1.
pub(super) const CNAME: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_chunks_and_items() {
        let body = [
            0, 0, 0, 1, 2, 2, b'h', b'i', 1, 1, b'x', 0, // NAME "hi", CNAME "x"
            0, 0, 0, 2, 1, 2, b'y', b'z', 0, 0, 0, 0, // CNAME "yz"
            0, 0, 0, 3, 0, 0, 0, 0, // none
        ];
        let sdes = SourceDescription::read(3, &body).expect("valid");
        assert_eq!(sdes.cnames().collect::<Vec<_>>(), [(1, &b"x"[..]), (2, &b"yz"[..])]);
        for len in 0..body.len() {
            assert_eq!(SourceDescription::read(3, &body[..len]).err(), Some(RtcpError::Length), "{len}");
        }
        assert!(SourceDescription::read(0, &[]).is_ok());
    }

    #[test]
    fn cname_lengths_just_inside_and_outside() {
        assert_eq!(Cname::new(""), None);
        assert!(Cname::new(&"a".repeat(255)).is_some());
        assert_eq!(Cname::new(&"a".repeat(256)), None);
        let cname = Cname::from_seed(1);
        assert_eq!((cname.as_str().len(), &cname), (24, &Cname::from_seed(1)));
        assert_ne!(cname, Cname::from_seed(2));
    }
}
