//! Times in RFC 3339, for the log and the output of commands.

use jiff::Timestamp;
use portcullis_domain::time::UnixTime;

/// Returns a time in whole seconds, UTC.
pub(crate) fn rfc3339(time: UnixTime) -> String {
    Timestamp::from_second(time.as_secs())
        .map_or_else(|_| "the end of time".to_owned(), |time| time.to_string())
}
