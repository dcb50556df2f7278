//! The background work of an instance: staying in sync with the store, purging it, and checking readiness.

mod purge;
mod readiness;
mod retention;
mod sync;

pub(crate) use self::purge::MARK_AGE;
pub use self::purge::Purger;
pub(crate) use self::readiness::Writes;
pub use self::readiness::{Check, Readiness, WRITES_SETTLE_WITHIN, WRITES_STALE_AFTER};
pub use self::retention::{PurgeOutcome, PurgeRequest, RETENTION, Retention, SESSIONS_AFTER_THEIR_END};
pub(crate) use self::sync::Skew;
pub use self::sync::{ClockNotTrusted, MAX_SKEW, SyncError};
