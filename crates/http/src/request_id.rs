//! The request id: on every answer and in every log line of the request.

use std::fmt;
use std::future::Future;

use actix_web::http::header::{HeaderName, HeaderValue};
use portcullis_domain::id::uuid_v7;
use portcullis_domain::ports::Entropy;
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

    /// Makes a new one.
    pub(crate) fn new(now: UnixTime, entropy: &dyn Entropy) -> Self {
        let mut text = [0; 36];
        Self::copy(uuid_v7(now, entropy).hyphenated().encode_lower(&mut text).as_bytes())
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
    use portcullis_testkit::SeededEntropy;

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
    fn new_ids_are_uuids_of_version_7() {
        let id = RequestId::new(UnixTime::from_secs(1_800_000_000), &SeededEntropy::new(1));
        let uuid: uuid::Uuid = id.as_str().parse().unwrap();
        assert_eq!(uuid.get_version_num(), 7);
        assert_eq!(id.to_header(), id.as_str());
    }

    #[test]
    fn the_scope_ends_with_the_work() {
        let id = RequestId::new(UnixTime::EPOCH, &SeededEntropy::new(2));
        assert_eq!(scope_blocking(Some(id), current_request_id), Some(id));
        assert_eq!(current_request_id(), None);
    }
}
