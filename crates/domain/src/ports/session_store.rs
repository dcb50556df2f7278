use std::fmt;

use super::StoreError;
use crate::event::SecurityEvent;
use crate::id::SessionId;
use crate::session::{EndedSessions, NewSession, Presentation, Rotation};
use crate::time::UnixTime;

/// Stores sessions: one row each, however often it is refreshed. Every method happens completely, with its event,
/// or not at all.
///
/// A session is *live* until it is ended or expires, or the floor is raised above its opening.
#[cfg_attr(feature = "mocks", mockall::automock)]
pub trait SessionStore: fmt::Debug + Send + Sync {
    /// Opens a session, under a lock on its user.
    ///
    /// MUST refuse as [`OpenSessionError::UserChanged`] unless the user is there, enabled and at the session's
    /// credential version, also when a change commits while the call runs.
    ///
    /// # Errors
    /// [`OpenSessionError`].
    fn open(&self, session: &NewSession, event: &SecurityEvent) -> Result<(), OpenSessionError>;

    /// Judges a presented refresh token as [`Presented::judge`](crate::session::Presented::judge) does, and acts on
    /// it, decided under the lock of the session's row.
    ///
    /// MUST rotate once when many callers present one token, and give all of them the same successor.
    /// MUST end the session on a reused token, and then record `on_reuse` with the session's user.
    /// MUST change nothing for an ended, expired or unknown session, and nothing for a token from ahead.
    ///
    /// # Errors
    /// [`StoreError`].
    fn rotate(&self, presented: &Presentation, on_reuse: &SecurityEvent) -> Result<Rotation, StoreError>;

    /// Ends a live session at `event.at` and records `event` with the session's user. Says whether it was live;
    /// ending what is not live changes nothing and records nothing.
    ///
    /// # Errors
    /// [`StoreError`].
    fn end(&self, session: SessionId, event: &SecurityEvent) -> Result<bool, StoreError>;

    /// Ends every session opened before `event.at` by raising the floor, which never sinks.
    ///
    /// # Errors
    /// [`StoreError`].
    fn raise_floor(&self, event: &SecurityEvent) -> Result<(), StoreError>;

    /// Whether a session is live at `now`.
    ///
    /// # Errors
    /// [`StoreError`].
    fn is_live(&self, session: SessionId, now: UnixTime) -> Result<bool, StoreError>;

    /// The sessions that were ended (not those that expired) at or after `since`, and the floor.
    ///
    /// # Errors
    /// [`StoreError`].
    fn ended_since(&self, since: UnixTime) -> Result<EndedSessions, StoreError>;
}

/// A session was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenSessionError {
    /// The user was disabled, deleted or got a new password since it was looked up.
    #[error("the user changed meanwhile")]
    UserChanged,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
