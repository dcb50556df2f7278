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

/// Shows what the access token says
///
/// The model of any route behind a token: it costs no lookup.
#[utoipa::path(
    get, path = "/protected", tag = "bearer",
    responses((status = 200, description = "What the token says.", body = ProtectedResponse), Problems),
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

/// What an access token says.
#[derive(Serialize, ToSchema)]
pub(crate) struct ProtectedResponse {
    #[serde(serialize_with = "as_text")]
    #[schema(value_type = String, format = "uuid")]
    user_id: UserId,
    #[serde(serialize_with = "as_text")]
    #[schema(value_type = String, format = "uuid")]
    session_id: SessionId,
    #[serde(serialize_with = "as_rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    issued_at: UnixTime,
    #[serde(serialize_with = "as_rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    expires_at: UnixTime,
}

problems!(BEARER, STORE);
