use std::fmt;

use super::StoreError;
use crate::time::StoreTime;

/// Whether the stores can do their work.
#[cfg_attr(feature = "mocks", mockall::automock)]
pub trait StoreHealth: fmt::Debug + Send + Sync {
    /// Asks the store. Bounded in time like every call of a store.
    ///
    /// # Errors
    /// [`StoreError`] when it does not answer.
    fn check(&self) -> Result<StoreStatus, StoreError>;
}

/// A store that answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreStatus {
    /// Whether its schema is the one this build was made for.
    pub migrated: bool,
    /// What time the store thinks it is, when it has a clock of its own.
    pub time: Option<StoreTime>,
}
