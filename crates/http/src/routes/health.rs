//! `GET /health` and `GET /ready`

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use actix_web::web::Data;
use portcullis_domain::service::{Check, Readiness};
use serde::Serialize;
use utoipa::ToSchema;

use super::Answer;
use crate::Api;
use crate::answer;
use crate::openapi::problems;
use crate::problem::ProblemBody;

/// Says that the process lives
///
/// It touches nothing: whether the service can do its work says `/ready`.
#[utoipa::path(
    get, path = "/health", tag = "operation",
    responses((status = 200, description = "It lives.", body = HealthResponse), Problems),
)]
pub(crate) async fn health() -> HttpResponse {
    answer::json(StatusCode::OK, &HealthResponse { status: "ok" })
}

/// Says whether the service can do its work
///
/// An answer holds for a second. Checks that take longer than two count as failing.
#[utoipa::path(
    get, path = "/ready", tag = "operation",
    responses(
        (status = 200, description = "Every check passes.", body = ReadyResponse),
        (
            status = 503, description = "A check fails. Or none answers in time: `not_ready`: The service is not ready.",
            content((ReadyResponse = "application/json"), (ProblemBody = "application/problem+json")),
        ),
        Problems,
    ),
)]
pub(crate) async fn ready(api: Data<Api>) -> Answer {
    let readiness = api.readiness().await?;
    Ok(ReadyResponse::from(readiness).into_answer(readiness.is_ready()))
}

/// The process lives.
#[derive(Serialize, ToSchema)]
pub(crate) struct HealthResponse {
    #[schema(example = "ok")]
    status: &'static str,
}

/// How the checks went.
#[derive(Serialize, ToSchema)]
pub(crate) struct ReadyResponse {
    /// `failing` when any check is.
    status: CheckBody,
    checks: Checks,
}

/// What the service needs to work.
#[derive(Serialize, ToSchema)]
pub(crate) struct Checks {
    /// The database answers.
    database: CheckBody,
    /// Its schema is the one this build was made for.
    migrations: CheckBody,
    /// This instance knows which sessions ended.
    revocations: CheckBody,
    /// Its clock agrees with the database's.
    clock: CheckBody,
}

/// How one check went.
#[derive(Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = Check)]
pub(crate) enum CheckBody {
    Ok,
    Failing,
}

impl ReadyResponse {
    fn into_answer(self, is_ready: bool) -> HttpResponse {
        if is_ready {
            return answer::json(StatusCode::OK, &self);
        }
        let mut response = answer::json(StatusCode::SERVICE_UNAVAILABLE, &self);
        response.headers_mut().insert(header::RETRY_AFTER, ONE_SECOND);
        response
    }
}

impl From<Readiness> for ReadyResponse {
    fn from(readiness: Readiness) -> Self {
        Self {
            status: if readiness.is_ready() { CheckBody::Ok } else { CheckBody::Failing },
            checks: Checks {
                database: readiness.database.into(),
                migrations: readiness.migrations.into(),
                revocations: readiness.revocations.into(),
                clock: readiness.clock.into(),
            },
        }
    }
}

impl From<Check> for CheckBody {
    fn from(check: Check) -> Self {
        match check {
            Check::Ok => Self::Ok,
            Check::Failing => Self::Failing,
        }
    }
}

/// Balancers ask again and again anyway.
const ONE_SECOND: HeaderValue = HeaderValue::from_static("1");

problems!();
