//! `POST /login`

use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::web::Data;
use portcullis_domain::password::PlaintextPassword;
use portcullis_domain::session::{Credentials, LoginError, LoginOutcome};
use portcullis_domain::{AuthService, Core};
use utoipa::ToSchema;

use crate::blocking::Pool;
use crate::extract::client::Client;
use crate::extract::json::{Fields, FromFields, Read, StrictJson};
use crate::limit::in_flight::Caller;
use crate::limit::quota::RateLimit;
use crate::respond::catalogue::ProblemCode;
use crate::respond::json;
use crate::respond::problem::{HandlerResult, Problem};
use crate::respond::problem_responses::{STORE, TOKENS};
use crate::respond::token_set::TokenSetBody;
use crate::routes::route::{Route, route};
use crate::state::ApiState;

/// Logs in and opens a session
///
/// An unknown name, a wrong password and a disabled user get the same response. After five consecutive failures further
/// attempts are delayed (429), starting at one second; unknown names are throttled the same way. A user has a limited
/// number of live sessions (50 by default): a login beyond the limit ends the oldest session.
#[utoipa::path(
    post, path = "/login", tag = "session", operation_id = "login",
    request_body = LoginRequest,
    responses((status = 200, description = "The tokens of the new session.", body = TokenSetBody)),
)]
pub(crate) async fn login(
    api: Data<ApiState>,
    client: Client,
    body: StrictJson<LoginRequest>,
) -> HandlerResult {
    let credentials = Credentials { username: body.0.username, password: body.0.password };
    // A throttled login takes no permit of the pool, and logins from known networks have permits of their own.
    let check = move |core: &Arc<Core>| {
        AuthService::new(core)
            .may_log_in(&credentials, &client.0)
            .map(|network| (network, credentials, client))
    };
    let (network, credentials, client) = api.blocking(Pool::LoginCheck, check).await??;
    let caller = Caller::logging_in(&credentials.username, &client.0, network);
    let log_in = move |core: &Arc<Core>| AuthService::new(core).login(&credentials, &client.0);
    let LoginOutcome::Session(tokens) = api.blocking(Pool::Password(caller), log_in).await?? else {
        log::error!("the login has an outcome that this API does not know");
        return Err(ProblemCode::InternalError.into());
    };
    Ok(json::json(StatusCode::OK, &TokenSetBody::from(&tokens)))
}

pub(crate) fn routes() -> Vec<Route> {
    vec![
        route!(login)
            .public()
            .limited(RateLimit::Login)
            .throttled()
            .problems(STORE)
            .problems(TOKENS)
            .problems(&[ProblemCode::InvalidCredentials]),
    ]
}

/// The name and the password of a user.
#[derive(Debug, ToSchema)]
pub(crate) struct LoginRequest {
    /// Upper and lower case are not distinguished.
    #[schema(max_length = 256, pattern = "^[^\\u0000]*$", example = "alice")]
    username: String,
    /// The length is counted in code points after Unicode NFC.
    #[schema(value_type = String, format = Password, max_length = 256, pattern = "^[^\\u0000]*$",
        example = "Corr3ct-horse battery")]
    password: PlaintextPassword,
}

impl FromFields for LoginRequest {
    fn read(fields: &mut Fields) -> Read<Self> {
        let (username, password) = fields.credentials()?;
        Ok(Self { username, password })
    }
}

impl From<LoginError> for Problem {
    fn from(error: LoginError) -> Self {
        match error {
            LoginError::Rejected(rejections) => rejections.into(),
            LoginError::InvalidCredentials => ProblemCode::InvalidCredentials.into(),
            LoginError::Throttled(error) => error.into(),
            LoginError::Unavailable(error) => error.into(),
        }
    }
}
