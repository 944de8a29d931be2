//! Requests of `/v1` read strictly: JSON of the described types, no unknown field, paths and queries of valid text.
//! Takes: the request. Gives: typed values, or the problem that names the field.

use axum::body::Bytes;
use axum::extract::path::ErrorKind;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use super::problem::Refusal;
use crate::order::Object;
use crate::rest::error::Problem;
use crate::rest::value::read_body;

/// A JSON body and its bytes.
pub(super) struct Body<T> {
    pub(super) value: T,
    pub(super) bytes: Bytes,
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refusal> {
        let (parts, body) = request.into_parts();
        if !is_json(&parts.headers) {
            return Err(Problem::not_json().into());
        }
        let bytes = read_body(&parts.headers, body).await?;
        let value = parse(&bytes)?;
        Ok(Self { value, bytes })
    }
}

/// The parts of the path that name a resource.
pub(super) struct Named<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Named<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let path: Result<Path<T>, PathRejection> = Path::from_request_parts(parts, state).await;
        match path {
            Ok(Path(value)) => Ok(Self(value)),
            Err(PathRejection::FailedToDeserializePathParams(error))
                if matches!(error.kind(), ErrorKind::InvalidUtf8InPathParam { .. }) =>
            {
                Err(Problem::bad_path().into())
            }
            Err(_) => Err(Problem::unknown_path().into()),
        }
    }
}

/// A query string.
pub(super) struct Asked<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let query: Result<Query<T>, QueryRejection> = Query::from_request_parts(parts, state).await;
        query.map(|Query(value)| Self(value)).map_err(|_| Problem::bad_query().into())
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

/// Reads JSON. The parser's own words are not repeated but for what it expected: they hold values, and those may be
/// secrets.
fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let Object(value) = serde_path_to_error::deserialize::<_, Object<T>>(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        if !inner.is_data() {
            return Problem::malformed(&inner);
        }
        let text = inner.to_string();
        // "invalid type: string \"…\", expected u16 at line 1 column 9": what is expected follows the value.
        let expected = text.rsplit_once(", expected ").map(|(_, expected)| expected);
        let expected = expected.map(|e| e.rsplit_once(" at line ").map_or(e, |(e, _)| e).to_owned());
        let problem = match text.split([' ', ':']).next() {
            Some("unknown") if text.starts_with("unknown field") => "holds an unknown field",
            Some("duplicate") => "holds a field twice",
            Some("missing") => "lacks a field",
            _ => "is not of the expected type",
        };
        let field = if path == "." { None } else { Some(path) };
        Problem::of_wrong_shape(field, problem, expected)
    })?;
    json.end().map_err(|error| Problem::malformed(&error))?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::order::OrderRequest;
    use axum::http::StatusCode;

    fn status_of<T: DeserializeOwned>(bytes: &[u8]) -> Option<StatusCode> {
        parse::<T>(bytes).err().map(|problem| problem.status)
    }

    #[test]
    fn bodies_of_the_wrong_shape_name_field_and_type_and_no_value() {
        for (json, field, expected) in [
            (r#"{"sipPort":"s3cret"}"#, Some("sipPort"), "65535"),
            (r#"{"sipPort":1.5}"#, Some("sipPort"), "65535"),
            (r#"{"sipPort":-1}"#, Some("sipPort"), "65535"),
            (r#"{"sipPort":65536}"#, Some("sipPort"), "65535"),
            (r#"{"targets":[{"muted":"s3cret"}]}"#, Some("targets[0].muted"), "a boolean"),
            (r#"{"callee":{"s3cret":1}}"#, Some("callee"), "a string"),
            (r#"[1]"#, None, "a JSON object"),
            (r#"{"targets":[["s3cret"]]}"#, Some("targets[0]"), "a JSON object"),
        ] {
            let Err(problem) = parse::<OrderRequest>(json.as_bytes()) else { panic!("{json} was taken") };
            assert_eq!(
                (problem.status, problem.field.as_deref()),
                (StatusCode::BAD_REQUEST, field),
                "{json}"
            );
            assert!(problem.expected.as_deref().is_some_and(|e| e.contains(expected)), "{problem:?}");
            assert!(!format!("{problem:?}").contains("s3cret"), "{problem:?}");
        }
        for json in ["", "{", "{} {}", "{\"nonsense\":1}", "{\"callee\":\"a\",\"callee\":\"b\"}"] {
            assert_eq!(status_of::<OrderRequest>(json.as_bytes()), Some(StatusCode::BAD_REQUEST), "{json}");
        }
        assert!(parse::<OrderRequest>(b" {} ").is_ok());
        let order = parse::<OrderRequest>(b"{\"sipPort\":5060.0}").map(|order| order.sip_port);
        assert_eq!(order, Ok(Some(5060)));
    }
}
