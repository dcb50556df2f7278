use std::fmt;

use crate::audit::EventsOf;
use crate::ports::StoreError;
use crate::throttle::{AccountKey, AttemptCounter, AttemptDecision, LoginAttempt, PurgedCounter};
use crate::time::UnixTime;

/// Counts the attempts at passwords, so that guessing does not scale. Every method happens completely, with its events, or
/// not at all.
///
/// A successful attempt is consumed by the change that it allows, in the transaction of that change:
/// [`SessionStore::open_session`](crate::session::SessionStore::open_session),
/// [`UserStore::change_password`](crate::account::UserStore::change_password) and
/// [`UserStore::delete_user`](crate::account::UserStore::delete_user).
#[cfg_attr(feature = "mocks", mockall::automock)]
pub trait AttemptStore: fmt::Debug + Send + Sync {
    /// Finds a counter; `None` if nothing is counted or known.
    ///
    /// # Errors
    /// [`StoreError`].
    fn find_counter(&self, counter: AccountKey) -> Result<Option<AttemptCounter>, StoreError>;

    /// Counts an attempt as [`AttemptCounter::after_an_attempt`] does, unless it has to wait, and commits by itself: no
    /// rollback of a later change undoes it. Records the event of the attempt if the attempt [is the one that records
    /// it](crate::throttle::AttemptEvent::of).
    ///
    /// - MUST grant no more than the schedule allows, also when callers race over several instances.
    ///   [attempt-begin-schedule]
    /// - MUST change nothing if it refuses. [attempt-begin-refusal]
    ///
    /// # Errors
    /// [`StoreError`]; the attempt may have been counted.
    fn begin_attempt(&self, attempt: &LoginAttempt) -> Result<AttemptDecision, StoreError>;

    /// Deletes at most `most` counters that are [over](AttemptCounter::is_over) at `now`, and records the events of
    /// each. Returns how many counters it deleted.
    ///
    /// - MUST delete nothing that is not over, also when an attempt comes between. [attempt-purge-only-over]
    ///
    /// # Errors
    /// [`StoreError`].
    fn purge_counters(
        &self,
        now: UnixTime,
        most: u32,
        events: &dyn EventsOf<PurgedCounter>,
    ) -> Result<usize, StoreError>;
}
