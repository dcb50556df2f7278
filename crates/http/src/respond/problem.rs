//! Errors as responses: RFC 9457 problem documents, from one catalogue.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpResponse, ResponseError};
use serde::Serialize;
use utoipa::ToSchema;

use crate::request_id::{RequestId, current_request_id};
use crate::respond::base_path;
use crate::respond::catalogue::ProblemCode;
use crate::respond::json::{NO_STORE, to_json};
use crate::respond::violation::{Violation, ViolationCode};

/// An error as a response: a problem document (RFC 9457) with the status of its code.
///
/// Whatever becomes a problem loses its cause on the way: the `From` that makes the problem logs the
/// cause, once, and the response never contains it.
#[derive(Debug)]
pub struct Problem {
    code: ProblemCode,
    violations: Vec<Violation>,
    /// Seconds.
    retry_after: Option<u64>,
    closes_connection: bool,
    // Of the request during which the problem is created. The response may be made after it.
    request_id: Option<Box<RequestId>>,
    base_path: Option<Arc<str>>,
}

impl Problem {
    /// Creates the problem of this code, for the current request.
    pub(crate) fn new(code: ProblemCode) -> Self {
        Self {
            code,
            violations: Vec::new(),
            retry_after: retry_after(code),
            closes_connection: false,
            request_id: current_request_id().map(Box::new),
            base_path: base_path::current(),
        }
    }

    /// Returns the code.
    pub fn code(&self) -> ProblemCode {
        self.code
    }

    /// Everything that is wrong with a request.
    pub(crate) fn invalid(violations: Vec<Violation>) -> Self {
        Self { violations, ..Self::new(ProblemCode::InvalidRequest) }
    }

    /// The same, to be tried again after so many seconds.
    pub(crate) fn retry_after(self, seconds: u64) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }

    /// Too many requests, to be tried again after a while: whole seconds, rounded up.
    pub(crate) fn rate_limited(wait: Duration) -> Self {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        Self::new(ProblemCode::RateLimited).retry_after(seconds.max(1))
    }

    /// The same, and the end of the connection: the rest of the request is not worth reading.
    pub(crate) fn closing(self) -> Self {
        Self { closes_connection: true, ..self }
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.code.status()
    }

    fn error_response(&self) -> HttpResponse {
        let body = ProblemBody {
            uri: type_uri(self.code, self.base_path.as_deref()),
            title: self.code.title(),
            status: self.code.status().as_u16(),
            detail: self.code.detail(),
            code: self.code,
            request_id: self.request_id.as_deref().map(RequestId::as_str),
            errors: &self.violations,
        };
        let mut response = HttpResponse::build(self.code.status());
        response.insert_header((header::CONTENT_TYPE, PROBLEM_JSON));
        response.insert_header((header::CACHE_CONTROL, NO_STORE));
        if let Some(challenge) = challenge(self.code) {
            response.insert_header((header::WWW_AUTHENTICATE, challenge));
        }
        if let Some(seconds) = self.retry_after {
            response.insert_header((header::RETRY_AFTER, seconds));
        }
        if self.closes_connection {
            response.force_close();
        }
        response.body(to_json(&body))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code.word())
    }
}

impl Error for Problem {}

impl From<ProblemCode> for Problem {
    fn from(code: ProblemCode) -> Self {
        Self::new(code)
    }
}

/// What most handlers return.
pub(crate) type HandlerResult = Result<HttpResponse, Problem>;

/// A problem document (RFC 9457).
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct ProblemBody<'a> {
    /// The page that explains the problem, relative to the service.
    #[serde(rename = "type")]
    #[schema(value_type = String, format = "uri-reference", example = "/problems/not_found")]
    uri: Cow<'static, str>,
    /// A short sentence for people.
    #[schema(example = "There is nothing here")]
    title: &'static str,
    /// The status of the response.
    #[schema(format = Int32, minimum = 400, maximum = 599, example = 404)]
    status: u16,
    /// The meaning of the problem and what a client can do.
    #[schema(
        example = "No resource has this path. Paths are exact: no trailing slash, no percent-encoding."
    )]
    detail: &'static str,
    code: ProblemCode,
    /// The id of the request, as in `x-request-id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required, value_type = String, min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9._-]+$",
        example = "019b0d3e-7c1a-7d52-9a41-3f0c8f2b6e16")]
    request_id: Option<&'a str>,
    /// All reasons why the request is refused. Only responses with status 422 have this member.
    #[serde(skip_serializing_if = "<[Violation]>::is_empty")]
    #[schema(value_type = Vec<Violation>, required = false, min_items = 1)]
    errors: &'a [Violation],
}

/// Returns the example of a problem document with this code.
pub(crate) fn example(code: ProblemCode, base_path: Option<&str>) -> serde_json::Value {
    let too_short =
        Violation::new("#/password", ViolationCode::TooShort, "must be at least 8 characters long");
    let violations = if code == ProblemCode::InvalidRequest { vec![too_short] } else { Vec::new() };
    serde_json::json!(ProblemBody {
        uri: type_uri(code, base_path),
        title: code.title(),
        status: code.status().as_u16(),
        detail: code.detail(),
        code,
        request_id: Some("019b0d3e-7c1a-7d52-9a41-3f0c8f2b6e16"),
        errors: &violations,
    })
}

/// Returns the `type` of problems with this code: a reference to its explanation.
pub(crate) fn type_uri(code: ProblemCode, base_path: Option<&str>) -> Cow<'static, str> {
    match base_path {
        None => Cow::Borrowed(code.uri()),
        Some(base_path) => Cow::Owned(format!("{base_path}{}", code.uri())),
    }
}

/// Logs an error with its causes; what is left of it is the code.
pub(crate) fn logged(error: &dyn Error, code: ProblemCode) -> Problem {
    log::error!("{}", Chain(error));
    code.into()
}

/// An error with its causes, for the log.
struct Chain<'a>(&'a dyn Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

/// The challenge that goes with a 401 (RFC 6750, section 3): it speaks of an error only where a token was sent.
fn challenge(code: ProblemCode) -> Option<HeaderValue> {
    match code {
        ProblemCode::InvalidToken => Some(HeaderValue::from_static("Bearer error=\"invalid_token\"")),
        code if code.status() == StatusCode::UNAUTHORIZED => Some(HeaderValue::from_static("Bearer")),
        _ => None,
    }
}

/// After how many seconds to try again: a guess at when things are better, small where a queue drains by itself
/// and large where a person has to act.
const fn retry_after(code: ProblemCode) -> Option<u64> {
    match code {
        ProblemCode::Overloaded | ProblemCode::RateLimited | ProblemCode::NotReady => Some(1),
        ProblemCode::StorageUnavailable => Some(2),
        ProblemCode::StorageFull => Some(60),
        _ => None,
    }
}

const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

#[cfg(test)]
mod tests {
    use portcullis_domain::ports::{StoreError, StoreErrorKind};

    use super::*;

    #[test]
    fn every_503_and_429_says_when_to_come_back_and_every_401_challenges() {
        for code in ProblemCode::ALL {
            let response = Problem::new(*code).error_response();
            let status = code.status().as_u16();
            assert_eq!(response.headers().contains_key(header::RETRY_AFTER), matches!(status, 429 | 503));
            assert_eq!(response.headers().contains_key(header::WWW_AUTHENTICATE), status == 401, "{code:?}");
        }
    }

    #[test]
    fn causes_are_told_in_one_line() {
        let error = StoreError::new(StoreErrorKind::Unavailable, "connection refused");
        assert_eq!(Chain(&error).to_string(), "the store is unavailable: connection refused");
    }
}
