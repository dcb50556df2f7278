//! `POST /refresh`

use actix_web::http::StatusCode;
use actix_web::web::Data;
use portcullis_domain::AuthService;
use portcullis_domain::session::RefreshError;
use portcullis_domain::token::RefreshToken;
use utoipa::ToSchema;

use crate::blocking::Pool;
use crate::extract::client::Client;
use crate::extract::json::{Fields, FromFields, Read, StrictJson};
use crate::limit::quota::RateLimit;
use crate::respond::catalogue::ProblemCode;
use crate::respond::json;
use crate::respond::problem::{HandlerResult, Problem, logged};
use crate::respond::problem_responses::{STORE, TOKENS};
use crate::respond::token_set::TokenSetBody;
use crate::routes::route::{Route, route};
use crate::state::ApiState;

/// Exchanges a refresh token for the next tokens of its session
///
/// If the response is lost, repeat the request within 30 seconds: it returns the same refresh token again. Later, or
/// after the next refresh token was used, the old token counts as stolen and ends the session.
#[utoipa::path(
    post, path = "/refresh", tag = "session", operation_id = "refreshTokens",
    request_body = RefreshRequest,
    responses((status = 200, description = "The next tokens of the session.", body = TokenSetBody)),
)]
pub(crate) async fn refresh(
    api: Data<ApiState>,
    client: Client,
    body: StrictJson<RefreshRequest>,
) -> HandlerResult {
    let token = body.0.refresh_token;
    let session = api.auth.refreshed_session(&token);
    if let Some(refusal) = session.and_then(|session| api.limits.session_refresh.refusal(session)) {
        return Ok(refusal);
    }
    let tokens =
        api.blocking(Pool::Write, move |core| AuthService::new(core).refresh(&token, &client.0)).await??;
    Ok(json::json(StatusCode::OK, &TokenSetBody::from(&tokens)))
}

pub(crate) fn routes() -> Vec<Route> {
    vec![
        route!(refresh)
            .public()
            .limited(RateLimit::Refresh)
            .problems(STORE)
            .problems(TOKENS)
            .problems(&[ProblemCode::InvalidRefreshToken, ProblemCode::RefreshTokenReused]),
    ]
}

/// The newest refresh token of a session.
#[derive(Debug, ToSchema)]
pub(crate) struct RefreshRequest {
    #[schema(value_type = String, format = Password, pattern = "^pcr_[A-Za-z0-9_-]+$",
        example = "pcr_AQGXorRcbX6PmgscLT5PWmsAAAAH1YwBFji8DfByWGLcZVJbiglmdTv7yBDjuQcFEzcSbf8")]
    refresh_token: RefreshToken,
}

impl FromFields for RefreshRequest {
    fn read(fields: &mut Fields) -> Read<Self> {
        Ok(Self { refresh_token: fields.secret("refresh_token")? })
    }
}

impl From<RefreshError> for Problem {
    fn from(error: RefreshError) -> Self {
        match error {
            RefreshError::Invalid => ProblemCode::InvalidRefreshToken.into(),
            RefreshError::Reused => ProblemCode::RefreshTokenReused.into(),
            RefreshError::Ahead => logged(&error, ProblemCode::InvalidRefreshToken),
            RefreshError::Unavailable(error) => error.into(),
        }
    }
}
