//! The body that holds the tokens of a session.

use portcullis_domain::token::TokenSet;
use serde::Serialize;
use utoipa::ToSchema;

use crate::respond::json::as_text;

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
