//! Which web pages of other origins may read the answers (CORS, of the Fetch standard).
//!
//! There are no cookies, so there are no credentials to allow: a page can use only tokens that were passed to it. Request
//! header fields grant nothing either. Tracing, error reporting and platform libraries add fields of their own to the
//! requests of a page, so an allowed origin may send any.

use std::fmt;

use actix_cors::{Cors, CorsError};
use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{Error, ResponseError};

use crate::request_id::X_REQUEST_ID;
use crate::respond::catalogue::ProblemCode;
use crate::respond::problem::Problem;

/// The origins whose pages may read the answers.
///
/// ```
/// use portcullis_http::AllowedOrigins;
///
/// assert!(AllowedOrigins::parse(["https://app.example.com", "http://localhost:5173"]).is_ok());
/// let error = AllowedOrigins::parse(["https://app.example.com/"]).unwrap_err();
/// assert_eq!(error.to_string(), "`https://app.example.com/` is not an origin: nothing may follow the host and port");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AllowedOrigins {
    /// None: no answer says anything about CORS.
    #[default]
    None,
    /// These.
    Listed(Vec<Origin>),
    /// Any but `null`, by `*`.
    Any,
}

impl AllowedOrigins {
    /// Parses a setting: origins, or `*` alone.
    ///
    /// # Errors
    /// [`InvalidOrigin`], for the first that is none.
    pub fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, InvalidOrigin> {
        let texts: Vec<_> = texts.into_iter().collect();
        match texts.as_slice() {
            [] => Ok(Self::None),
            ["*"] => Ok(Self::Any),
            _ => Ok(Self::Listed(texts.into_iter().map(Origin::parse).collect::<Result<_, _>>()?)),
        }
    }

    /// Whether there are any.
    pub(crate) fn are_any(&self) -> bool {
        *self != Self::None
    }

    /// The middleware that grants them access.
    pub(crate) fn middleware(&self) -> Cors {
        let cors = Cors::default()
            .allowed_methods([Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE])
            // Repeats the names asked for: `*` does not stand for `Authorization`.
            .allow_any_header()
            .expose_headers(EXPOSED)
            .max_age(PREFLIGHT_SECONDS);
        match self {
            Self::None => cors,
            Self::Listed(origins) => origins.iter().fold(cors, |cors, origin| cors.allowed_origin(&origin.0)),
            // `null` is no origin: any sandboxed page has it.
            Self::Any => {
                cors.allow_any_origin().allowed_origin_fn(|origin, _| origin != "null").send_wildcard()
            }
        }
    }
}

/// An origin as browsers write it: scheme, host, and the port unless it is the scheme's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(String);

impl Origin {
    /// Parses an origin. What no browser would ever send is refused, for it would silently allow nobody.
    ///
    /// # Errors
    /// [`InvalidOrigin`].
    pub fn parse(text: &str) -> Result<Self, InvalidOrigin> {
        let invalid = |reason| InvalidOrigin { text: text.to_owned(), reason };
        if text == "*" {
            return Err(invalid("`*` must stand alone"));
        }
        let (scheme, authority) =
            text.split_once("://").ok_or(invalid("it must start with a scheme and `://`"))?;
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(invalid("browsers write it in lower case"));
        }
        if authority.contains(['/', '?', '#']) {
            return Err(invalid("nothing may follow the host and port"));
        }
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (authority, None),
        };
        let is_scheme =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte);
        if !scheme.starts_with(|first: char| first.is_ascii_lowercase()) || !scheme.bytes().all(is_scheme) {
            return Err(invalid("its scheme is not one"));
        }
        if !is_host(host) {
            return Err(invalid("its host is not one; international names are written in Punycode"));
        }
        match (scheme, port) {
            ("https", Some("443")) | ("http", Some("80")) => {
                Err(invalid("browsers leave out the usual port"))
            }
            (_, Some(port)) if !is_port(port) => Err(invalid("its port is not one")),
            _ => Ok(Self(text.to_owned())),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_host(host: &str) -> bool {
    let address = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._".contains(&byte);
    match address {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(is_name),
    }
}

/// Browsers write a port without zeros before it.
fn is_port(port: &str) -> bool {
    port.parse::<u16>().is_ok_and(|number| number != 0 && number.to_string() == port)
}

/// A text is no origin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an origin: {reason}")]
pub struct InvalidOrigin {
    text: String,
    reason: &'static str,
}

/// Explains refused preflights as every other error is explained.
pub(crate) async fn explain<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    // The answer repeats them, so they must be names, and not longer than any page needs.
    let asked_for = || request.headers().get_all(header::ACCESS_CONTROL_REQUEST_HEADERS);
    if asked_for().map(HeaderValue::len).sum::<usize>() > MAX_HEADERS_ASKED_FOR || !asked_for().all(are_names)
    {
        let refusal = Problem::new(ProblemCode::MalformedRequest).error_response();
        return Ok(request.into_response(refusal).map_into_right_body());
    }
    let response = next.call(request).await?;
    let refused = response.response().error().and_then(|error| error.as_error::<CorsError>());
    let Some(code) = refused.map(problem_of) else {
        return Ok(response.map_into_left_body());
    };
    let mut refusal = Problem::new(code).error_response();
    refusal.headers_mut().insert(header::VARY, VARY);
    Ok(response.into_response(refusal).map_into_right_body())
}

/// Returns whether `list` is a list of header names, in which elements may be empty (RFC 9110, sections 5.6.1.2 and 5.6.2).
fn are_names(list: &HeaderValue) -> bool {
    let may_be_in_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    list.as_bytes().split(|byte| *byte == b',').all(|name| name.trim_ascii().iter().all(may_be_in_name))
}

fn problem_of(error: &CorsError) -> ProblemCode {
    match error {
        CorsError::OriginNotAllowed | CorsError::MethodNotAllowed | CorsError::HeadersNotAllowed => {
            ProblemCode::Forbidden
        }
        // A preflight that is not one.
        _ => ProblemCode::MalformedRequest,
    }
}

const EXPOSED: [HeaderName; 5] = [
    X_REQUEST_ID,
    header::RETRY_AFTER,
    HeaderName::from_static("ratelimit"),
    HeaderName::from_static("ratelimit-policy"),
    header::WWW_AUTHENTICATE,
];

const VARY: HeaderValue =
    HeaderValue::from_static("Origin, Access-Control-Request-Method, Access-Control-Request-Headers");

/// How long a browser may remember a preflight: settings seldom change.
const PREFLIGHT_SECONDS: usize = 600;

/// In bytes, over all fields.
const MAX_HEADERS_ASKED_FOR: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_what_browsers_send() {
        let good = [
            "https://app.example.com",
            "http://localhost:5173",
            "https://xn--bcher-kva.example:8443",
            "http://[::1]:3000",
            "http://[2001:db8::1]",
            "capacitor://localhost",
            "http://127.0.0.1:8080",
        ];
        for text in good {
            assert_eq!(Origin::parse(text).map(|origin| origin.to_string()), Ok(text.to_owned()));
        }
        let bad = [
            "",
            "null",
            "*",
            "app.example.com",
            "https://",
            "https://App.example.com",
            "https://app.example.com/",
            "https://app.example.com?x",
            "https://user@app.example.com",
            "https://*.example.com",
            "https://app.example.com:443",
            "http://app.example.com:80",
            "https://app.example.com:",
            "https://app.example.com:0443",
            "https://app.example.com:99999",
            "https://bücher.example",
            "https://[::1",
            "1http://a",
        ];
        for text in bad {
            assert!(Origin::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_star_stands_alone() {
        assert_eq!(AllowedOrigins::parse(["*"]), Ok(AllowedOrigins::Any));
        assert_eq!(AllowedOrigins::parse([]), Ok(AllowedOrigins::None));
        assert!(AllowedOrigins::parse(["https://a.example", "*"]).is_err());
    }
}
