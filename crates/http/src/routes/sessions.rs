//! `GET /me/sessions`

use std::net::IpAddr;

use actix_web::http::StatusCode;
use actix_web::web::Data;
use portcullis_domain::id::SessionId;
use portcullis_domain::session::Session;
use portcullis_domain::time::UnixTime;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa::openapi::{RefOr, Schema};

use super::Answer;
use crate::Api;
use crate::answer::{self, as_rfc3339, as_text};
use crate::bearer::Bearer;
use crate::blocking::Lane;
use crate::openapi::{self, BEARER, STORE, problems};

/// Lists the live sessions of the user who holds the token
///
/// The latest opened first. They are bounded in number (50 by default), so there are no pages.
#[utoipa::path(
    get, path = "/me/sessions", tag = "bearer",
    responses((status = 200, description = "The sessions.", body = SessionsResponse), Problems),
    security(("access_token" = [])),
)]
pub(crate) async fn sessions(api: Data<Api>, bearer: Bearer) -> Answer {
    let sessions = api.blocking(Lane::Data, move |auth| auth.sessions(&bearer.0)).await??;
    let current = bearer.0.claims().session;
    let sessions = sessions.iter().map(|session| SessionBody::new(session, current)).collect();
    Ok(answer::json(StatusCode::OK, &SessionsResponse { sessions }))
}

/// The sessions of a user.
#[derive(Serialize, ToSchema)]
pub(crate) struct SessionsResponse<'a> {
    sessions: Vec<SessionBody<'a>>,
}

/// A live session, to its user.
#[derive(Serialize, ToSchema)]
#[schema(as = Session)]
pub(crate) struct SessionBody<'a> {
    #[serde(serialize_with = "as_text")]
    #[schema(value_type = String, format = "uuid")]
    id: SessionId,
    /// When it was opened.
    #[serde(serialize_with = "as_rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    created_at: UnixTime,
    /// When it was last refreshed, or opened where it was not refreshed yet.
    #[serde(serialize_with = "as_rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    last_used_at: UnixTime,
    /// When it ends unless it is refreshed before.
    #[serde(serialize_with = "as_rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    expires_at: UnixTime,
    #[schema(required, schema_with = ip)]
    ip: Option<IpAddr>,
    /// The user agent that opened it, at most 256 characters; null when that is not known.
    #[schema(required, value_type = Option<String>, max_length = 256, example = "curl/8.5.0")]
    user_agent: Option<&'a str>,
    /// Whether it is the one of the token.
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

fn ip() -> RefOr<Schema> {
    openapi::ip(
        "The network address from which it was opened; null when that is not known.",
        "192.0.2.7",
        true,
    )
}

problems!(BEARER, STORE);
