use std::fmt;

use crate::audit::{EventsOf, SecurityEvent};
use crate::id::{SessionId, UserId};
use crate::maintenance::{PurgeOutcome, PurgeRequest};
use crate::ports::StoreError;
use crate::session::{
    Cursor, EndOutcome, NewSession, RotateOutcome, RotateRequest, Session, SessionChanges, SessionOpened,
};
use crate::time::UnixTime;

/// Stores sessions: one row each, regardless of how often it is refreshed. [`StoredSession`](crate::session::StoredSession)
/// has the rules.
///
/// Every method happens completely, with its events, or not at all.
#[cfg_attr(feature = "mocks", mockall::automock)]
pub trait SessionStore: fmt::Debug + Send + Sync {
    /// Opens a session under a lock on its user, ends the sessions that [have to make
    /// room](crate::session::StoredSession::evicted) at [`NewSession::opened_at`], consumes the proof of the session, and
    /// records the events that `events` makes of these facts, which it also returns.
    ///
    /// - MUST refuse as [`OpenSessionError::UserChanged`] unless the user [is enabled
    ///   at](crate::account::User::is_enabled_at) the session's credential version, also when a change commits while the
    ///   call runs. [session-open-user-unchanged]
    /// - MUST record the events with the session. [session-open-event]
    /// - MUST keep the bound on live sessions, also when callers race. [session-open-bound]
    /// - MUST end the live sessions that were opened first. [session-open-evicts-oldest]
    /// - MUST refuse as unavailable a session that is not [valid](NewSession::is_valid): all sessions are being ended.
    ///   [session-open-valid]
    /// - MUST consume the proof, once when callers race. [session-open-consumes-proof]
    /// - MUST NOT consume the proof if it refuses. [session-open-refusal-keeps-proof]
    /// - MUST consume the proof in the transaction that records the events. [session-open-proof-atomic]
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
    /// - MUST rotate once when many callers present one token. [session-rotate-once]
    /// - MUST return the same generation to all of them. [session-rotate-same]
    /// - MUST end the session on a reused token. [session-rotate-reuse-ends]
    /// - MUST record the events that `on_reuse` makes of the session's user once for each session that it ends, and
    ///   otherwise none. [session-rotate-reuse-event]
    /// - MUST change nothing for an ended, expired or unknown session. [session-rotate-gone]
    /// - MUST change nothing for a token that is ahead of the store. [session-rotate-ahead]
    /// - MUST NOT extend a session beyond its absolute end. [session-rotate-absolute]
    ///
    /// # Errors
    /// [`StoreError`].
    fn rotate(
        &self,
        request: &RotateRequest,
        on_reuse: &dyn EventsOf<UserId>,
    ) -> Result<RotateOutcome, StoreError>;

    /// Ends a session `at` a time as [`StoredSession::end`](crate::session::StoredSession::end) does, and records the events
    /// that `events` makes of the session's user.
    ///
    /// - MUST end a session once. [session-end-once]
    /// - MUST record events only if it ends the session. [session-end-event]
    /// - MUST end an expired session too, as [`Self::end_sessions`] does: it may be live by another clock.
    ///   [session-end-expired]
    /// - MUST report the session of another user than `owner` as unknown. [session-end-owner]
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

    /// Ends the sessions of a user that [can end](crate::session::StoredSession::can_end) at `event.at`, except one, and
    /// records `event`. Returns the sessions that it ended.
    ///
    /// - MUST end the sessions of no other user. [session-end-all-of-one-user]
    /// - MUST record the event even if it ends no session. [session-end-all-event]
    /// - MUST NOT end the excepted session. [session-end-all-except]
    ///
    /// # Errors
    /// [`StoreError`].
    fn end_sessions(
        &self,
        user: UserId,
        except: Option<SessionId>,
        event: &SecurityEvent,
    ) -> Result<Vec<SessionId>, StoreError>;

    /// Ends those of `sessions` `at` a time that [can end](crate::session::StoredSession::can_end), and raises the time that
    /// sessions are valid from to `valid_from`. Returns the sessions that it ended. Their ends and `valid_from` were committed
    /// before, and the store lost them; the events are lost with them.
    ///
    /// - MUST end those of these sessions that can end, and no other. [session-end-again]
    /// - MUST record no event. [session-end-again-event]
    /// - MUST raise the time that sessions are valid from, and the high-water mark with it, and MUST NOT decrease either.
    ///   [session-end-again-valid-from]
    ///
    /// # Errors
    /// [`StoreError`].
    fn end_again(
        &self,
        sessions: &[SessionId],
        at: UnixTime,
        valid_from: UnixTime,
    ) -> Result<Vec<SessionId>, StoreError>;

    /// Ends every session opened so far: sets [`SessionChanges::valid_from`] as
    /// [`next_valid_from`](crate::session::next_valid_from) returns it for `event.at`, and returns it. It also becomes the
    /// store's [high-water mark](crate::time::StoreTime::high_water_mark), so that no clock opens sessions before it.
    ///
    /// - MUST end sessions that clocks further ahead opened, too. [session-invalidate-all]
    /// - MUST NOT decrease the time. [session-invalidate-monotonic]
    /// - MUST set a whole second, after `event.at`. [session-invalidate-second]
    /// - MUST raise the high-water mark to it, if the store has a clock. [session-invalidate-high-water-mark]
    ///
    /// # Errors
    /// [`StoreError`].
    fn invalidate_sessions(&self, event: &SecurityEvent) -> Result<UnixTime, StoreError>;

    /// Finds a session that [is live](crate::session::StoredSession::is_live) at `now`; `None` for any other.
    ///
    /// - MUST find no session from the microsecond of its expiry on. [session-find-live]
    /// - MUST find the session as it was opened and as its last rotation left it. [session-find-stored]
    ///
    /// # Errors
    /// [`StoreError`].
    fn find_session(&self, session: SessionId, now: UnixTime) -> Result<Option<Session>, StoreError>;

    /// Returns the sessions of a user that are live at `now`, the latest opened first.
    ///
    /// - MUST return every live session of the user, and no other. [session-list-live]
    /// - MUST return them in this order. [session-list-order]
    ///
    /// # Errors
    /// [`StoreError`].
    fn list_sessions(&self, user: UserId, now: UnixTime) -> Result<Vec<Session>, StoreError>;

    /// Returns at most `most` of the sessions that were ended, not expired; the time that sessions are valid from; and the
    /// store's time. One thread calls it several times per second.
    ///
    /// These are the ends that became visible since the cursor `after`, which an earlier call returned. Without a cursor, and
    /// if the store [cannot continue](Cursor::can_continue_to) from it, they are the ends at or after `since`.
    ///
    /// - MUST return each end that became visible since the cursor, however long its transaction took, and whatever time it
    ///   wrote down. [session-changes-cursor]
    /// - MUST NOT return the same ends with every cursor: one that was visible, and whose predecessors were, is not returned
    ///   again. [session-changes-advance]
    /// - MUST report whether the ends continue from the cursor, and not continue from one of another epoch, or that is ahead
    ///   of the store. [session-changes-reset]
    /// - MUST return the sessions that ended at `since` or later if they do not continue, and no expired ones in either case.
    ///   [session-changes-ended]
    /// - MUST NOT return more than `most`. [session-changes-most]
    /// - MUST NOT wait for other callers: a pool of connections needs one for this call. [session-changes-no-wait]
    ///
    /// # Errors
    /// [`StoreError`].
    fn session_changes(
        &self,
        after: Option<Cursor>,
        since: UnixTime,
        most: u32,
    ) -> Result<SessionChanges, StoreError>;

    /// Raises the [high-water mark](crate::time::StoreTime::high_water_mark) to [`PurgeRequest::now`] and, if [the instance
    /// has the turn](PurgeRequest::take_turn), deletes sessions that [are over](crate::session::StoredSession::is_over). It
    /// records no event: the end of each session was one.
    ///
    /// - MUST delete nothing that has been over since [`PurgeRequest::over_before`] or later. [session-purge-only-over]
    /// - MUST delete sessions that were invalidated before that time, though they were not ended one by one.
    ///   [session-purge-invalidated]
    /// - MUST reach every session in steps of at most [`PurgeRequest::batch`]. [session-purge-batch]
    /// - MUST be done by one instance at a time: for [`PurgeRequest::turn`] after a step, no other instance makes one.
    ///   [session-purge-turn]
    /// - MUST raise the high-water mark, if the store has a clock, regardless of the turn. [session-purge-high-water-mark]
    ///
    /// # Errors
    /// [`StoreError`].
    fn purge_sessions(&self, request: &PurgeRequest) -> Result<PurgeOutcome, StoreError>;
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
