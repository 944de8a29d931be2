//! Fields of a request's JSON object, read leniently as the original's clients send them: booleans and ports as
//! strings or native (wcs-api 1.1), `null` and empty strings as absent; and strictly as to what they may hold.
//! Takes: the request. Gives: values within their limits (`order`), or the [`Problem`] that names the field.

use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{FromRequest, Request};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use serde_json::{Map, Value};

use super::BODY_MAX;
use super::error::Problem;
use crate::order::{PORT_EXPECTED, Text};

/// The JSON object of a request. No body, or an empty one, is an empty object.
#[derive(Debug, Default)]
pub(crate) struct Fields(Map<String, Value>);

impl<S: Send + Sync> FromRequest<S> for Fields {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let bytes = read_body(&parts.headers, body).await?;
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self::default());
        }
        // The original does not look at the type either, and `curl -d` calls everything a form. A form with parts
        // cannot be JSON; the message says so better than the parser's.
        if parts.headers.get(CONTENT_TYPE).is_some_and(|kind| is_multipart(kind.as_bytes())) {
            return Err(Problem::wrong_type());
        }
        Self::parse(&bytes)
    }
}

/// Reads a body within [`BODY_MAX`] and [`BODY_TIMEOUT`].
pub(super) async fn read_body(headers: &HeaderMap, body: Body) -> Result<Bytes, Problem> {
    let announced = headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > BODY_MAX as u64) {
        return Err(Problem::too_large());
    }
    let read = tokio::time::timeout(BODY_TIMEOUT, to_bytes(body, BODY_MAX));
    read.await.map_err(|_| Problem::too_slow())?.map_err(|error| {
        let mut source: Option<&dyn std::error::Error> = Some(&error);
        while let Some(cause) = source {
            if cause.is::<http_body_util::LengthLimitError>() {
                return Problem::too_large();
            }
            source = cause.source();
        }
        Problem::body_broken()
    })
}

impl Fields {
    /// Reads a body that is not empty.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, Problem> {
        match serde_json::from_slice(body).map_err(|error| Problem::malformed(&error))? {
            Value::Object(fields) => Ok(Self(fields)),
            _ => Err(Problem::no_object()),
        }
    }

    /// A text that may be absent. Numbers count as their digits: `8801` is a callee.
    pub(crate) fn text(&self, field: &'static str, rule: Text) -> Result<Option<String>, Problem> {
        let text = match self.0.get(field) {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::String(text)) => text.clone(),
            Some(Value::Number(number)) => number.to_string(),
            Some(other) => return Err(wrong_type(field, other, rule.expected)),
        };
        Ok(rule.optional(field, Some(text))?)
    }

    /// A text that must be there.
    pub(crate) fn required_text(&self, field: &'static str, rule: Text) -> Result<String, Problem> {
        self.text(field, rule)?.ok_or_else(|| Problem::invalid(field, "is missing", rule.expected))
    }

    /// `true`, `false`, `"true"` or `"false"`.
    pub(crate) fn boolean(&self, field: &'static str) -> Result<Option<bool>, Problem> {
        const EXPECTED: &str = "true or false";
        match self.0.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(*value)),
            Some(Value::String(text)) => match text.trim() {
                "" => Ok(None),
                text if text.eq_ignore_ascii_case("true") => Ok(Some(true)),
                text if text.eq_ignore_ascii_case("false") => Ok(Some(false)),
                _ => Err(Problem::invalid(field, "is neither true nor false", EXPECTED)),
            },
            Some(other) => Err(wrong_type(field, other, EXPECTED)),
        }
    }

    /// `5060` or `"5060"`.
    pub(crate) fn port(&self, field: &'static str) -> Result<Option<u16>, Problem> {
        let port = match self.0.get(field) {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::Number(number)) => number.as_u64().and_then(|n| u16::try_from(n).ok()),
            Some(Value::String(text)) if text.trim().is_empty() => return Ok(None),
            Some(Value::String(text)) => text.trim().parse().ok(),
            Some(other) => return Err(wrong_type(field, other, PORT_EXPECTED)),
        };
        match port {
            Some(port) if port != 0 => Ok(Some(port)),
            _ => Err(Problem::invalid(field, "is not a port number", PORT_EXPECTED)),
        }
    }

    /// A list of texts; absent is an empty one, and so is a text that is empty. Not longer than [`TEXTS_MAX`].
    pub(crate) fn texts(&self, field: &'static str, rule: Text) -> Result<Vec<String>, Problem> {
        let items = match self.0.get(field) {
            None | Some(Value::Null) => return Ok(Vec::new()),
            Some(Value::Array(items)) => items,
            Some(other) => return Err(wrong_type(field, other, rule.expected)),
        };
        if items.len() > TEXTS_MAX {
            let expected = format!("at most {TEXTS_MAX} items");
            return Err(Problem::invalid(field, "has too many items", expected));
        }
        let text = |item: &Value| match item {
            Value::String(text) => Ok(rule.optional(field, Some(text.clone()))?),
            other => Err(wrong_type(field, other, rule.expected)),
        };
        Ok(items.iter().map(text).collect::<Result<Vec<_>, Problem>>()?.into_iter().flatten().collect())
    }

    /// The same fields with those of an object among them; fields of their own level go before its.
    pub(crate) fn with_nested(mut self, field: &'static str) -> Result<Self, Problem> {
        for (name, value) in self.object(field)? {
            self.0.entry(name).or_insert(value);
        }
        Ok(self)
    }

    /// An object; absent is an empty one.
    pub(crate) fn object(&self, field: &'static str) -> Result<Map<String, Value>, Problem> {
        match self.0.get(field) {
            None | Some(Value::Null) => Ok(Map::new()),
            Some(Value::Object(object)) => Ok(object.clone()),
            Some(other) => Err(wrong_type(field, other, "a JSON object")),
        }
    }
}

fn wrong_type(field: &'static str, value: &Value, expected: &'static str) -> Problem {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    };
    Problem::invalid(field, format!("is {kind}"), expected)
}

fn is_multipart(content_type: &[u8]) -> bool {
    content_type.trim_ascii_start().get(..10).is_some_and(|kind| kind.eq_ignore_ascii_case(b"multipart/"))
}

/// Items of a list at most.
const TEXTS_MAX: usize = 1000;

/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::StatusCode;

    const WORD: Text = Text::word(8, "a word");

    fn fields(json: &str) -> Fields {
        Fields::parse(json.as_bytes()).expect("an object")
    }

    #[test]
    fn booleans_and_ports_come_as_strings_or_native() {
        let f = fields(r#"{"a":"true","b":false,"c":" FALSE ","d":"5060","e":5061,"f":null,"g":""}"#);
        assert_eq!(f.boolean("a"), Ok(Some(true)));
        assert_eq!(f.boolean("b"), Ok(Some(false)));
        assert_eq!(f.boolean("c"), Ok(Some(false)));
        assert_eq!(f.port("d"), Ok(Some(5060)));
        assert_eq!(f.port("e"), Ok(Some(5061)));
        for absent in ["f", "g", "h"] {
            assert_eq!(f.boolean(absent), Ok(None));
            assert_eq!(f.port(absent), Ok(None));
            assert_eq!(f.text(absent, WORD), Ok(None));
        }
    }

    #[test]
    fn values_that_do_not_fit_are_refused() {
        let f = fields(r#"{"a":"yes","b":1,"c":0,"d":65536,"e":"50 60","f":-1,"g":1.5,"h":[1]}"#);
        assert!(f.boolean("a").is_err() && f.boolean("b").is_err());
        for field in ["c", "d", "e", "f", "g", "h"] {
            assert!(f.port(field).is_err(), "{field}");
        }
        assert!(f.text("h", WORD).is_err());
        assert!(f.object("a").is_err());
    }

    #[test]
    fn texts_have_limits_just_inside_and_just_outside() {
        let f = fields(r#"{"in":"12345678","out":"123456789","line":"a\r\nb","space":"a b","number":8801}"#);
        assert_eq!(f.text("in", WORD), Ok(Some("12345678".to_owned())));
        assert!(f.text("out", WORD).is_err());
        assert!(f.text("line", Text::free(20, "text")).is_err());
        assert!(f.text("space", WORD).is_err());
        assert_eq!(f.text("space", Text::free(20, "text")), Ok(Some("a b".to_owned())));
        assert_eq!(f.text("number", WORD), Ok(Some("8801".to_owned())));
        assert!(f.required_text("missing", WORD).is_err());
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for body in ["{", "[]", "1", "\"x\"", "{\"a\":1}}", "\u{feff}{}", &"[".repeat(1000)] {
            let status = Fields::parse(body.as_bytes()).map(|_| ()).map_err(|problem| problem.status());
            assert_eq!(status, Err(StatusCode::BAD_REQUEST), "{body}");
        }
        assert!(Fields::parse(b"{\"a\":\"\xff\"}").is_err());
    }

    #[test]
    fn forms_with_parts_are_known() {
        assert!(is_multipart(b"Multipart/Form-Data; boundary=x"));
        assert!(!is_multipart(b"application/x-www-form-urlencoded"));
        assert!(!is_multipart(b""));
    }
}
