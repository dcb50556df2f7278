//! `POST /logout`

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::web::{Data, Query};
use actix_web::{FromRequest, HttpRequest};
use portcullis_domain::AuthService;
use portcullis_domain::audit::LogoutScope;
use portcullis_domain::session::{LogoutError, LogoutToken};
use portcullis_domain::token::RefreshToken;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::blocking::Pool;
use crate::extract::bearer::UnverifiedBearer;
use crate::extract::client::Client;
use crate::extract::json::{Fields, FromFields, Input, Read, StrictJson};
use crate::extract::query::is_foreign;
use crate::respond::catalogue::ProblemCode;
use crate::respond::json;
use crate::respond::problem::{HandlerResult, Problem};
use crate::respond::problem_responses::STORE;
use crate::respond::violation::{Violation, ViolationCode};
use crate::routes::route::{Route, route};
use crate::state::ApiState;

/// Logs out: ends the session of a token, or further sessions of its user
///
/// Send the refresh token in the body, the access token as bearer, or both. For `current` any genuine token of the
/// session is accepted, even an expired access token, and ending an ended session succeeds. `others` and `all` require an
/// access token that is valid now or a refresh token that could be refreshed now. Beside a refresh token, an access token
/// that does not verify is ignored; a genuine access token of another session is refused (422 `other_session`). If the
/// response is lost, repeat the request: a repeated `all` returns 401 if the first request succeeded.
#[utoipa::path(
    post, path = "/logout", tag = "session", operation_id = "logout",
    params(("scope" = inline(Option<Scope>), Query, example = "current",
        description = "Which sessions to end: `current`, the session of the token; `others`, all other sessions of its \
            user; or `all`. The default is `current`.")),
    request_body(content = LogoutRequest, description = "May be left out if the request has an access token."),
    responses((status = 204, description = "The sessions have ended.")),
)]
pub(crate) async fn logout(
    api: Data<ApiState>,
    client: Client,
    scope: Scoped,
    bearer: UnverifiedBearer,
    body: StrictJson<LogoutRequest>,
) -> HandlerResult {
    let token = tokens_of(bearer, body.0)?;
    api.blocking(Pool::Write, move |core| AuthService::new(core).logout(&token, scope.0, &client.0))
        .await??;
    Ok(json::no_content())
}

pub(crate) fn routes() -> Vec<Route> {
    vec![route!(logout).with_optional_token().with_optional_body().problems(STORE).problems(&[
        ProblemCode::MissingToken,
        ProblemCode::InvalidToken,
        ProblemCode::InvalidRefreshToken,
        ProblemCode::NotReady,
    ])]
}

/// Returns the tokens of the request. Generated clients send their access token with every request, good or not: beside a
/// refresh token, an `Authorization` field without a usable token is ignored.
fn tokens_of(bearer: UnverifiedBearer, body: LogoutRequest) -> Result<LogoutToken, Problem> {
    match (bearer.0, body.refresh_token) {
        (Ok(Some(access)), Some(refresh)) => Ok(LogoutToken::Both { refresh, access }),
        (Ok(None) | Err(_), Some(refresh)) => Ok(LogoutToken::Refresh(refresh)),
        (Ok(Some(access)), None) => Ok(LogoutToken::Access(access)),
        (Ok(None), None) => Err(ProblemCode::MissingToken.into()),
        (Err(problem), None) => Err(problem),
    }
}

/// A refresh token of the session. It may be left out if the request has an access token.
#[derive(Debug, ToSchema)]
pub(crate) struct LogoutRequest {
    #[schema(value_type = Option<String>, format = Password, nullable = false, pattern = "^pcr_[A-Za-z0-9_-]+$",
        example = "pcr_AQGXorRcbX6PmgscLT5PWmsAAAAH1YwBFji8DfByWGLcZVJbiglmdTv7yBDjuQcFEzcSbf8")]
    refresh_token: Option<RefreshToken>,
}

impl FromFields for LogoutRequest {
    fn read(fields: &mut Fields) -> Read<Self> {
        Ok(Self { refresh_token: fields.optional("refresh_token", Input::secret)? })
    }

    fn when_empty() -> Option<Self> {
        Some(Self { refresh_token: None })
    }
}

#[derive(Deserialize)]
struct ScopeQuery {
    scope: Option<Scope>,
}

/// Which sessions to end.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Scope {
    /// The session of the token.
    Current,
    /// All sessions of its user except the session of the token.
    Others,
    /// All sessions of its user.
    All,
}

impl From<Scope> for LogoutScope {
    fn from(scope: Scope) -> Self {
        match scope {
            Scope::Current => Self::Current,
            Scope::Others => Self::Others,
            Scope::All => Self::All,
        }
    }
}

/// The scope that the query asks for.
#[derive(Debug)]
pub(crate) struct Scoped(LogoutScope);

impl FromRequest for Scoped {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(match parse(request.query_string()) {
            Some(query) => Ok(Self(query.scope.map(LogoutScope::from).unwrap_or_default())),
            None => Err(Problem::invalid(vec![Violation::new(
                "#/scope",
                ViolationCode::WrongType,
                "must be `current`, `others` or `all`",
            )])),
        })
    }
}

/// Parses a query, which may have no more than a scope. A misspelt name must not end fewer sessions than were meant.
fn parse(query: &str) -> Option<ScopeQuery> {
    let pairs = Query::<Vec<(String, String)>>::from_query(query).ok()?;
    let are_known = pairs.iter().all(|(name, _)| name == "scope" || is_foreign(name));
    Query::from_query(query).ok().filter(|_| are_known).map(Query::into_inner)
}

impl From<LogoutError> for Problem {
    fn from(error: LogoutError) -> Self {
        match error {
            LogoutError::InvalidAccessToken => ProblemCode::InvalidToken.into(),
            LogoutError::InvalidRefreshToken => ProblemCode::InvalidRefreshToken.into(),
            LogoutError::DifferentSessions => Self::invalid(vec![Violation::new(
                "#/refresh_token",
                ViolationCode::OtherSession,
                "belongs to another session than the access token; send only one of them",
            )]),
            LogoutError::NotReady => ProblemCode::NotReady.into(),
            LogoutError::Store(error) => error.into(),
        }
    }
}
