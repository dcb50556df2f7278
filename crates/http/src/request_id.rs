//! The request id: on every answer and in every log line of the request.

use std::cell::Cell;
use std::fmt;
use std::future::Future;

use actix_web::http::header::{HeaderName, HeaderValue};
use portcullis_domain::id::uuid_v7_of;
use portcullis_domain::ports::SecureRandom;
use portcullis_domain::time::UnixTime;

/// The name of a request: the client's own, or a UUID of version 7.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RequestId {
    // In place: it is copied with every switch between tasks, and made for every request.
    text: [u8; Self::MAX_LENGTH],
    length: usize,
}

impl RequestId {
    /// The longest id taken over from a client.
    pub const MAX_LENGTH: usize = 64;

    /// Takes over a client's id when it is 1 to 64 of `[A-Za-z0-9._-]`: it goes into logs and answers.
    pub(crate) fn parse(header: &HeaderValue) -> Option<Self> {
        let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let raw = header.as_bytes();
        let fits = (1..=Self::MAX_LENGTH).contains(&raw.len()) && raw.iter().all(allowed);
        fits.then(|| Self::copy(raw))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    /// The id as the value of [`X_REQUEST_ID`].
    pub(crate) fn to_header(self) -> HeaderValue {
        // Nothing but ASCII ever got in.
        HeaderValue::from_bytes(self.as_bytes()).unwrap_or(HeaderValue::from_static("-"))
    }

    fn as_bytes(&self) -> &[u8] {
        &self.text[..self.length]
    }

    fn copy(raw: &[u8]) -> Self {
        let mut text = [0; Self::MAX_LENGTH];
        text[..raw.len()].copy_from_slice(raw);
        Self { text, length: raw.len() }
    }
}

/// Makes the ids of one worker's requests that come without: UUIDs of version 7, whose random part is random once and then
/// counts. Nothing is granted to who guesses one, and randomness for each request would cost more than the rest of it.
#[derive(Debug)]
pub(crate) struct RequestIds {
    next: Cell<u128>,
}

impl RequestIds {
    /// Begins somewhere.
    pub(crate) fn new(random: &dyn SecureRandom) -> Self {
        let mut first = [0; 16];
        random.fill(&mut first);
        Self { next: Cell::new(u128::from_be_bytes(first)) }
    }

    /// The next one.
    pub(crate) fn next(&self, now: UnixTime) -> RequestId {
        let number = self.next.get();
        self.next.set(number.wrapping_add(1));
        let [_, _, _, _, _, _, random @ ..] = number.to_be_bytes();
        let mut text = [0; 36];
        RequestId::copy(uuid_v7_of(now, random).hyphenated().encode_lower(&mut text).as_bytes())
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestId({})", self.as_str())
    }
}

/// The id of the request being served, on its task and on the blocking threads that work for it; for log formatters.
pub fn current_request_id() -> Option<RequestId> {
    REQUEST_ID.try_get().ok()
}

/// Runs `future` as part of the request `id`.
pub(crate) fn scope<F: Future>(id: RequestId, future: F) -> impl Future<Output = F::Output> {
    REQUEST_ID.scope(id, future)
}

/// Runs `work` as part of the request `id`, or of none.
pub(crate) fn scope_blocking<T>(id: Option<RequestId>, work: impl FnOnce() -> T) -> T {
    match id {
        Some(id) => REQUEST_ID.sync_scope(id, work),
        None => work(),
    }
}

tokio::task_local! {
    static REQUEST_ID: RequestId;
}

pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use portcullis_testkit::SeededRandom;

    use super::*;

    #[test]
    fn only_short_plain_ids_are_taken_over() {
        let longest = "x".repeat(64);
        for good in ["a", "A-b_c.9", &longest] {
            let header = HeaderValue::from_str(good).unwrap();
            assert_eq!(RequestId::parse(&header).unwrap().as_str(), good);
        }
        for bad in ["", "a b", "a\"b", "a/b", "{x}", &"x".repeat(65)] {
            assert_eq!(RequestId::parse(&HeaderValue::from_str(bad).unwrap()), None, "{bad}");
        }
        assert_eq!(RequestId::parse(&HeaderValue::from_bytes(b"\xc3\xa9").unwrap()), None);
    }

    #[test]
    fn new_ids_are_uuids_of_version_7_and_all_different() {
        let now = UnixTime::from_secs(1_800_000_000);
        let workers = [1, 2].map(|seed| RequestIds::new(&SeededRandom::new(seed)));
        let ids: HashSet<_> =
            (0..1_000).flat_map(|_| workers.each_ref().map(|ids| ids.next(now).to_string())).collect();
        assert_eq!(ids.len(), 2_000);
        for id in ids {
            let uuid: uuid::Uuid = id.parse().unwrap();
            assert_eq!(uuid.get_version_num(), 7);
            assert_eq!(uuid.get_timestamp().unwrap().to_unix().0, 1_800_000_000);
        }
    }

    #[test]
    fn the_scope_ends_with_the_work() {
        let id = RequestIds::new(&SeededRandom::new(2)).next(UnixTime::EPOCH);
        assert_eq!(scope_blocking(Some(id), current_request_id), Some(id));
        assert_eq!(current_request_id(), None);
    }
}
