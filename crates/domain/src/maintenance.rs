//! The background work of an instance: staying in sync with the store, purging it, and checking readiness.

mod purge;
mod readiness;
mod retention;
mod skew;
mod sync;

use std::sync::Arc;

pub(crate) use self::purge::MARK_AGE;
pub use self::purge::Purger;
pub(crate) use self::readiness::Writes;
pub use self::readiness::{Check, Readiness, WRITES_SETTLE_WITHIN, WRITES_STALE_AFTER};
pub use self::retention::{PurgeOutcome, PurgeRequest, RETENTION, Retention, SESSIONS_AFTER_THEIR_END};
pub(crate) use self::skew::Skew;
pub use self::skew::{ClockNotTrusted, MAX_SKEW};
pub use self::sync::SyncError;
use crate::core::Core;

/// Keeps an instance in step with its store. Every method blocks except [`Maintenance::purger`].
///
/// Call [`Maintenance::sync`] several times per second and [`Maintenance::check_writes`] about once per second, and run a
/// [`Purger`], each on a thread of its own.
#[derive(Clone, Debug)]
pub struct Maintenance {
    pub(crate) core: Arc<Core>,
}

impl Maintenance {
    /// Creates the service.
    pub fn new(core: &Arc<Core>) -> Self {
        Self { core: Arc::clone(core) }
    }
}
