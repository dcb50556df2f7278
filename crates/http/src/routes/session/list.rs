//! `GET /me/sessions`

use std::net::IpAddr;

use actix_web::http::StatusCode;
use actix_web::web::Data;
use portcullis_domain::id::SessionId;
use portcullis_domain::session::{Session, Sessions};
use portcullis_domain::time::UnixTime;
use serde::Serialize;
use utoipa::ToSchema;

use crate::blocking::Pool;
use crate::extract::bearer::Bearer;
use crate::respond::json::{self, as_rfc3339, as_text};
use crate::respond::problem::HandlerResult;
use crate::routes::route::{Route, route};
use crate::state::ApiState;

/// Lists the live sessions of the user of the access token
///
/// The session opened last comes first. The number of sessions is limited (50 by default), so there are no pages.
#[utoipa::path(
    get, path = "/me/sessions", tag = "session", operation_id = "listSessions",
    responses((status = 200, description = "The sessions.", body = SessionsResponse)),
)]
pub(crate) async fn sessions(api: Data<ApiState>, bearer: Bearer) -> HandlerResult {
    let current = bearer.0.claims().session;
    let sessions = api.blocking(Pool::Read, move |core| Sessions::new(core).list(&bearer.0)).await??;
    let sessions = sessions.iter().map(|session| SessionBody::new(session, current)).collect();
    Ok(json::json(StatusCode::OK, &SessionsResponse { sessions }))
}

pub(crate) fn routes() -> Vec<Route> {
    vec![route!(sessions)]
}

/// The live sessions of a user.
#[derive(Serialize, ToSchema)]
pub(crate) struct SessionsResponse<'a> {
    sessions: Vec<SessionBody<'a>>,
}

/// A live session.
#[derive(Serialize, ToSchema)]
#[schema(as = Session)]
pub(crate) struct SessionBody<'a> {
    #[serde(serialize_with = "as_text")]
    #[schema(value_type = String, format = "uuid", example = "019b0d3e-7c1a-7d52-9a41-3f0c8f2b6e14")]
    id: SessionId,
    /// The time at which the session was opened.
    #[serde(serialize_with = "as_rfc3339")]
    #[schema(value_type = String, format = DateTime, example = "2026-01-01T00:00:00Z")]
    created_at: UnixTime,
    /// The time of the last refresh; `created_at` before the first refresh.
    #[serde(serialize_with = "as_rfc3339")]
    #[schema(value_type = String, format = DateTime, example = "2026-01-02T08:30:00Z")]
    last_used_at: UnixTime,
    /// The time at which the session ends unless it is refreshed before.
    #[serde(serialize_with = "as_rfc3339")]
    #[schema(value_type = String, format = DateTime, example = "2026-02-01T08:30:00Z")]
    expires_at: UnixTime,
    /// The network address of the client that opened the session; null if it is not known.
    #[schema(required, value_type = Option<String>, pattern = "^[0-9a-f:.]+$", example = "192.0.2.7")]
    ip: Option<IpAddr>,
    /// The user agent of the client that opened the session, at most 256 characters; null if it is not known.
    #[schema(required, value_type = Option<String>, max_length = 256, example = "curl/8.5.0")]
    user_agent: Option<&'a str>,
    /// Whether the access token belongs to this session.
    current: bool,
}

impl<'a> SessionBody<'a> {
    fn new(session: &'a Session, current: SessionId) -> Self {
        Self {
            id: session.id,
            created_at: session.opened_at,
            last_used_at: session.newest.at,
            expires_at: session.expires_at,
            ip: session.client.address(),
            user_agent: session.client.agent(),
            current: session.id == current,
        }
    }
}
