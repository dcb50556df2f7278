//! `POST /refresh`

use actix_web::http::StatusCode;
use actix_web::web::Data;
use portcullis_domain::token::RefreshToken;
use utoipa::ToSchema;

use super::Answer;
use crate::Api;
use crate::answer::{self, TokenSetBody};
use crate::blocking::Lane;
use crate::client_ip::Client;
use crate::openapi::{LIMITED, STORE, TOKENS, WITH_BODY, problems};
use crate::problem::ProblemCode;
use crate::strict_json::{Fields, FromFields, StrictJson};

/// Carries a session on: gives out its next tokens
///
/// After a lost answer, repeat within 30 seconds: the same successor comes back. Presented later, or after its
/// successor was used, an old token ends the session: only a copy can come that late.
#[utoipa::path(
    post, path = "/refresh", tag = "public",
    request_body = RefreshRequest,
    responses((status = 200, description = "The next tokens of the session.", body = TokenSetBody), Problems),
)]
pub(crate) async fn refresh(api: Data<Api>, client: Client, body: StrictJson<RefreshRequest>) -> Answer {
    let token = body.0.refresh_token;
    let session = api.auth.refreshed_session(&token);
    if let Some(refusal) = session.and_then(|session| api.limits.session_refresh.refusal(session)) {
        return Ok(refusal);
    }
    let tokens = api.blocking(Lane::Data, move |auth| auth.refresh(&token, &client.0)).await??;
    Ok(answer::json(StatusCode::OK, &TokenSetBody::from(&tokens)))
}

/// The newest refresh token of a session.
#[derive(Debug, ToSchema)]
pub(crate) struct RefreshRequest {
    #[schema(value_type = String, format = Password, pattern = "^pcr_[A-Za-z0-9_-]+$")]
    refresh_token: RefreshToken,
}

impl FromFields for RefreshRequest {
    fn read(fields: &mut Fields) -> Option<Self> {
        Some(Self { refresh_token: RefreshToken::new(fields.text("refresh_token")?) })
    }
}

problems!(
    WITH_BODY,
    LIMITED,
    STORE,
    TOKENS,
    &[ProblemCode::InvalidRefreshToken, ProblemCode::RefreshTokenReused,]
);
