//! Successful responses, and how their JSON spells ids and times.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use actix_web::web::Bytes;
use jiff::Timestamp;
use portcullis_domain::time::UnixTime;
use serde::{Serialize, Serializer};

/// A JSON answer that nobody may keep.
pub(crate) fn json(status: StatusCode, body: &impl Serialize) -> HttpResponse {
    let mut response = HttpResponse::build(status);
    response.insert_header((header::CONTENT_TYPE, JSON));
    response.insert_header((header::CACHE_CONTROL, NO_STORE));
    response.body(to_json(body))
}

/// The answer where there is nothing to say.
pub(crate) fn no_content() -> HttpResponse {
    HttpResponse::NoContent().insert_header((header::CACHE_CONTROL, NO_STORE)).finish()
}

/// An answer that anybody may keep for an hour.
pub(crate) fn cacheable(content_type: HeaderValue, body: Bytes) -> HttpResponse {
    let mut response = HttpResponse::Ok();
    response.insert_header((header::CONTENT_TYPE, content_type));
    response.insert_header((header::CACHE_CONTROL, ONE_HOUR));
    response.body(body)
}

/// The bytes of a JSON body.
pub(crate) fn to_json(body: &impl Serialize) -> Vec<u8> {
    #[expect(clippy::expect_used, reason = "bodies are structs of texts and numbers, which always serialise")]
    serde_json::to_vec(body).expect("the body serialises")
}

/// Serialises an id as its text.
pub(crate) fn as_text<S: Serializer>(id: &impl std::fmt::Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}

/// Serialises a time as RFC 3339 in UTC with `Z` and whole seconds, rounded down.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
pub(crate) fn as_rfc3339<S: Serializer>(time: &UnixTime, serializer: S) -> Result<S::Ok, S::Error> {
    // RFC 3339 ends with the year 9999.
    serializer.collect_str(&Timestamp::from_second(time.as_secs()).unwrap_or(Timestamp::MAX))
}

pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");
pub(crate) const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const ONE_HOUR: HeaderValue = HeaderValue::from_static("public, max-age=3600");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339_in_whole_seconds() {
        #[derive(Serialize)]
        struct Body(#[serde(serialize_with = "as_rfc3339")] UnixTime);
        let check = |micros, expected: &str| {
            let json = serde_json::to_string(&Body(UnixTime::from_micros(micros))).unwrap();
            assert_eq!(json, format!("{expected:?}"));
        };
        check(0, "1970-01-01T00:00:00Z");
        check(1_800_000_000_999_999, "2027-01-15T08:00:00Z");
        check(-1, "1969-12-31T23:59:59Z");
        check(951_827_696_000_000, "2000-02-29T12:34:56Z");
    }
}
