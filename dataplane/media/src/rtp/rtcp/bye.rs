//! Goodbye (RFC 3550 §6.6).

use super::RtcpError;

/// Sources that leave, and why.
#[derive(Clone, Debug)]
pub struct Bye<'a> {
    ssrcs: &'a [[u8; 4]],
    reason: Option<&'a [u8]>,
}

impl<'a> Bye<'a> {
    pub(super) fn read(count: u8, body: &'a [u8]) -> Result<Self, RtcpError> {
        let (ssrcs, rest) = body.split_at_checked(4 * usize::from(count)).ok_or(RtcpError::Length)?;
        let reason = match rest {
            [] => None,
            [len, text @ ..] => Some(text.get(..usize::from(*len)).ok_or(RtcpError::Length)?),
        };
        Ok(Self { ssrcs: ssrcs.as_chunks().0, reason })
    }

    /// The sources.
    pub fn ssrcs(&self) -> impl Iterator<Item = u32> + 'a {
        self.ssrcs.iter().map(|bytes| u32::from_be_bytes(*bytes))
    }

    /// The reason as sent, which need not be UTF-8.
    pub fn reason(&self) -> Option<&'a [u8]> {
        self.reason
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reason_is_optional_and_bounded() {
        let bye = Bye::read(1, &[0, 0, 0, 7]).expect("valid");
        assert_eq!((bye.ssrcs().collect::<Vec<_>>(), bye.reason()), (vec![7], None));
        assert_eq!(Bye::read(0, &[3, b'a', b'b', b'c']).expect("valid").reason(), Some(&b"abc"[..]));
        assert_eq!(Bye::read(0, &[4, b'a', b'b', b'c']).err(), Some(RtcpError::Length));
        assert_eq!(Bye::read(2, &[0, 0, 0, 7]).err(), Some(RtcpError::Length));
    }
}
