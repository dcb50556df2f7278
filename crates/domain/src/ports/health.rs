use std::fmt;
use std::time::Duration;

use crate::ports::StoreError;
use crate::time::StoreTime;

/// Whether the stores can do their work.
#[cfg_attr(feature = "mocks", mockall::automock)]
pub trait StoreHealth: fmt::Debug + Send + Sync {
    /// Asks the store. Bounded in time like every call of a store.
    ///
    /// - MUST report whether the schema is that of this build. [health-migrated]
    ///
    /// # Errors
    /// [`StoreError`] when it does not answer.
    fn check(&self) -> Result<StoreStatus, StoreError>;

    /// Verifies that changes are committed: by the changes that callers just made, or by one of its own. It is called
    /// about once a second. Its waits are bounded, except that for a commit which the store holds up.
    ///
    /// - MUST NOT leave an event or any data that another method returns. [health-no-trace]
    /// - MUST NOT fail because a call was refused for its own reason, such as a taken name. [health-refusals]
    ///
    /// # Errors
    /// [`StoreError`] if changes fail, or have been under way for too long.
    fn check_writes(&self) -> Result<(), StoreError>;

    /// Returns the age of the oldest change that is under way, `None` if there is none. It is called often, and never waits
    /// for the store: a commit may be held up for as long as a standby or a disk is.
    ///
    /// - MUST return `None` once every change has returned. [health-oldest-write]
    fn oldest_write(&self) -> Option<Duration>;
}

/// A store that answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreStatus {
    /// Whether its schema is the one this build was made for.
    pub migrated: bool,
    /// What time the store thinks it is, when it has a clock of its own.
    pub time: Option<StoreTime>,
}
