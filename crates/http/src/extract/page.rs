//! Pages of lists: the query parameters `cursor` and `limit`.

use std::future::{Ready, ready};
use std::num::NonZeroU32;

use actix_web::dev::Payload;
use actix_web::web::Query;
use actix_web::{FromRequest, HttpRequest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

use crate::extract::json::pointer_to;
use crate::extract::query::is_foreign;
use crate::respond::problem::Problem;
use crate::respond::violation::{Violation, ViolationCode};

/// A page of a list, the latest entry first.
#[derive(Debug)]
pub(crate) struct Page {
    /// The id of the last entry of the previous page; `None` for the first page.
    pub(crate) before: Option<Uuid>,
    /// The largest number of entries.
    pub(crate) most: NonZeroU32,
}

impl Page {
    /// The largest number of entries of a page.
    const MOST: u32 = 100;

    /// The number of entries of a page without `limit`.
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
                    Some(last) => page.before = Some(last),
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
                    // A response does not echo the request.
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

/// Returns the cursor behind `last`, the last entry of a page. Clients do not interpret it.
pub(crate) fn to_cursor(last: Uuid) -> String {
    URL_SAFE_NO_PAD.encode(last.as_bytes())
}

fn from_cursor(text: &str) -> Option<Uuid> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    Uuid::from_slice(&bytes).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn page_continues_where_the_previous_one_ended(last in any::<u128>(), most in 1..=Page::MOST) {
            let last = Uuid::from_u128(last);
            let page = Page::parse(&format!("cursor={}&limit={most}", to_cursor(last))).unwrap();
            prop_assert_eq!((page.before, page.most.get()), (Some(last), most));
        }

        #[test]
        fn entry_has_one_cursor(text in "[A-Za-z0-9_-]{21}[AQgwB]|[A-Za-z0-9_=+/-]{20,24}|\\PC{0,40}") {
            if let Some(last) = from_cursor(&text) {
                prop_assert_eq!(to_cursor(last), text);
            }
        }
    }
}
