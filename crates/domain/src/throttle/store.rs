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
///
/// - MUST store [the counter of a known network](AttemptCounter::of_known_network) if a consumed attempt has one.
///   [attempt-consume-network]
/// - MUST count each attempt before or after one that is consumed at the same time. [attempt-consume-race]
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
    /// - MUST count each counter separately. [attempt-begin-separate]
    /// - MUST grant free attempts in any order of their times: clocks differ. [attempt-begin-any-clock]
    /// - MUST count an attempt as the first if the counter [is forgotten](crate::throttle::FORGOTTEN_AFTER).
    ///   [attempt-begin-forgets]
    /// - MUST record the event with the attempt of its ordinal, and with no other. [attempt-begin-event]
    /// - MUST change nothing if it refuses. [attempt-begin-refusal]
    ///
    /// # Errors
    /// [`StoreError`]; the attempt may have been counted.
    fn begin_attempt(&self, attempt: &LoginAttempt) -> Result<AttemptDecision, StoreError>;

    /// Deletes at most `most` counters that are [over](AttemptCounter::is_over) at `now`, and records the events of
    /// each. Returns how many counters it deleted.
    ///
    /// - MUST delete nothing that is not over, also when an attempt comes between. [attempt-purge-only-over]
    /// - MUST NOT delete more than `most`. [attempt-purge-most]
    /// - MUST record the events that `events` makes of the deleted counters, and no others. [attempt-purge-events]
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
