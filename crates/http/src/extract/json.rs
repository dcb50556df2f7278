//! The only way a request body comes in: one JSON object, read strictly.
//!
//! Nothing is guessed, coerced or skipped: two programs must never read one body in two ways. A request declares its members
//! with [`FromFields`]; all violations are reported at once.

mod fields;
#[cfg(any(test, fuzzing))]
pub mod invariants;
mod value;

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use actix_web::http::header::{self, HeaderMap};
use actix_web::rt::time::timeout;
use actix_web::web::{self, Bytes};
use actix_web::{FromRequest, HttpRequest, dev};
use zeroize::Zeroize;

pub(crate) use self::fields::{Fields, FromFields, Input, Read, pointer_to};
use crate::respond::catalogue::ProblemCode;
use crate::respond::problem::Problem;

/// The largest body that is read, in bytes.
pub const MAX_BODY: usize = 16 * 1024;

/// How long a whole body may take to arrive.
pub const BODY_DEADLINE: Duration = Duration::from_secs(10);

/// The body of a request, as a `T`.
#[derive(Debug)]
pub(crate) struct StrictJson<T>(pub(crate) T);

impl<T: FromFields + 'static> FromRequest for StrictJson<T> {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, payload: &mut dev::Payload) -> Self::Future {
        let payload = web::Payload::from_request(request, payload);
        let request = request.clone();
        Box::pin(async move {
            let payload = payload.await.map_err(|_taken| Problem::new(ProblemCode::MalformedRequest))?;
            let body = receive(request.headers(), payload, BODY_DEADLINE).await?;
            match T::when_empty() {
                Some(nothing) if body.0.is_empty() => Ok(Self(nothing)),
                _ => {
                    check_media_type(request.headers())?;
                    parse(&body.0).map(Self)
                }
            }
        })
    }
}

/// A body that is wiped when it is done with, for it may hold a password. Only this copy can be: what the connection
/// was read into belongs to actix-web, which uses it again or frees it as it is.
struct Body(Bytes);

impl Drop for Body {
    fn drop(&mut self) {
        if let Ok(mut bytes) = std::mem::take(&mut self.0).try_into_mut() {
            bytes.as_mut().zeroize();
        }
    }
}

/// Receives the whole body, within its bounds of size and time.
async fn receive(headers: &HeaderMap, payload: web::Payload, deadline: Duration) -> Result<Body, Problem> {
    let too_large = || Problem::new(ProblemCode::PayloadTooLarge).closing();
    if announced_length(headers).is_some_and(|length| length > MAX_BODY as u64) {
        return Err(too_large());
    }
    match timeout(deadline, payload.to_bytes_limited(MAX_BODY)).await {
        Ok(Ok(Ok(body))) => Ok(Body(body)),
        Ok(Ok(Err(_broken_off))) => Err(Problem::new(ProblemCode::MalformedRequest).closing()),
        Ok(Err(_limit_exceeded)) => Err(too_large()),
        Err(_elapsed) => Err(Problem::new(ProblemCode::RequestTimeout).closing()),
    }
}

fn announced_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Accepts `application/json` in UTF-8, and no content coding.
///
/// The type may be repeated, in fields of its own or joined by commas, as some proxies do. Then each must be JSON: a
/// browser asks before it sends such a request to another origin, and with a type that it sends unasked, all are refused.
fn check_media_type(headers: &HeaderMap) -> Result<(), Problem> {
    let types = || headers.get_all(header::CONTENT_TYPE);
    let is_json = types().next().is_some()
        && types().all(|value| value.to_str().is_ok_and(|types| types.split(',').all(is_json)));
    let is_plain = headers.get_all(header::CONTENT_ENCODING).all(|coding| {
        let coding = coding.as_bytes().trim_ascii();
        coding.is_empty() || coding.eq_ignore_ascii_case(b"identity")
    });
    if is_json && is_plain { Ok(()) } else { Err(ProblemCode::UnsupportedMediaType.into()) }
}

/// Parameters other than `charset` have no meaning for JSON (RFC 8259, section 11), but some clients send them.
fn is_json(media_type: &str) -> bool {
    let mut parts = media_type.split(';').map(str::trim);
    let is_json = parts.next().is_some_and(|essence| essence.eq_ignore_ascii_case("application/json"));
    is_json
        && parts.all(|parameter| match parameter.split_once('=') {
            Some((name, charset)) if name.trim_end().eq_ignore_ascii_case("charset") => is_utf_8(charset),
            _ => true,
        })
}

fn is_utf_8(charset: &str) -> bool {
    let charset = charset.trim_start();
    let quoted = charset.strip_prefix(['"', '\'']).and_then(|rest| rest.strip_suffix(['"', '\'']));
    ["utf-8", "utf8"].iter().any(|utf_8| quoted.unwrap_or(charset).eq_ignore_ascii_case(utf_8))
}

fn parse<T: FromFields>(body: &[u8]) -> Result<T, Problem> {
    let object = value::read_object(body);
    let object = object.map_err(|_would_quote_the_body| Problem::new(ProblemCode::MalformedJson))?;
    fields::read_request(object, T::read).map_err(Problem::invalid)
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll};

    use actix_web::ResponseError;
    use actix_web::dev::Payload;
    use actix_web::error::PayloadError;
    use actix_web::http::StatusCode;
    use actix_web::http::header::HeaderValue;
    use actix_web::test::TestRequest;
    use futures_core::Stream;

    use super::*;

    #[test]
    fn json_in_utf_8_is_accepted_with_any_parameters() {
        let check =
            |content_type: &str, is_fine: bool| assert_eq!(is_json(content_type), is_fine, "{content_type}");
        check("application/json", true);
        check("Application/JSON; charset=UTF-8", true);
        check("application/json;charset=\"utf-8\"", true);
        check("application/json;charset='utf-8'", true);
        check("application/json; charset=utf8", true);
        check(" application/json\t;\tCharset = UTF-8 ;", true);
        check("application/json;", true);
        check("application/json; charset=utf-8; x=y", true);
        check("application/json; odata=verbose", true);
        check("application/json; v=1; boundary=x", true);
        check("application/json; charset=utf-7", false);
        check("application/json; charset=utf-8; charset=utf-16", false);
        check("application/json; charset=iso-8859-1", false);
        check("application/json; charset=", false);
        check("application/json; charset=\"\"", false);
        check("application/jsonp", false);
        check("application/problem+json", false);
        check("application/vnd.api+json", false);
        check("text/json", false);
        check("text/plain; application/json", false);
        check("; application/json", false);
        check("", false);
    }

    /// Pieces of a body, and whether its end ever comes.
    struct Pieces(Vec<&'static [u8]>, Ending);

    enum Ending {
        Clean,
        BrokenOff,
        Never,
    }

    impl Stream for Pieces {
        type Item = Result<Bytes, PayloadError>;

        fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
            match (self.0.pop(), &self.1) {
                (Some(piece), _) => Poll::Ready(Some(Ok(Bytes::from_static(piece)))),
                (None, Ending::Clean) => Poll::Ready(None),
                (None, Ending::BrokenOff) => Poll::Ready(Some(Err(PayloadError::Incomplete(None)))),
                (None, Ending::Never) => Poll::Pending,
            }
        }
    }

    async fn received(announced: Option<&'static str>, pieces: Pieces) -> Result<usize, (StatusCode, bool)> {
        let request = TestRequest::default().to_http_request();
        let mut payload = Payload::Stream { payload: Box::pin(pieces) as _ };
        let payload = web::Payload::from_request(&request, &mut payload).await.unwrap();
        let mut headers = HeaderMap::new();
        if let Some(length) = announced {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static(length));
        }
        let body = receive(&headers, payload, Duration::ZERO).await;
        body.map(|body| body.0.len()).map_err(|problem| {
            let response = problem.error_response();
            (response.status(), response.head().connection_type() == actix_web::http::ConnectionType::Close)
        })
    }

    #[actix_web::test]
    async fn bodies_have_bounds_in_size_and_time() {
        static HALF: [u8; MAX_BODY / 2] = [b' '; MAX_BODY / 2];
        let too_large = Err((StatusCode::PAYLOAD_TOO_LARGE, true));

        assert_eq!(received(None, Pieces(vec![&HALF, &HALF], Ending::Clean)).await, Ok(MAX_BODY));
        assert_eq!(received(Some("16384"), Pieces(vec![&HALF, &HALF], Ending::Clean)).await, Ok(MAX_BODY));
        assert_eq!(received(Some("16385"), Pieces(vec![], Ending::Never)).await, too_large, "unread");
        assert_eq!(received(Some("99999999999999999999"), Pieces(vec![b"{}"], Ending::Clean)).await, Ok(2));
        assert_eq!(received(None, Pieces(vec![b"x", &HALF, &HALF], Ending::Never)).await, too_large);
        assert_eq!(
            received(Some("2"), Pieces(vec![b"x", &HALF, &HALF], Ending::Never)).await,
            too_large,
            "a lie"
        );

        let slow = received(None, Pieces(vec![b"{"], Ending::Never)).await;
        assert_eq!(slow, Err((StatusCode::REQUEST_TIMEOUT, true)));
        let broken = received(None, Pieces(vec![b"{"], Ending::BrokenOff)).await;
        assert_eq!(broken, Err((StatusCode::BAD_REQUEST, true)));
    }
}
