//! `GET /me/activity`

use std::future::{Ready, ready};
use std::net::IpAddr;
use std::num::NonZeroU32;

use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::web::{Data, Query};
use actix_web::{FromRequest, HttpRequest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_domain::account::Account;
use portcullis_domain::audit::{EventKind, LoginFailure, LogoutScope, StoredEvent};
use portcullis_domain::id::{EventId, SessionId};
use portcullis_domain::time::UnixTime;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa::openapi::{RefOr, Schema};
use uuid::Uuid;

use crate::blocking::Pool;
use crate::extract::bearer::Bearer;
use crate::extract::json::pointer_to;
use crate::extract::query::is_foreign;
use crate::respond::catalogue::ProblemCode;
use crate::respond::json::{self, as_rfc3339, as_text};
use crate::respond::problem::{HandlerResult, Problem};
use crate::respond::violation::{Violation, ViolationCode};
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
    let Page { before, most } = page;
    let activity =
        api.blocking(Pool::Data, move |core| Account::new(core).activity(&bearer.0, before, most)).await??;
    let events = activity.events.iter().map(EventBody::from).collect();
    let next_cursor = activity.next.map(to_cursor);
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

/// Which events the query asks for.
#[derive(Debug)]
pub(crate) struct Page {
    before: Option<EventId>,
    most: NonZeroU32,
}

impl Page {
    /// The most events of one answer, and how many it has where nothing is said.
    const MOST: u32 = 100;
    const USUAL: NonZeroU32 = NonZeroU32::new(50).unwrap();

    fn parse(query: &str) -> Result<Self, Vec<Violation>> {
        let mut page = Self { before: None, most: Self::USUAL };
        let pairs = Query::<Vec<(String, String)>>::from_query(query);
        let pairs =
            pairs.map_err(|_malformed| vec![wrong("#", "must be a query of `cursor` and `limit`")])?;
        let mut violations = Vec::new();
        for (n, (name, value)) in pairs.iter().enumerate() {
            let is_repeated = pairs.iter().take(n).any(|(before, _)| before == name);
            match (name.as_str(), is_repeated) {
                ("cursor", false) => match from_cursor(value) {
                    Some(event) => page.before = Some(event),
                    None => violations.push(wrong("#/cursor", "must be the `next_cursor` of an answer")),
                },
                ("limit", false) => {
                    match value.parse().ok().filter(|most: &NonZeroU32| most.get() <= Self::MOST) {
                        Some(most) if !value.starts_with('+') => page.most = most,
                        _ => violations.push(wrong("#/limit", "must be a whole number from 1 to 100")),
                    }
                }
                ("cursor", true) => violations.push(wrong("#/cursor", "must come once")),
                ("limit", true) => violations.push(wrong("#/limit", "must come once")),
                (foreign, _) if is_foreign(foreign) => {}
                _ => {
                    let message = "is not a parameter of this request";
                    violations.push(Violation::new(pointer_to(name), ViolationCode::UnknownField, message));
                    // An answer is no echo.
                    break;
                }
            }
        }
        if violations.is_empty() { Ok(page) } else { Err(violations) }
    }
}

impl FromRequest for Page {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Self::parse(request.query_string()).map_err(Problem::invalid))
    }
}

fn wrong(pointer: &'static str, message: &'static str) -> Violation {
    Violation::new(pointer, ViolationCode::WrongType, message)
}

/// To clients a cursor is any text; in truth it names the last event of the page.
fn to_cursor(last: EventId) -> String {
    URL_SAFE_NO_PAD.encode(last.as_uuid().as_bytes())
}

fn from_cursor(text: &str) -> Option<EventId> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    Uuid::from_slice(&bytes).ok().map(EventId::from_uuid)
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_page_goes_on_where_the_one_before_ended(last in any::<u128>(), most in 1..=Page::MOST) {
            let last = EventId::from_uuid(Uuid::from_u128(last));
            let page = Page::parse(&format!("cursor={}&limit={most}", to_cursor(last))).unwrap();
            prop_assert_eq!((page.before, page.most.get()), (Some(last), most));
        }

        #[test]
        fn an_event_has_one_cursor(text in "[A-Za-z0-9_-]{21}[AQgwB]|[A-Za-z0-9_=+/-]{20,24}|\\PC{0,40}") {
            if let Some(event) = from_cursor(&text) {
                prop_assert_eq!(to_cursor(event), text);
            }
        }
    }
}
