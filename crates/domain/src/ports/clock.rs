use std::fmt;

use crate::time::UnixTime;

/// The time.
#[cfg_attr(feature = "mocks", mockall::automock)]
pub trait Clock: fmt::Debug + Send + Sync {
    /// What time it is now.
    ///
    /// MUST never be earlier than an answer it gave before, to any thread.
    fn now(&self) -> UnixTime;
}
