//! Dial scripts: what is keyed in to join a meeting, `wait 3s; {meeting}#; wait 2s; {passcode}#`.
//! Takes: the script as text, meeting and passcode. Gives: digits and pauses ([`DtmfStep`]), in order and bounded.
//! Leaves out: when the script begins and how its digits travel (`sipcast-control`, `digits`).
//!
//! ```text
//! script = step *( ";" step )
//! step   = "wait" number ( "s" / "ms" )           ; number may have a fraction: wait 1.5s
//!        / 1*( digit / "," / "{meeting}" / "{passcode}" )
//! digit  = 0-9 / "*" / "#" / A-D                   ; a comma pauses one second
//! ```
//! Spaces and empty steps count for nothing. A step that names something the order does not give is left out.

use std::fmt;
use std::time::Duration;

use sipcast_contract::Secret;
use sipcast_contract::dtmf::{Digit, DtmfStep};
use sipcast_contract::limits::DTMF_QUEUE_MAX;
use thiserror::Error;

/// Bytes of a script.
pub const SCRIPT_BYTES_MAX: usize = 512;
/// The longest single wait.
pub const WAIT_MAX: Duration = Duration::from_secs(120);
/// All waits of a script together.
pub const WAITS_MAX: Duration = Duration::from_secs(300);
/// Pause for a comma, as in other digit strings of the API.
const COMMA: Duration = Duration::from_secs(1);

/// A script that was read. Its `Debug` shows no digit: they may be a passcode.
#[derive(Clone, PartialEq, Eq)]
pub struct DialScript {
    steps: Vec<Vec<Part>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Pause(Duration),
    Digit(Digit),
    Meeting,
    Passcode,
}

impl fmt::Debug for DialScript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DialScript({} steps)", self.steps.len())
    }
}

/// When a script begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DialScriptOn {
    /// When the call is answered.
    #[default]
    Answer,
    /// With early media, for services that ask before they answer; at the answer if there is none.
    EarlyMedia,
}

impl DialScriptOn {
    /// Reads the word of the API: `answer` or `early`.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            _ if word.eq_ignore_ascii_case("answer") => Some(Self::Answer),
            _ if word.eq_ignore_ascii_case("early") => Some(Self::EarlyMedia),
            _ => None,
        }
    }
}

impl DialScript {
    /// Reads a script.
    ///
    /// # Errors
    /// [`ScriptError`]: where it is wrong and what is expected there.
    pub fn parse(text: &str) -> Result<Self, ScriptError> {
        if text.len() > SCRIPT_BYTES_MAX {
            return Err(ScriptError::TooLong);
        }
        let mut reader = Reader { text, at: 0 };
        let mut steps = Vec::new();
        let mut waits = Duration::ZERO;
        loop {
            let step = reader.step()?;
            if !step.is_empty() {
                waits += step.iter().map(Part::pause).sum();
                steps.push(step);
            }
            if waits > WAITS_MAX {
                return Err(ScriptError::TooPatient);
            }
            if !reader.take(';') {
                break;
            }
        }
        if steps.is_empty() {
            return Err(ScriptError::Empty);
        }
        if steps.iter().map(Vec::len).sum::<usize>() > DTMF_QUEUE_MAX {
            return Err(ScriptError::TooManySteps);
        }
        Ok(Self { steps })
    }

    /// Digits and pauses of the script for one meeting. Spaces and hyphens of `meeting`, as invitations write it, are
    /// passed over.
    ///
    /// # Errors
    /// [`ScriptError::NoDigits`] naming what cannot be keyed in, or [`ScriptError::TooManySteps`].
    pub fn expand(
        &self,
        meeting: Option<&str>,
        passcode: Option<&Secret<String>>,
    ) -> Result<Vec<DtmfStep>, ScriptError> {
        let mut expanded = Vec::new();
        for step in &self.steps {
            let lacks = |part: &Part| match part {
                Part::Meeting => meeting.is_none(),
                Part::Passcode => passcode.is_none(),
                Part::Pause(_) | Part::Digit(_) => false,
            };
            if step.iter().any(lacks) {
                continue;
            }
            for part in step {
                match part {
                    Part::Pause(pause) => expanded.push(DtmfStep::Pause(*pause)),
                    Part::Digit(digit) => expanded.push(DtmfStep::Digit(*digit)),
                    Part::Meeting => keyed("meetingId", meeting.unwrap_or(""), &mut expanded)?,
                    Part::Passcode => {
                        keyed("passcode", passcode.map_or("", |passcode| passcode.reveal()), &mut expanded)?;
                    }
                }
            }
        }
        if expanded.len() > DTMF_QUEUE_MAX {
            return Err(ScriptError::TooManySteps);
        }
        Ok(expanded)
    }

    /// Whether the script keys in the passcode.
    pub fn names_passcode(&self) -> bool {
        self.steps.iter().flatten().any(|part| *part == Part::Passcode)
    }
}

impl Part {
    fn pause(&self) -> Duration {
        match self {
            Self::Pause(pause) => *pause,
            _ => Duration::ZERO,
        }
    }
}

fn keyed(field: &'static str, text: &str, steps: &mut Vec<DtmfStep>) -> Result<(), ScriptError> {
    for character in text.chars().filter(|c| !matches!(c, ' ' | '-')) {
        let digit = Digit::from_char(character).ok_or(ScriptError::NoDigits { field })?;
        steps.push(DtmfStep::Digit(digit));
    }
    Ok(())
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn skip_spaces(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    fn take(&mut self, wanted: char) -> bool {
        self.skip_spaces();
        let found = self.rest().starts_with(wanted);
        self.at += if found { wanted.len_utf8() } else { 0 };
        found
    }

    fn take_word(&mut self, word: &str) -> bool {
        let found = self.rest().get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
        self.at += if found { word.len() } else { 0 };
        found
    }

    fn wrong(&self, expected: &'static str) -> ScriptError {
        ScriptError::Unexpected { position: self.text[..self.at].chars().count() + 1, expected }
    }

    fn step(&mut self) -> Result<Vec<Part>, ScriptError> {
        self.skip_spaces();
        if self.take_word("wait") {
            return Ok(vec![Part::Pause(self.duration()?)]);
        }
        let mut parts = Vec::new();
        loop {
            self.skip_spaces();
            let Some(character) = self.rest().chars().next().filter(|c| *c != ';') else { return Ok(parts) };
            let part = match character {
                ',' => Part::Pause(COMMA),
                '{' if self.take_word("{meeting}") => {
                    parts.push(Part::Meeting);
                    continue;
                }
                '{' if self.take_word("{passcode}") => {
                    parts.push(Part::Passcode);
                    continue;
                }
                '{' => return Err(self.wrong("{meeting} or {passcode}")),
                c => Part::Digit(Digit::from_char(c).ok_or_else(|| self.wrong(STEP))?),
            };
            parts.push(part);
            self.at += character.len_utf8();
        }
    }

    fn duration(&mut self) -> Result<Duration, ScriptError> {
        self.skip_spaces();
        let length = self.rest().find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(self.rest().len());
        let number: f64 =
            self.rest()[..length].parse().map_err(|_| self.wrong("a length such as 3s or 500ms"))?;
        let begin = self.at;
        self.at += length;
        self.skip_spaces();
        let seconds = if self.take_word("ms") {
            number / 1000.0
        } else if self.take_word("s") {
            number
        } else {
            return Err(self.wrong("s or ms after the number"));
        };
        self.skip_spaces();
        if !self.rest().is_empty() && !self.rest().starts_with(';') {
            return Err(self.wrong("; or the end after a wait"));
        }
        let duration = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
        if duration > WAIT_MAX {
            self.at = begin;
            return Err(self.wrong("a wait of at most 120s"));
        }
        Ok(duration)
    }
}

/// What a step may be, for people.
const STEP: &str = "wait 3s, digits 0-9 * # A-D, a comma, {meeting} or {passcode}; steps are parted by ;";

/// Why a script cannot be used. Shows nothing of the script: it may hold a passcode.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ScriptError {
    /// Something else is expected.
    #[error("character {position}: expected {expected}")]
    Unexpected {
        /// Which character, from 1.
        position: usize,
        /// What could stand there.
        expected: &'static str,
    },
    /// There is no step.
    #[error("holds no step: expected {STEP}")]
    Empty,
    /// Over [`SCRIPT_BYTES_MAX`].
    #[error("is longer than {SCRIPT_BYTES_MAX} bytes")]
    TooLong,
    /// Over `limits::DTMF_QUEUE_MAX` digits and pauses.
    #[error("holds more than {DTMF_QUEUE_MAX} digits and pauses")]
    TooManySteps,
    /// Over [`WAITS_MAX`].
    #[error("waits longer than 300 s in all")]
    TooPatient,
    /// A value that the script keys in has other characters than digits.
    #[error("{field} holds characters that cannot be keyed in: expected digits 0-9 * # A-D")]
    NoDigits {
        /// Field of the order.
        field: &'static str,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use sipcast_contract::dtmf;

    fn expanded(script: &str) -> String {
        let passcode = Secret::new("98".to_owned());
        let steps = DialScript::parse(script).unwrap().expand(Some("12-3 4"), Some(&passcode)).unwrap();
        let text = steps.iter().map(|step| match step {
            DtmfStep::Digit(digit) => digit.as_char().to_string(),
            DtmfStep::Pause(pause) => format!("({})", pause.as_millis()),
        });
        text.collect()
    }

    #[test]
    fn scripts_as_people_write_them() {
        assert_eq!(expanded("wait 3s; 123456#; wait 2s; 9876#"), "(3000)123456#(2000)9876#");
        assert_eq!(
            expanded(" WAIT 500 ms;{meeting}#;;wait 1.5s ; *{passcode} #,a"),
            "(500)1234#(1500)*98#(1000)A"
        );
        assert_eq!(
            DialScript::parse("12,#").unwrap().expand(None, None).unwrap(),
            dtmf::parse("12,#").unwrap(),
            "as the API's digit strings"
        );
    }

    #[test]
    fn a_step_without_its_value_is_left_out() {
        let script = DialScript::parse("wait 1s; {meeting}#; wait 2s; {passcode}#; 1").unwrap();
        assert!(script.names_passcode());
        let steps = script.expand(None, None).unwrap();
        assert_eq!(steps.len(), 3);
    }

    #[test]
    fn errors_name_the_place_and_what_is_expected() {
        for (script, position, expected) in [
            ("wait", 5, "a length such as 3s or 500ms"),
            ("wait 3", 7, "s or ms after the number"),
            ("wait 3s 4", 9, "; or the end after a wait"),
            ("12; x", 5, STEP),
            ("1{pin}", 2, "{meeting} or {passcode}"),
            ("ü", 1, STEP),
            ("wait 121s", 6, "a wait of at most 120s"),
            ("wait 1.2.3s", 6, "a length such as 3s or 500ms"),
        ] {
            assert_eq!(
                DialScript::parse(script),
                Err(ScriptError::Unexpected { position, expected }),
                "{script}"
            );
        }
        assert_eq!(DialScript::parse(" ; "), Err(ScriptError::Empty));
        assert_eq!(DialScript::parse(&"1".repeat(513)), Err(ScriptError::TooLong));
        assert_eq!(DialScript::parse(&"1".repeat(65)), Err(ScriptError::TooManySteps));
        assert!(DialScript::parse(&"1".repeat(64)).is_ok());
        assert_eq!(DialScript::parse("wait 120s;wait 120s;wait 61s"), Err(ScriptError::TooPatient));
        assert!(DialScript::parse("wait 120s;wait 120s;wait 60s").is_ok());
        let letters = Secret::new("pass".to_owned());
        let script = DialScript::parse("{passcode}").unwrap();
        assert_eq!(script.expand(None, Some(&letters)), Err(ScriptError::NoDigits { field: "passcode" }));
        let long = Secret::new("1".repeat(65));
        assert_eq!(script.expand(None, Some(&long)), Err(ScriptError::TooManySteps));
    }

    #[test]
    fn nothing_of_a_script_is_shown() {
        let script = DialScript::parse("987654").unwrap();
        assert_eq!(format!("{script:?}"), "DialScript(1 steps)");
        assert!(!DialScript::parse("98765x").unwrap_err().to_string().contains("98765"));
    }

    #[test]
    fn mutated_scripts_never_panic() {
        crate::mutation::for_each(b"wait 3s; {meeting}#; wait 1.5 ms; *9,8{passcode}#A", 5_000, |bytes| {
            let _ = DialScript::parse(&String::from_utf8_lossy(bytes));
        });
    }
}
