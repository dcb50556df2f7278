use std::fmt;

use crate::audit::{EventsOf, SecurityEvent};
use crate::id::{SessionId, UserId};
use crate::maintenance::{PurgeOutcome, PurgeRequest};
use crate::ports::StoreError;
use crate::session::{
    EndOutcome, NewSession, RotateOutcome, RotateRequest, Session, SessionChanges, SessionOpened,
};
use crate::time::UnixTime;

/// Stores sessions: one row each, however often it is refreshed. Every method happens completely, with its event,
/// or not at all.
///
/// A session is *live* until it is ended or expires, or the floor is raised above its opening.
#[cfg_attr(feature = "mocks", mockall::automock)]
pub trait SessionStore: fmt::Debug + Send + Sync {
    /// Opens a session under a lock on its user, ends the sessions that [have to make
    /// room](crate::session::StoredSession::evicted) at [`NewSession::opened_at`], consumes the proof of the session, and
    /// records the events that `events` makes of these facts, which it also returns.
    ///
    /// MUST refuse as [`OpenSessionError::UserChanged`] unless the user [is enabled
    /// at](crate::account::User::is_enabled_at) the session's credential version, also when a change commits while the
    /// call runs.
    /// MUST keep the bound on live sessions also when callers race.
    /// MUST refuse as unavailable a session that is not [valid](NewSession::is_valid): all sessions are being ended.
    /// MUST consume the proof in the same transaction, and nothing where it refuses.
    ///
    /// # Errors
    /// [`OpenSessionError`].
    fn open_session(
        &self,
        session: &NewSession,
        events: &dyn EventsOf<SessionOpened>,
    ) -> Result<SessionOpened, OpenSessionError>;

    /// Applies a presented refresh token as [`StoredSession::rotate`](crate::session::StoredSession::rotate) does, under a
    /// lock on the session's row. An unknown session is [`RotateOutcome::Gone`].
    ///
    /// MUST rotate once when many callers present one token, and return the same generation to all of them.
    /// MUST end the session on a reused token, and then record the events that `on_reuse` makes of the session's user.
    /// MUST change nothing for an ended, expired or unknown session, and nothing for a token that is ahead of the store.
    ///
    /// # Errors
    /// [`StoreError`].
    fn rotate(
        &self,
        request: &RotateRequest,
        on_reuse: &dyn EventsOf<UserId>,
    ) -> Result<RotateOutcome, StoreError>;

    /// Ends a session `at` a time as [`StoredSession::end`](crate::session::StoredSession::end) does, and records the events
    /// that `events` makes of the session's user if this call ended it.
    ///
    /// # Errors
    /// [`StoreError`].
    fn end_session(
        &self,
        session: SessionId,
        owner: Option<UserId>,
        at: UnixTime,
        events: &dyn EventsOf<UserId>,
    ) -> Result<EndOutcome, StoreError>;

    /// Ends the sessions of a user at `event.at`, but for `except`, and records `event`. Returns the sessions it
    /// ended: those that [`Self::end_session`] would.
    ///
    /// # Errors
    /// [`StoreError`].
    fn end_sessions(
        &self,
        user: UserId,
        except: Option<SessionId>,
        event: &SecurityEvent,
    ) -> Result<Vec<SessionId>, StoreError>;

    /// Ends every session opened so far by raising the floor, which never sinks, and returns it: the
    /// [next whole second](UnixTime::next_second) after `event.at`, or after the newest session where that was opened
    /// by a clock further ahead. (Tokens tell their session's opening in whole seconds.) The floor is also left as a
    /// mark ([`StoreTime::high_water_mark`](crate::time::StoreTime::high_water_mark)), so that no clock opens sessions before it.
    ///
    /// # Errors
    /// [`StoreError`].
    fn invalidate_sessions(&self, event: &SecurityEvent) -> Result<UnixTime, StoreError>;

    /// Finds a session that is live at `now`; `None` for any other.
    ///
    /// # Errors
    /// [`StoreError`].
    fn find_session(&self, session: SessionId, now: UnixTime) -> Result<Option<Session>, StoreError>;

    /// The sessions of a user that are live at `now`, the latest opened first.
    ///
    /// # Errors
    /// [`StoreError`].
    fn list_sessions(&self, user: UserId, now: UnixTime) -> Result<Vec<Session>, StoreError>;

    /// The sessions that were ended (not those that expired) at or after `since`, but at most `most` of them; the
    /// floor; and the time. Unlike every other method it is called all the time, by one thread.
    ///
    /// MUST NOT wait for the work of others: where connections are pooled, it has its own.
    ///
    /// # Errors
    /// [`StoreError`].
    fn session_changes(&self, since: UnixTime, most: u32) -> Result<SessionChanges, StoreError>;

    /// Leaves `sweep.now` as a mark ([`StoreTime::high_water_mark`](crate::time::StoreTime::high_water_mark)) and, unless it is another
    /// instance's turn, deletes some of the sessions that have been over for long. That is no event: whatever ended
    /// them was.
    ///
    /// MUST delete nothing that is over since [`PurgeRequest::over_before`] or later.
    /// MUST be done by one instance at a time: for [`PurgeRequest::turn`] after a step, nobody else's is made.
    ///
    /// # Errors
    /// [`StoreError`].
    fn purge_sessions(&self, sweep: &PurgeRequest) -> Result<PurgeOutcome, StoreError>;
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
