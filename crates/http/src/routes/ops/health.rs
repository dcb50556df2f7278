//! `GET /health` and `GET /ready`

use std::borrow::Cow;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use actix_web::web::Data;
use portcullis_domain::maintenance::{Check, Readiness};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa::openapi::{RefOr, Schema};

use crate::respond::problem::{HandlerResult, ProblemBody};
use crate::respond::{json, vocabulary};
use crate::routes::route::{Route, route};
use crate::state::ApiState;

/// Returns 200 while the process runs
///
/// Uses no database. `GET /ready` checks whether the service can do its work.
#[utoipa::path(
    get, path = "/health", tag = "operation", operation_id = "getHealth",
    responses((status = 200, description = "The process runs.", body = HealthResponse)),
)]
pub(crate) async fn health() -> HttpResponse {
    json::json(StatusCode::OK, &HealthResponse { status: "ok" })
}

/// Checks whether the service can do its work
///
/// A result of the database is reused for one second. Checks that take longer than two seconds count as failed.
#[utoipa::path(
    get, path = "/ready", tag = "operation", operation_id = "getReadiness",
    responses(
        (status = 200, description = "Every check passes.", body = ReadyResponse),
        (
            status = 503, description = "A check fails. If no check finishes in time, a problem: `not_ready`: The service is not ready.",
            content((ReadyResponse = "application/json"), (ProblemBody = "application/problem+json")),
        ),
    ),
)]
pub(crate) async fn ready(api: Data<ApiState>) -> HandlerResult {
    let readiness = api.readiness().await?;
    Ok(ReadyResponse::new(readiness, api.is_draining()).into_response())
}

pub(crate) fn routes() -> Vec<Route> {
    vec![route!(health).public(), route!(ready).public()]
}

/// The process runs.
#[derive(Serialize, ToSchema)]
pub(crate) struct HealthResponse {
    #[schema(example = "ok")]
    status: &'static str,
}

/// The results of the readiness checks.
#[derive(Serialize, ToSchema)]
pub(crate) struct ReadyResponse {
    /// `failing` if any check is `failing`.
    status: CheckBody,
    checks: Checks,
}

/// The result of each check.
#[derive(Serialize, ToSchema)]
pub(crate) struct Checks {
    /// The database answers.
    database: CheckBody,
    /// Its schema is the one this build was made for.
    migrations: CheckBody,
    /// The database commits changes. Fails if changes fail or have been under way for more than five seconds, and for
    /// three seconds after they succeed again.
    writes: CheckBody,
    /// This instance knows which sessions ended.
    revocations: CheckBody,
    /// Its clock agrees with the database's.
    clock: CheckBody,
    /// This instance goes on running. Fails once the instance was told to stop: it answers requests for some seconds more,
    /// so that balancers have time to send them elsewhere.
    draining: CheckBody,
}

/// The result of a check.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CheckBody {
    Ok,
    Failing,
}

impl utoipa::PartialSchema for CheckBody {
    fn schema() -> RefOr<Schema> {
        let words = ["`ok`: the check passes.", "`failing`: the check fails."];
        vocabulary::open_list("The result of a check.", words.map(str::to_owned), "ok")
    }
}

impl ToSchema for CheckBody {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("Check")
    }
}

impl ReadyResponse {
    fn new(readiness: Readiness, is_draining: bool) -> Self {
        let is_ready = readiness.is_ready() && !is_draining;
        Self {
            status: if is_ready { CheckBody::Ok } else { CheckBody::Failing },
            checks: Checks {
                database: readiness.database.into(),
                migrations: readiness.migrations.into(),
                writes: readiness.writes.into(),
                revocations: readiness.revocations.into(),
                clock: readiness.clock.into(),
                draining: if is_draining { CheckBody::Failing } else { CheckBody::Ok },
            },
        }
    }

    fn into_response(self) -> HttpResponse {
        if matches!(self.status, CheckBody::Ok) {
            return json::json(StatusCode::OK, &self);
        }
        let mut response = json::json(StatusCode::SERVICE_UNAVAILABLE, &self);
        response.headers_mut().insert(header::RETRY_AFTER, ONE_SECOND);
        response
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
