use std::fmt;

use crate::audit::{SecurityEvent, StoredEvent};
use crate::id::{EventId, UserId};
use crate::ports::StoreError;

/// Stores security events that come with no other change, such as a failed login, and shows users their own.
#[cfg_attr(feature = "mocks", mockall::automock)]
pub trait AuditLog: fmt::Debug + Send + Sync {
    /// Stores `event`.
    ///
    /// - MUST store every field, at any length that the domain allows. [event-record-whole]
    /// - MUST refuse an event whose ID is recorded, and with it the change that the event is recorded with.
    ///   [event-record-or-nothing]
    ///
    /// # Errors
    /// [`StoreError`] when it could not be stored.
    fn record_event(&self, event: &SecurityEvent) -> Result<(), StoreError>;

    /// The events of a user, the latest id first: at most `most`, and of those `before` an event where one is named.
    ///
    /// - MUST NOT return an event of another user or of no user, regardless of what `before` names. [event-list-own]
    /// - MUST return the latest first. [event-list-order]
    /// - MUST NOT return more than `most`. [event-list-most]
    /// - MUST return only events whose IDs are less than `before`. [event-list-before]
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
