//! The security headers of every answer.

use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};

/// The header fields that every answer carries, made once.
#[derive(Clone, Debug)]
pub(crate) struct SecurityHeaders {
    strict_transport_security: Option<HeaderValue>,
}

impl SecurityHeaders {
    /// Those of a service under `public_url`: one that is reached by https is never reached without it.
    pub(crate) fn new(public_url: &str) -> Self {
        Self { strict_transport_security: public_url.starts_with("https://").then_some(ONE_YEAR_OF_HTTPS) }
    }

    /// Adds them. A content security policy that is already there stays: the docs page has its own.
    pub(crate) fn add_to(&self, headers: &mut HeaderMap) {
        if !headers.contains_key(header::CONTENT_SECURITY_POLICY) {
            headers.insert(header::CONTENT_SECURITY_POLICY, NO_CONTENT);
        }
        for (name, value) in FIXED {
            headers.insert(name, value);
        }
        if let Some(value) = &self.strict_transport_security {
            headers.insert(header::STRICT_TRANSPORT_SECURITY, value.clone());
        }
    }
}

const FIXED: [(HeaderName, HeaderValue); 5] = [
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (header::X_XSS_PROTECTION, HeaderValue::from_static("0")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (header::CROSS_ORIGIN_RESOURCE_POLICY, HeaderValue::from_static("same-origin")),
];

/// Answers are data: a browser that opens one must neither run nor load nor frame anything.
const NO_CONTENT: HeaderValue =
    HeaderValue::from_static("default-src 'none'; base-uri 'none'; frame-ancestors 'none'; sandbox");

/// Of this host alone: what its subdomains serve is not for this service to say.
const ONE_YEAR_OF_HTTPS: HeaderValue = HeaderValue::from_static("max-age=31536000");
