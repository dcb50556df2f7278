use std::fmt;

use crate::audit::{SecurityEvent, StoredEvent};
use crate::id::{EventId, UserId};
use crate::ports::StoreError;

/// Stores security events that come with no other change, such as a failed login, and shows users their own.
#[cfg_attr(feature = "mocks", mockall::automock)]
pub trait AuditLog: fmt::Debug + Send + Sync {
    /// Stores `event`.
    ///
    /// # Errors
    /// [`StoreError`] when it could not be stored.
    fn record_event(&self, event: &SecurityEvent) -> Result<(), StoreError>;

    /// The events of a user, the latest id first: at most `most`, and of those `before` an event where one is named.
    ///
    /// MUST tell no event of others, nor of nobody, whatever `before` names.
    ///
    /// # Errors
    /// [`StoreError`].
    fn list_events(
        &self,
        user: UserId,
        before: Option<EventId>,
        most: u32,
    ) -> Result<Vec<StoredEvent>, StoreError>;
}
