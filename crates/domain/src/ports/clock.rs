use std::fmt;
use std::time::Duration;

use crate::time::{StoreTime, UnixTime};

/// The time.
#[cfg_attr(feature = "mocks", mockall::automock)]
pub trait Clock: fmt::Debug + Send + Sync {
    /// What time it is now.
    ///
    /// - MUST never be earlier than an answer it gave since it was first aligned, to any thread. [clock-monotonic]
    fn now(&self) -> UnixTime;

    /// How long the clock has run, by a clock that nobody sets: for waits and ages within this process.
    ///
    /// - MUST advance with real time, also while [`Self::now`] stands still. [clock-uptime]
    fn uptime(&self) -> Duration;

    /// Takes in what time it is for the store that all instances share, as it said to a question asked when
    /// [`Self::uptime`] was `asked`. [`Self::now`] follows as far as it never goes backwards.
    ///
    /// - MUST NOT show a time before the store's high-water mark from then on. [clock-high-water-mark]
    fn align(&self, store: StoreTime, asked: Duration);
}
