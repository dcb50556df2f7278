//! Answers, and the pieces of them that several routes share.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use actix_web::web::Bytes;
use jiff::Timestamp;
use portcullis_domain::User;
use portcullis_domain::time::UnixTime;
use portcullis_domain::token::TokenSet;
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

/// A JSON answer that nobody may keep.
pub(crate) fn json(status: StatusCode, body: &impl Serialize) -> HttpResponse {
    let mut response = HttpResponse::build(status);
    response.insert_header((header::CONTENT_TYPE, JSON));
    response.insert_header((header::CACHE_CONTROL, NO_STORE));
    response.body(to_json(body))
}

/// The answer where there is nothing to say.
pub(crate) fn no_content() -> HttpResponse {
    HttpResponse::NoContent().insert_header((header::CACHE_CONTROL, NO_STORE)).finish()
}

/// An answer that anybody may keep for an hour.
pub(crate) fn cacheable(content_type: HeaderValue, body: Bytes) -> HttpResponse {
    let mut response = HttpResponse::Ok();
    response.insert_header((header::CONTENT_TYPE, content_type));
    response.insert_header((header::CACHE_CONTROL, ONE_HOUR));
    response.body(body)
}

/// The bytes of a JSON body.
pub(crate) fn to_json(body: &impl Serialize) -> Vec<u8> {
    #[expect(clippy::expect_used, reason = "bodies are structs of texts and numbers, which always serialise")]
    serde_json::to_vec(body).expect("the body serialises")
}

/// A user.
#[derive(Serialize, ToSchema)]
#[schema(as = User)]
pub(crate) struct UserBody<'a> {
    #[serde(serialize_with = "as_text")]
    #[schema(value_type = String, format = "uuid", example = "019b0d3e-7c1a-7d52-9a41-3f0c8f2b6e13")]
    id: portcullis_domain::id::UserId,
    /// The name as registered or imported.
    #[schema(min_length = 1, max_length = 256, example = "alice")]
    username: &'a str,
    #[serde(serialize_with = "as_rfc3339")]
    #[schema(value_type = String, format = DateTime, example = "2026-01-01T00:00:00Z")]
    created_at: UnixTime,
}

impl<'a> From<&'a User> for UserBody<'a> {
    fn from(user: &'a User) -> Self {
        Self { id: user.id, username: user.username.as_str(), created_at: user.created_at }
    }
}

/// The tokens of a session, returned by a login, a refresh or a password change.
#[derive(Serialize, ToSchema)]
#[schema(as = TokenSet)]
pub(crate) struct TokenSetBody<'a> {
    /// A JWT (RFC 9068), for `Authorization: Bearer`.
    #[schema(
        pattern = r"^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$",
        example = "eyJhbGciOiJFUzI1NiIsImtpZCI6IkZmNkoxNGVOMzVHZU95cE40WkNSb2F6ZWFUbW1yNUpXdUp0V0ZkV2lLV2siLCJ0eXAiOiJhdCtqd3QifQ.eyJpc3MiOiJodHRwczovL2F1dGguZXhhbXBsZS5jb20ifQ.c2lnbmF0dXJl"
    )]
    access_token: &'a str,
    #[schema(pattern = "^Bearer$", example = "Bearer")]
    token_type: &'static str,
    /// The lifetime of the access token, in seconds.
    #[schema(example = 900)]
    expires_in: u64,
    /// For `POST /refresh`, which returns the next refresh token. Each refresh token is used once.
    #[schema(
        pattern = "^pcr_[A-Za-z0-9_-]+$",
        example = "pcr_AQGXorRcbX6PmgscLT5PWmsAAAAH1YwBFji8DfByWGLcZVJbiglmdTv7yBDjuQcFEzcSbf8"
    )]
    refresh_token: &'a str,
    /// The lifetime of the refresh token, in seconds.
    #[schema(example = 2_592_000)]
    refresh_expires_in: u64,
    #[serde(serialize_with = "as_text")]
    #[schema(value_type = String, format = "uuid", example = "019b0d3e-7c1a-7d52-9a41-3f0c8f2b6e14")]
    session_id: portcullis_domain::id::SessionId,
}

impl<'a> From<&'a TokenSet> for TokenSetBody<'a> {
    fn from(tokens: &'a TokenSet) -> Self {
        Self {
            access_token: tokens.access.expose(),
            token_type: "Bearer",
            expires_in: tokens.access_expires_in.as_secs(),
            refresh_token: tokens.refresh.expose(),
            refresh_expires_in: tokens.refresh_expires_in.as_secs(),
            session_id: tokens.session,
        }
    }
}

/// Serialises an id as its text.
pub(crate) fn as_text<S: Serializer>(id: &impl std::fmt::Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}

/// Serialises a time as RFC 3339 in UTC with `Z` and whole seconds, rounded down.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
pub(crate) fn as_rfc3339<S: Serializer>(time: &UnixTime, serializer: S) -> Result<S::Ok, S::Error> {
    // RFC 3339 ends with the year 9999.
    serializer.collect_str(&Timestamp::from_second(time.as_secs()).unwrap_or(Timestamp::MAX))
}

pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");
pub(crate) const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const ONE_HOUR: HeaderValue = HeaderValue::from_static("public, max-age=3600");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339_in_whole_seconds() {
        #[derive(Serialize)]
        struct Body(#[serde(serialize_with = "as_rfc3339")] UnixTime);
        let check = |micros, expected: &str| {
            let json = serde_json::to_string(&Body(UnixTime::from_micros(micros))).unwrap();
            assert_eq!(json, format!("{expected:?}"));
        };
        check(0, "1970-01-01T00:00:00Z");
        check(1_800_000_000_999_999, "2027-01-15T08:00:00Z");
        check(-1, "1969-12-31T23:59:59Z");
        check(951_827_696_000_000, "2000-02-29T12:34:56Z");
    }
}
