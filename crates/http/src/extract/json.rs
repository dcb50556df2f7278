//! The only way a request body comes in: one JSON object, read strictly.
//!
//! Nothing is guessed, coerced or skipped: two programs must never read one body in two ways. What the object may
//! hold is said by [`FromFields`]; everything that is wrong with it is reported at once.

#[cfg(any(test, fuzzing))]
pub mod invariants;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use actix_web::http::header::{self, HeaderMap};
use actix_web::rt::time::timeout;
use actix_web::web::{self, Bytes};
use actix_web::{FromRequest, HttpRequest, dev};
use portcullis_domain::password::PlaintextPassword;
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use zeroize::{Zeroize, Zeroizing};

use crate::respond::catalogue::ProblemCode;
use crate::respond::problem::Problem;
use crate::respond::violation::{Violation, ViolationCode};

/// The largest body that is read, in bytes.
pub const MAX_BODY: usize = 16 * 1024;

/// How long a whole body may take to arrive.
pub const BODY_DEADLINE: Duration = Duration::from_secs(10);

/// The body of a request, as a `T`.
#[derive(Debug)]
pub(crate) struct StrictJson<T>(pub(crate) T);

/// Something that can be read from the fields of a JSON object.
pub(crate) trait FromFields: Sized {
    /// Takes its fields. `None` when one is missing or wrong, which `fields` has then noted.
    fn read(fields: &mut Fields) -> Option<Self>;

    /// What a request without a body means, where a body is optional.
    fn when_empty() -> Option<Self> {
        None
    }
}

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

/// The fields of an object that were not read yet, and what was wrong with those that were.
#[derive(Debug)]
pub(crate) struct Fields {
    unread: BTreeMap<String, Value>,
    violations: Vec<Violation>,
}

impl Fields {
    /// Takes the text of a field that must be there.
    pub(crate) fn text(&mut self, name: &'static str) -> Option<String> {
        if !self.unread.contains_key(name) {
            self.note(name, ViolationCode::Required, "is required");
            return None;
        }
        self.optional_text(name)
    }

    /// Takes the text of a field that may be missing.
    pub(crate) fn optional_text(&mut self, name: &'static str) -> Option<String> {
        match self.unread.remove(name)? {
            Value::Text(text) if text.contains('\0') => {
                self.note(name, ViolationCode::InvalidCharacter, "must not contain the character NUL");
                None
            }
            Value::Text(mut text) => Some(std::mem::take(&mut *text)),
            Value::Other => {
                self.note(name, ViolationCode::WrongType, "must be a string");
                None
            }
        }
    }

    /// Takes a password that must be there.
    pub(crate) fn password(&mut self, name: &'static str) -> Option<PlaintextPassword> {
        self.text(name).map(PlaintextPassword::new)
    }

    /// Takes the name and the password that must be there.
    pub(crate) fn credentials(&mut self) -> Option<(String, PlaintextPassword)> {
        let username = self.text("username");
        let password = self.password("password");
        username.zip(password)
    }

    /// Everything that is wrong, the fields nobody asked for included.
    fn into_violations(self) -> Vec<Violation> {
        let mut violations = self.violations;
        violations.extend(self.unread.keys().take(MAX_UNKNOWN_REPORTED).map(|name| {
            Violation::new(pointer_to(name), ViolationCode::UnknownField, "is not a field of this request")
        }));
        violations
    }

    fn note(&mut self, name: &'static str, code: ViolationCode, message: &'static str) {
        self.violations.push(Violation::new(format!("#/{name}"), code, message));
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
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let unread = deserializer.deserialize_any(ObjectVisitor);
    let unread = unread.and_then(|object| deserializer.end().map(|()| object));
    let unread = unread.map_err(|_would_quote_the_body| Problem::new(ProblemCode::MalformedJson))?;

    let mut fields = Fields { unread, violations: Vec::new() };
    let value = T::read(&mut fields);
    let violations = fields.into_violations();
    match value {
        Some(value) if violations.is_empty() => Ok(value),
        _ => Err(Problem::invalid(violations)),
    }
}

/// A value, as far as requests care.
enum Value {
    Text(Zeroizing<String>),
    Other,
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Value(..)")
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

/// Reads any value, down to its last leaf: what is wrong deep inside is wrong too. (What `serde_json` cannot read
/// is malformed, although the grammar of JSON allows it: a number beyond an `f64`, or more than 127 levels.)
struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(Zeroizing::new(text.to_owned())))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        while elements.next_element::<Value>()?.is_some() {}
        Ok(Value::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, pairs: A) -> Result<Value, A::Error> {
        ObjectVisitor.visit_map(pairs).map(|_| Value::Other)
    }
}

/// Reads an object and nothing else, and no key twice.
struct ObjectVisitor;

impl<'de> Visitor<'de> for ObjectVisitor {
    type Value = BTreeMap<String, Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> Result<Self::Value, A::Error> {
        let mut object = BTreeMap::new();
        while let Some((key, value)) = pairs.next_entry::<String, Value>()? {
            if object.insert(key, value).is_some() {
                return Err(A::Error::custom("a key is repeated"));
            }
        }
        Ok(object)
    }
}

/// A JSON pointer to a field, as a URI fragment (RFC 6901, section 6). A name too long to be a slip of the pen is
/// not sent back: the pointer then is to the object.
pub(crate) fn pointer_to(name: &str) -> Cow<'static, str> {
    if name.len() > MAX_NAME_REPORTED {
        return Cow::Borrowed("#");
    }
    let mut pointer = String::from("#/");
    for byte in name.bytes() {
        match byte {
            b'~' => pointer.push_str("~0"),
            b'/' => pointer.push_str("~1"),
            b'-' | b'.' | b'_' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => pointer.push(char::from(byte)),
            _ => {
                pointer.push('%');
                pointer.extend(
                    [byte >> 4, byte & 15].map(|digit| char::from(b"0123456789ABCDEF"[usize::from(digit)])),
                );
            }
        }
    }
    Cow::Owned(pointer)
}

/// How many unknown fields are named in one answer, and how long a name may be to be: an answer is no echo.
const MAX_UNKNOWN_REPORTED: usize = 8;
const MAX_NAME_REPORTED: usize = 64;

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
    use zeroize::ZeroizeOnDrop;

    use super::*;

    #[derive(Debug, PartialEq)]
    struct Form {
        name: String,
        note: Option<String>,
    }

    impl FromFields for Form {
        fn read(fields: &mut Fields) -> Option<Self> {
            let name = fields.text("name");
            let note = fields.optional_text("note");
            Some(Self { name: name?, note })
        }
    }

    fn violations(body: &str) -> Vec<(String, String)> {
        let problem = parse::<Form>(body.as_bytes()).unwrap_err();
        let body = problem.error_response().into_body();
        let body = actix_web::body::MessageBody::try_into_bytes(body).unwrap();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let errors = body["errors"].as_array().cloned().unwrap_or_default();
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        errors.iter().map(|error| (text(&error["pointer"]), text(&error["code"]))).collect()
    }

    #[test]
    fn fields_are_read_as_they_are() {
        let form = parse::<Form>("{ \"name\" : \"a\\u00e9\\ud83d\\ude00\" }\n".as_bytes()).unwrap();
        assert_eq!(form, Form { name: "a\u{e9}\u{1f600}".to_owned(), note: None });
    }

    #[test]
    fn everything_that_is_wrong_is_said_at_once() {
        let found = violations(r#"{"note":1,"a/b~c":null,"Name":"x","\u00e9 ":{}}"#);
        let expected = [
            ("#/name", "required"),
            ("#/note", "wrong_type"),
            ("#/Name", "unknown_field"),
            ("#/a~1b~0c", "unknown_field"),
            ("#/%C3%A9%20", "unknown_field"),
        ];
        assert_eq!(found, expected.map(|(pointer, code)| (pointer.to_owned(), code.to_owned())));
    }

    #[test]
    fn an_answer_is_no_echo() {
        let long = "x".repeat(65);
        assert_eq!(violations(&format!(r#"{{"name":"a","{long}":1}}"#))[0].0, "#");
        let many: Vec<_> = (0..100).map(|n| format!("\"f{n}\":1")).collect();
        let found = violations(&format!(r#"{{"name":"a",{}}}"#, many.join(",")));
        assert_eq!(found.len(), MAX_UNKNOWN_REPORTED);
    }

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

    // ASVS 11.7.2
    #[test]
    fn texts_that_nobody_took_are_wiped_on_drop() {
        fn is_wiped(_: &impl ZeroizeOnDrop) {}
        let value: Value = serde_json::from_str(r#""hunter2""#).unwrap();
        let Value::Text(text) = value else { panic!("it is a text") };
        is_wiped(&text);
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
