//! `GET /protected`

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use portcullis_domain::id::{SessionId, UserId};
use portcullis_domain::time::UnixTime;
use serde::Serialize;
use utoipa::ToSchema;

use crate::answer::{self, as_rfc3339, as_text};
use crate::bearer::Bearer;
use crate::openapi::{BEARER, STORE, problems};

/// Returns the claims of the access token
///
/// Verifies the token as every protected route does, without a database lookup. A proxy can call it for each request
/// (`auth_request`, `forward_auth`).
#[utoipa::path(
    get, path = "/protected", tag = "session", operation_id = "getTokenClaims",
    responses((status = 200, description = "The claims.", body = ProtectedResponse), Problems),
    security(("access_token" = [])),
)]
pub(crate) async fn protected(bearer: Bearer) -> HttpResponse {
    let claims = bearer.0.claims();
    let body = ProtectedResponse {
        user_id: claims.user,
        session_id: claims.session,
        issued_at: claims.issued_at,
        expires_at: claims.expires_at,
    };
    answer::json(StatusCode::OK, &body)
}

/// The claims of an access token.
#[derive(Serialize, ToSchema)]
pub(crate) struct ProtectedResponse {
    #[serde(serialize_with = "as_text")]
    #[schema(value_type = String, format = "uuid", example = "019b0d3e-7c1a-7d52-9a41-3f0c8f2b6e13")]
    user_id: UserId,
    #[serde(serialize_with = "as_text")]
    #[schema(value_type = String, format = "uuid", example = "019b0d3e-7c1a-7d52-9a41-3f0c8f2b6e14")]
    session_id: SessionId,
    #[serde(serialize_with = "as_rfc3339")]
    #[schema(value_type = String, format = DateTime, example = "2026-01-01T00:00:00Z")]
    issued_at: UnixTime,
    #[serde(serialize_with = "as_rfc3339")]
    #[schema(value_type = String, format = DateTime, example = "2026-01-01T00:15:00Z")]
    expires_at: UnixTime,
}

problems!(BEARER, STORE);
