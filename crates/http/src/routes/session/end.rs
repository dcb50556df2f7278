//! `DELETE /me/sessions/{id}`

use actix_web::web::Data;
use portcullis_domain::id::SessionId;
use portcullis_domain::session::{EndSessionError, Sessions};
use uuid::fmt::Hyphenated;

use crate::blocking::Pool;
use crate::extract::bearer::Bearer;
use crate::extract::client::Client;
use crate::extract::path::PathParameters;
use crate::respond::catalogue::ProblemCode;
use crate::respond::json;
use crate::respond::problem::{HandlerResult, Problem};
use crate::routes::route::{Route, route};
use crate::state::ApiState;

/// Ends a session of the user of the access token
///
/// The session of the token may be ended too. Ending an ended session succeeds, for an hour at least. Sessions of other
/// users return the same 404 as unknown sessions.
#[utoipa::path(
    delete, path = "/me/sessions/{id}", tag = "session", operation_id = "endSession",
    params(("id" = String, Path, format = "uuid", example = "019b0d3e-7c1a-7d52-9a41-3f0c8f2b6e14",
        description = "The `id` of the session.")),
    responses((status = 204, description = "The session has ended.")),
)]
pub(crate) async fn end_session(
    api: Data<ApiState>,
    client: Client,
    bearer: Bearer,
    path: PathParameters,
) -> HandlerResult {
    // A malformed id names no session.
    let id: Hyphenated = path.get("id")?.parse().map_err(|_malformed: uuid::Error| ProblemCode::NotFound)?;
    let session = SessionId::from_uuid(id.into_uuid());
    api.blocking(Pool::Write, move |core| Sessions::new(core).end(&bearer.0, session, &client.0)).await??;
    Ok(json::no_content())
}

pub(crate) fn routes() -> Vec<Route> {
    vec![route!(end_session).problems(&[ProblemCode::NotFound])]
}

impl From<EndSessionError> for Problem {
    fn from(error: EndSessionError) -> Self {
        match error {
            EndSessionError::NotFound => ProblemCode::NotFound.into(),
            EndSessionError::Store(error) => error.into(),
        }
    }
}
