//! `GET /me/activity`

use std::net::IpAddr;

use actix_web::http::StatusCode;
use actix_web::web::Data;
use portcullis_domain::account::Account;
use portcullis_domain::audit::{EventKind, LoginFailure, LogoutScope, StoredEvent};
use portcullis_domain::id::{EventId, SessionId};
use portcullis_domain::time::UnixTime;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa::openapi::{RefOr, Schema};

use crate::blocking::Pool;
use crate::extract::bearer::Bearer;
use crate::extract::page::{Page, to_cursor};
use crate::respond::catalogue::ProblemCode;
use crate::respond::json::{self, as_rfc3339, as_text};
use crate::respond::problem::HandlerResult;
use crate::respond::vocabulary;
use crate::routes::route::{Route, route};
use crate::state::ApiState;

/// Lists the security events of the account
///
/// The latest event comes first. `next_cursor` of a response is the `cursor` of the next request; it is null on the last
/// page.
#[utoipa::path(
    get, path = "/me/activity", tag = "account", operation_id = "listActivity",
    params(
        ("cursor" = inline(Option<String>), Query,
            description = "The `next_cursor` of the previous response. Without it, the list starts at the latest event."),
        ("limit" = inline(Option<u32>), Query, minimum = 1, maximum = 100, example = 50,
            description = "The largest number of events to return. The default is 50."),
    ),
    responses((status = 200, description = "The events.", body = ActivityResponse)),
)]
pub(crate) async fn activity(api: Data<ApiState>, bearer: Bearer, page: Page) -> HandlerResult {
    let before = page.before.map(EventId::from_uuid);
    let activity = api
        .blocking(Pool::Read, move |core| Account::new(core).activity(&bearer.0, before, page.most))
        .await??;
    let events = activity.events.iter().map(EventBody::from).collect();
    let next_cursor = activity.next.map(|last| to_cursor(last.as_uuid()));
    Ok(json::json(StatusCode::OK, &ActivityResponse { events, next_cursor }))
}

pub(crate) fn routes() -> Vec<Route> {
    vec![route!(activity).problems(&[ProblemCode::InvalidRequest])]
}

/// One page of the security events of a user.
#[derive(Serialize, ToSchema)]
pub(crate) struct ActivityResponse<'a> {
    #[schema(max_items = 100)]
    events: Vec<EventBody<'a>>,
    /// The `cursor` of the next request; null if there are no earlier events.
    #[schema(required, example = "AZeitFxtfo-aCxwtPk9aaw")]
    next_cursor: Option<String>,
}

/// A security event of an account.
#[derive(Serialize, ToSchema)]
#[schema(as = ActivityEvent)]
pub(crate) struct EventBody<'a> {
    #[serde(serialize_with = "as_text")]
    #[schema(value_type = String, format = "uuid", example = "019b0d3e-7c1a-7d52-9a41-3f0c8f2b6e15")]
    id: EventId,
    #[schema(schema_with = kind)]
    kind: &'a str,
    /// The detail of the kind, such as the reason of a failed login; null for kinds without a detail.
    #[schema(required, value_type = Option<String>, example = "wrong_password")]
    detail: Option<&'a str>,
    #[serde(serialize_with = "as_rfc3339")]
    #[schema(value_type = String, format = DateTime, example = "2026-01-01T00:00:00Z")]
    at: UnixTime,
    /// The session of the event; null if the event concerns no session.
    #[schema(required, value_type = Option<String>, format = "uuid", example = "019b0d3e-7c1a-7d52-9a41-3f0c8f2b6e14")]
    session_id: Option<String>,
    /// The network address of the client, of an IPv6 address only the /64; null if it is not known.
    #[schema(required, value_type = Option<String>, pattern = "^[0-9a-f:.]+$", example = "2001:db8:1:2::")]
    ip: Option<IpAddr>,
    /// The user agent of the client, at most 256 characters; null if it is not known.
    #[schema(required, value_type = Option<String>, max_length = 256, example = "curl/8.5.0")]
    user_agent: Option<&'a str>,
}

impl<'a> From<&'a StoredEvent> for EventBody<'a> {
    fn from(event: &'a StoredEvent) -> Self {
        Self {
            id: event.id,
            kind: &event.kind,
            detail: event.detail.as_deref(),
            at: event.at,
            session_id: event.session.as_ref().map(SessionId::to_string),
            ip: event.client.address(),
            user_agent: event.client.agent(),
        }
    }
}

fn kind() -> RefOr<Schema> {
    let words = KINDS.iter().map(|kind| format!("`{}`", kind.name()));
    vocabulary::open_list("The kind of the event.", words, "login_failed")
}

/// The kinds of events that a user can see. Events of deleted users, and of all users together, are left out.
const KINDS: [EventKind; 16] = [
    EventKind::UserRegistered,
    EventKind::LoginSucceeded,
    EventKind::LoginFailed(LoginFailure::WrongPassword),
    EventKind::HashUpgraded,
    EventKind::LoggedOut(LogoutScope::Current),
    EventKind::SessionEnded,
    EventKind::SessionEvicted,
    EventKind::RefreshTokenReused,
    EventKind::PasswordChanged,
    EventKind::PasswordNotConfirmed,
    EventKind::ThrottlingBegun,
    EventKind::ThrottlingEnded { attempts: 0 },
    EventKind::PasswordSet,
    EventKind::UserDisabled,
    EventKind::UserEnabled,
    EventKind::UserSessionsEnded,
];
