use std::fmt;

use super::StoreError;
use crate::event::SecurityEvent;

/// Stores security events that come with no other change, such as a failed login.
#[cfg_attr(feature = "mocks", mockall::automock)]
pub trait EventLog: fmt::Debug + Send + Sync {
    /// Stores `event`.
    ///
    /// # Errors
    /// [`StoreError`] when it could not be stored.
    fn record(&self, event: &SecurityEvent) -> Result<(), StoreError>;
}
