//! The background work of an instance: staying in sync with the store, purging it, and checking readiness.

mod lost_changes;
mod purge;
mod readiness;
mod retention;
mod service;
mod skew;
mod sync;

pub(crate) use self::lost_changes::Losses;
pub use self::lost_changes::LostChanges;
pub(crate) use self::purge::MARK_AGE;
pub use self::purge::Purger;
pub(crate) use self::readiness::Writes;
pub use self::readiness::{Check, LONGEST_WRITE, Readiness, WRITES_SETTLE_WITHIN, WRITES_STALE_AFTER};
pub use self::retention::{
    PurgeOutcome, PurgeRequest, PurgeTurn, RETENTION, Retention, SESSIONS_AFTER_THEIR_END,
};
pub use self::service::Maintenance;
pub(crate) use self::skew::Skew;
pub use self::skew::{ClockNotTrusted, MAX_SKEW};
pub use self::sync::SyncError;
