//! DTMF digits as both planes name them (RFC 4733 §3.2).

use std::time::Duration;

/// Event codes 0..=15: digits, `*`, `#`, A to D.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digit(u8);

impl Digit {
    /// From its character; `None` for anything but `0-9*#A-Da-d`.
    pub const fn from_char(c: char) -> Option<Self> {
        match c {
            '0'..='9' => Some(Self(c as u8 - b'0')),
            '*' => Some(Self(10)),
            '#' => Some(Self(11)),
            'A'..='D' => Some(Self(c as u8 - b'A' + 12)),
            'a'..='d' => Some(Self(c as u8 - b'a' + 12)),
            _ => None,
        }
    }

    /// The event code, 0..=15.
    pub const fn event(self) -> u8 {
        self.0
    }

    /// The character, upper case.
    pub const fn as_char(self) -> char {
        b"0123456789*#ABCD"[self.0 as usize] as char
    }
}

/// One step of a DTMF sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DtmfStep {
    /// Send a digit for the default length.
    Digit(Digit),
    /// Wait before the next step.
    Pause(Duration),
}

/// Reads `digits` as steps; `,` pauses one second. `Err` names the first character that is neither.
pub fn parse(digits: &str) -> Result<Vec<DtmfStep>, char> {
    digits
        .chars()
        .filter(|c| !c.is_ascii_whitespace())
        .map(|c| match c {
            ',' => Ok(DtmfStep::Pause(COMMA_PAUSE)),
            c => Digit::from_char(c).map(DtmfStep::Digit).ok_or(c),
        })
        .collect()
}

/// Pause for a comma in a digit string, as modems and SIP phones take it.
const COMMA_PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_digit_maps_to_its_event_and_back() {
        for (event, c) in "0123456789*#ABCD".chars().enumerate() {
            let digit = Digit::from_char(c).expect("a digit");
            assert_eq!((usize::from(digit.event()), digit.as_char()), (event, c));
        }
        assert_eq!(Digit::from_char('d'), Digit::from_char('D'));
        assert_eq!(Digit::from_char('E'), None);
    }

    #[test]
    fn a_sequence_may_hold_pauses() {
        let steps = parse("1, #").expect("valid");
        assert_eq!(steps.len(), 3);
        assert_eq!(steps[1], DtmfStep::Pause(Duration::from_secs(1)));
        assert_eq!(parse("12x"), Err('x'));
    }
}
