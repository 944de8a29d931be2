//! AMF0 (Adobe AMF 0 specification, 2007): the values in command and data messages.
//! Takes: bytes of a message. Gives: values, and bytes of values. Leaves out: AMF3 and references.
//!
//! Decoding is bounded: [`DEPTH_MAX`] levels (it recurses no deeper) and [`VALUES_MAX`] values a message.

/// Nesting that is followed; a deeper value is refused.
pub const DEPTH_MAX: usize = 16;

/// Values (object members and array elements included) in one message; more are refused.
pub const VALUES_MAX: usize = 1024;

/// One AMF0 value. Strings that are no UTF-8 hold replacement characters. `Debug` shows no string: stream names
/// and tokens travel in them.
#[derive(Clone, PartialEq)]
pub enum Value {
    /// Number marker.
    Number(f64),
    /// Boolean marker.
    Boolean(bool),
    /// String, long string or XML document marker.
    String(String),
    /// Object or typed object marker (its class name is dropped); members in order.
    Object(Vec<(String, Value)>),
    /// Null marker.
    Null,
    /// Undefined or unsupported marker.
    Undefined,
    /// ECMA array marker; members in order.
    EcmaArray(Vec<(String, Value)>),
    /// Strict array marker.
    StrictArray(Vec<Value>),
    /// Date marker: ms since 1970 in UTC. The time zone is reserved and dropped (§2.13).
    Date(f64),
}

/// Why bytes are no AMF0 that is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Amf0Error {
    /// A value goes beyond the end of the message.
    #[error("cut short")]
    Truncated,
    /// An unknown or unsupported marker: movie clip, reference, record set, AVM+.
    #[error("unsupported marker {0:#04x}")]
    Marker(u8),
    /// An object's last, empty name is not followed by the end marker.
    #[error("an object does not end")]
    ObjectEnd,
    /// Deeper than [`DEPTH_MAX`].
    #[error("nested too deep")]
    TooDeep,
    /// More than [`VALUES_MAX`] values.
    #[error("too many values")]
    TooMany,
}

impl Value {
    /// The number, if it is one.
    pub const fn as_number(&self) -> Option<f64> {
        if let Self::Number(number) = self { Some(*number) } else { None }
    }

    /// The text, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        if let Self::String(text) = self { Some(text) } else { None }
    }

    /// The member `name` of an object or ECMA array.
    pub fn get(&self, name: &str) -> Option<&Value> {
        match self {
            Self::Object(members) | Self::EcmaArray(members) => {
                members.iter().find(|(key, _)| key == name).map(|(_, value)| value)
            }
            _ => None,
        }
    }

    /// Appends the value.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Number(number) => write_number(out, *number),
            Self::Boolean(boolean) => write_boolean(out, *boolean),
            Self::String(text) => write_string(out, text),
            Self::Object(members) => {
                begin_object(out);
                encode_members(members, out);
            }
            Self::Null => write_null(out),
            Self::Undefined => out.push(UNDEFINED),
            Self::EcmaArray(members) => {
                begin_ecma_array(out, members.len());
                encode_members(members, out);
            }
            Self::StrictArray(values) => {
                out.push(STRICT_ARRAY);
                out.extend_from_slice(&(values.len() as u32).to_be_bytes());
                for value in values {
                    value.encode(out);
                }
            }
            Self::Date(ms) => {
                out.push(DATE);
                out.extend_from_slice(&ms.to_be_bytes());
                out.extend_from_slice(&[0, 0]);
            }
        }
    }
}

impl std::fmt::Debug for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Boolean(boolean) => write!(f, "{boolean}"),
            Self::String(text) => write!(f, "string of {} bytes", text.len()),
            Self::Object(members) | Self::EcmaArray(members) => {
                f.debug_map().entries(members.iter().map(|(k, v)| (k, v))).finish()
            }
            Self::Null => f.write_str("null"),
            Self::Undefined => f.write_str("undefined"),
            Self::StrictArray(values) => f.debug_list().entries(values).finish(),
            Self::Date(ms) => write!(f, "date {ms}"),
        }
    }
}

fn encode_members(members: &[(String, Value)], out: &mut Vec<u8>) {
    for (name, value) in members {
        write_name(out, name);
        value.encode(out);
    }
    end_object(out);
}

/// Decodes all values of a message.
///
/// # Errors
/// See [`Amf0Error`]; nothing is taken of a broken message.
pub fn decode_all(bytes: &[u8]) -> Result<Vec<Value>, Amf0Error> {
    let mut reader = Reader::new(bytes);
    let mut values = Vec::new();
    while !reader.is_empty() {
        values.push(reader.value()?);
    }
    Ok(values)
}

/// Reads one value after the other.
#[derive(Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    values_left: usize,
}

impl<'a> Reader<'a> {
    /// Reads from the front of `bytes`.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, values_left: VALUES_MAX }
    }

    /// Whether all bytes are read.
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// What is not read yet.
    pub const fn rest(&self) -> &'a [u8] {
        self.bytes
    }

    /// The next value.
    ///
    /// # Errors
    /// See [`Amf0Error`].
    pub fn value(&mut self) -> Result<Value, Amf0Error> {
        self.value_at(0)
    }

    fn value_at(&mut self, depth: usize) -> Result<Value, Amf0Error> {
        if depth >= DEPTH_MAX {
            return Err(Amf0Error::TooDeep);
        }
        self.values_left = self.values_left.checked_sub(1).ok_or(Amf0Error::TooMany)?;
        Ok(match self.take::<1>()?[0] {
            NUMBER => Value::Number(f64::from_be_bytes(self.take()?)),
            BOOLEAN => Value::Boolean(self.take::<1>()?[0] != 0),
            STRING => Value::String(self.short_text()?),
            OBJECT => Value::Object(self.members(depth)?),
            NULL => Value::Null,
            UNDEFINED | UNSUPPORTED => Value::Undefined,
            ECMA_ARRAY => {
                // §2.10: the count is a hint; encoders write 0 or a wrong one, the end marker decides.
                let _count = self.take::<4>()?;
                Value::EcmaArray(self.members(depth)?)
            }
            STRICT_ARRAY => {
                let count = u32::from_be_bytes(self.take()?);
                let mut values = Vec::new();
                for _ in 0..count {
                    values.push(self.value_at(depth + 1)?);
                }
                Value::StrictArray(values)
            }
            DATE => {
                let ms = f64::from_be_bytes(self.take()?);
                let _time_zone = self.take::<2>()?;
                Value::Date(ms)
            }
            LONG_STRING | XML_DOCUMENT => {
                let len = u32::from_be_bytes(self.take()?) as usize;
                Value::String(self.text(len)?)
            }
            TYPED_OBJECT => {
                let _class_name = self.short_text()?;
                Value::Object(self.members(depth)?)
            }
            marker => return Err(Amf0Error::Marker(marker)),
        })
    }

    fn members(&mut self, depth: usize) -> Result<Vec<(String, Value)>, Amf0Error> {
        let mut members = Vec::new();
        loop {
            let name = self.short_text()?;
            if name.is_empty() {
                // §2.5 allows an empty name before a value only in theory; the end marker must follow.
                return match self.take::<1>()?[0] {
                    OBJECT_END => Ok(members),
                    _ => Err(Amf0Error::ObjectEnd),
                };
            }
            members.push((name, self.value_at(depth + 1)?));
        }
    }

    fn short_text(&mut self) -> Result<String, Amf0Error> {
        let len = usize::from(u16::from_be_bytes(self.take()?));
        self.text(len)
    }

    fn text(&mut self, len: usize) -> Result<String, Amf0Error> {
        let (text, rest) = self.bytes.split_at_checked(len).ok_or(Amf0Error::Truncated)?;
        self.bytes = rest;
        Ok(String::from_utf8_lossy(text).into_owned())
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Amf0Error> {
        let (taken, rest) = self.bytes.split_first_chunk::<N>().ok_or(Amf0Error::Truncated)?;
        self.bytes = rest;
        Ok(*taken)
    }
}

/// Appends a number.
pub fn write_number(out: &mut Vec<u8>, number: f64) {
    out.push(NUMBER);
    out.extend_from_slice(&number.to_be_bytes());
}

/// Appends a boolean.
pub fn write_boolean(out: &mut Vec<u8>, boolean: bool) {
    out.extend_from_slice(&[BOOLEAN, u8::from(boolean)]);
}

/// Appends a null.
pub fn write_null(out: &mut Vec<u8>) {
    out.push(NULL);
}

/// Appends a string, as a long string when it has more than 65535 bytes.
pub fn write_string(out: &mut Vec<u8>, text: &str) {
    if let Ok(len) = u16::try_from(text.len()) {
        out.push(STRING);
        out.extend_from_slice(&len.to_be_bytes());
    } else {
        out.push(LONG_STRING);
        out.extend_from_slice(&(text.len() as u32).to_be_bytes());
    }
    out.extend_from_slice(text.as_bytes());
}

/// Begins an object: names and values follow in turn, then [`end_object`].
pub fn begin_object(out: &mut Vec<u8>) {
    out.push(OBJECT);
}

/// Begins an ECMA array of `count` members: names and values follow in turn, then [`end_object`].
pub fn begin_ecma_array(out: &mut Vec<u8>, count: usize) {
    out.push(ECMA_ARRAY);
    out.extend_from_slice(&(count as u32).to_be_bytes());
}

/// Appends a member's name; cut after 65535 bytes, which no name of ours reaches.
pub fn write_name(out: &mut Vec<u8>, name: &str) {
    let name = &name.as_bytes()[..name.len().min(usize::from(u16::MAX))];
    out.extend_from_slice(&(name.len() as u16).to_be_bytes());
    out.extend_from_slice(name);
}

/// Appends a member that is a string.
pub fn write_string_member(out: &mut Vec<u8>, name: &str, text: &str) {
    write_name(out, name);
    write_string(out, text);
}

/// Appends a member that is a number.
pub fn write_number_member(out: &mut Vec<u8>, name: &str, number: f64) {
    write_name(out, name);
    write_number(out, number);
}

/// Ends an object or an ECMA array.
pub fn end_object(out: &mut Vec<u8>) {
    out.extend_from_slice(&[0, 0, OBJECT_END]);
}

// §2.1: markers.
const NUMBER: u8 = 0x00;
const BOOLEAN: u8 = 0x01;
const STRING: u8 = 0x02;
const OBJECT: u8 = 0x03;
const NULL: u8 = 0x05;
const UNDEFINED: u8 = 0x06;
const ECMA_ARRAY: u8 = 0x08;
const OBJECT_END: u8 = 0x09;
const STRICT_ARRAY: u8 = 0x0a;
const DATE: u8 = 0x0b;
const LONG_STRING: u8 = 0x0c;
const UNSUPPORTED: u8 = 0x0d;
const XML_DOCUMENT: u8 = 0x0f;
const TYPED_OBJECT: u8 = 0x10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtmp::random::SplitMix64;

    fn sample() -> Vec<Value> {
        let member = |name: &str, value| (name.to_owned(), value);
        vec![
            Value::String("onMetaData".into()),
            Value::EcmaArray(vec![
                member("width", Value::Number(640.0)),
                member("stereo", Value::Boolean(false)),
                member("at", Value::Date(1e12)),
                member("list", Value::StrictArray(vec![Value::Null, Value::Undefined])),
                member("object", Value::Object(vec![member("text", Value::String("ä".repeat(40_000)))])),
            ]),
        ]
    }

    fn encoded(values: &[Value]) -> Vec<u8> {
        let mut out = Vec::new();
        values.iter().for_each(|value| value.encode(&mut out));
        out
    }

    #[test]
    fn golden_bytes() {
        let bytes = [
            0x02, 0, 1, b'a', 0x00, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0, 0x03, 0, 1, b'b', 0x01, 1, 0, 0, 9, 0x05,
            0x06, 0x08, 0, 0, 0, 1, 0, 1, b'c', 0x05, 0, 0, 9,
        ];
        let values = decode_all(&bytes).expect("valid");
        assert_eq!(
            values,
            [
                Value::String("a".into()),
                Value::Number(1.0),
                Value::Object(vec![("b".into(), Value::Boolean(true))]),
                Value::Null,
                Value::Undefined,
                Value::EcmaArray(vec![("c".into(), Value::Null)]),
            ]
        );
        assert_eq!(encoded(&values), bytes);
    }

    #[test]
    fn a_round_trip_keeps_every_kind() {
        assert_eq!(decode_all(&encoded(&sample())).expect("valid"), sample());
    }

    #[test]
    fn cut_at_every_length_is_an_error_or_fewer_values() {
        let mut values = sample();
        values.truncate(1);
        values.push(Value::Object(vec![("k".into(), Value::StrictArray(vec![Value::Date(5.0)]))]));
        let bytes = encoded(&values);
        for len in 0..bytes.len() {
            match decode_all(&bytes[..len]) {
                Ok(fewer) => assert!(values.starts_with(&fewer) && fewer.len() < values.len()),
                Err(error) => assert_eq!(error, Amf0Error::Truncated),
            }
        }
    }

    #[test]
    fn nesting_ends_at_the_limit() {
        let nested = |depth: usize| {
            let mut bytes = Vec::new();
            for _ in 0..depth {
                bytes.extend_from_slice(&[STRICT_ARRAY, 0, 0, 0, 1]);
            }
            bytes.push(NULL);
            bytes
        };
        assert!(decode_all(&nested(DEPTH_MAX - 1)).is_ok());
        assert_eq!(decode_all(&nested(DEPTH_MAX)), Err(Amf0Error::TooDeep));
        assert_eq!(decode_all(&nested(100_000)), Err(Amf0Error::TooDeep));
        let bomb = [OBJECT, 0, 1, b'x'].repeat(100_000);
        assert_eq!(decode_all(&bomb), Err(Amf0Error::TooDeep));
    }

    #[test]
    fn counts_end_at_the_limit_and_reserve_nothing() {
        assert_eq!(decode_all(&[STRICT_ARRAY, 255, 255, 255, 255, NULL]), Err(Amf0Error::Truncated));
        assert!(decode_all(&[NULL; VALUES_MAX]).is_ok());
        assert_eq!(decode_all(&[NULL; VALUES_MAX + 1]), Err(Amf0Error::TooMany));
        assert_eq!(decode_all(&[LONG_STRING, 255, 255, 255, 255, b'x']), Err(Amf0Error::Truncated));
    }

    #[test]
    fn what_is_not_supported_is_named() {
        for marker in [0x04, 0x07, 0x09, 0x0e, 0x11, 0xff] {
            assert_eq!(decode_all(&[marker]), Err(Amf0Error::Marker(marker)));
        }
        assert_eq!(decode_all(&[OBJECT, 0, 0, NULL]), Err(Amf0Error::ObjectEnd));
    }

    #[test]
    fn random_bytes_never_panic() {
        let mut random = SplitMix64::new(0xa3f0);
        let valid = encoded(&sample()[..1]);
        for _ in 0..20_000 {
            let mut bytes = valid.clone();
            bytes.resize(64, 0);
            for _ in 0..random.below(24) {
                let at = random.below(64) as usize;
                bytes[at] = (random.next_u64() % 18) as u8;
            }
            let _ = decode_all(&bytes);
        }
    }

    #[test]
    fn debug_shows_no_text() {
        assert!(
            !format!("{:?}", Value::StrictArray(vec![Value::String("s3cret".into())])).contains("s3cret")
        );
    }
}
