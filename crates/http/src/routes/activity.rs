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
use portcullis_domain::event::PastEvent;
use portcullis_domain::id::{EventId, SessionId};
use portcullis_domain::time::UnixTime;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa::openapi::{RefOr, Schema};
use uuid::Uuid;

use super::{Answer, is_foreign};
use crate::Api;
use crate::answer::{self, as_rfc3339, as_text};
use crate::bearer::Bearer;
use crate::blocking::Lane;
use crate::openapi::{self, BEARER, STORE, problems};
use crate::problem::{Problem, ProblemCode, Violation, ViolationCode};
use crate::strict_json::pointer_to;

/// Lists what happened to the account of the user who holds the token
///
/// The latest first, page by page: `next_cursor` of one answer is the `cursor` of the next request, and null at
/// the end.
#[utoipa::path(
    get, path = "/me/activity", tag = "bearer",
    params(
        ("cursor" = Option<String>, Query, description = "Where to go on: `next_cursor` of the answer before."),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 100, example = 50,
            description = "How many events to list at most. Without it, 50."),
    ),
    responses((status = 200, description = "The events.", body = ActivityResponse), Problems),
    security(("access_token" = [])),
)]
pub(crate) async fn activity(api: Data<Api>, bearer: Bearer, page: Page) -> Answer {
    let Page { before, most } = page;
    let activity = api.blocking(Lane::Data, move |auth| auth.activity(&bearer.0, before, most)).await??;
    let events = activity.events.iter().map(EventBody::from).collect();
    let next_cursor = activity.next.map(to_cursor);
    Ok(answer::json(StatusCode::OK, &ActivityResponse { events, next_cursor }))
}

/// Some of the events of a user.
#[derive(Serialize, ToSchema)]
pub(crate) struct ActivityResponse<'a> {
    #[schema(max_items = 100)]
    events: Vec<EventBody<'a>>,
    /// The `cursor` of the next request; null where there are no earlier events.
    #[schema(required)]
    next_cursor: Option<String>,
}

/// What happened to an account, to its user.
#[derive(Serialize, ToSchema)]
#[schema(as = Event)]
pub(crate) struct EventBody<'a> {
    #[serde(serialize_with = "as_text")]
    #[schema(value_type = String, format = "uuid")]
    id: EventId,
    /// What happened. The list of these words grows.
    #[schema(value_type = String, example = "login_failed")]
    kind: &'a str,
    /// More about it, where the kind leaves something open.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, nullable = false, example = "wrong_password")]
    detail: Option<&'a str>,
    #[serde(serialize_with = "as_rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    at: UnixTime,
    /// The session that it concerns, where it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, nullable = false, format = "uuid")]
    session_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = ip)]
    ip: Option<IpAddr>,
    /// The user agent that did it, at most 256 characters, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, nullable = false, max_length = 256, example = "curl/8.5.0")]
    user_agent: Option<&'a str>,
}

impl<'a> From<&'a PastEvent> for EventBody<'a> {
    fn from(event: &'a PastEvent) -> Self {
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

fn ip() -> RefOr<Schema> {
    let meaning =
        "The network address from which it was done, of an IPv6 address only the /64, where it is known.";
    openapi::ip(meaning, "2001:db8:1:2::", false)
}

problems!(BEARER, STORE, &[ProblemCode::InvalidRequest]);

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
