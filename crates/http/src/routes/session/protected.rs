//! `GET /protected`

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderName, HeaderValue};
use portcullis_domain::id::{SessionId, UserId};
use portcullis_domain::time::UnixTime;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;
use uuid::fmt::Hyphenated;

use crate::extract::bearer::Bearer;
use crate::respond::json::{self, as_rfc3339, as_text};
use crate::routes::route::{Route, route};

/// Returns the claims of the access token
///
/// Verifies the token as every protected route does, without a database lookup.
///
/// The user and the session are also header fields, for gateways that do not read bodies (nginx `auth_request`, Caddy
/// `forward_auth`). A gateway must overwrite fields of these names in the requests of its clients.
#[utoipa::path(
    get, path = "/protected", tag = "session", operation_id = "getTokenClaims",
    responses(
        (
            status = 200, description = "The claims.", body = ProtectedResponse,
            headers(
                ("X-Portcullis-User-Id" = String, description = "The `user_id` of the body."),
                ("X-Portcullis-Session-Id" = String, description = "The `session_id` of the body."),
            ),
        ),
    ),
)]
pub(crate) async fn protected(bearer: Bearer) -> HttpResponse {
    let claims = bearer.0.claims();
    let body = ProtectedResponse {
        user_id: claims.user,
        session_id: claims.session,
        issued_at: claims.issued_at,
        expires_at: claims.expires_at,
    };
    let mut response = json::json(StatusCode::OK, &body);
    let headers = response.headers_mut();
    headers.insert(USER_ID, as_header(claims.user.as_uuid()));
    headers.insert(SESSION_ID, as_header(claims.session.as_uuid()));
    response
}

pub(crate) fn routes() -> Vec<Route> {
    vec![route!(protected)]
}

/// Spells an id like the bodies do.
#[expect(clippy::expect_used, reason = "hexadecimal digits and hyphens are allowed in a header field")]
fn as_header(id: Uuid) -> HeaderValue {
    let mut text = [0; Hyphenated::LENGTH];
    HeaderValue::from_str(id.hyphenated().encode_lower(&mut text)).expect("a field value")
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

const USER_ID: HeaderName = HeaderName::from_static("x-portcullis-user-id");
const SESSION_ID: HeaderName = HeaderName::from_static("x-portcullis-session-id");
