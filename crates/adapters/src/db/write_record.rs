//! This instance's changes: how many may be under way at once, how long they have been, and how they ended.
//! [`StoreHealth`](portcullis_domain::ports::StoreHealth) concludes from it whether changes are committed.
//!
//! A commit that waits for a standby or a disk has no limit, and must not be cancelled. So that reads go on meanwhile,
//! changes never hold all connections, and while one has been under way for too long, further ones fail at once.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::mem;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use portcullis_domain::maintenance::LONGEST_WRITE;
use portcullis_domain::ports::StoreError;

use super::error::{concerns_one_request, unavailable};

/// The changes that are under way, and how those before them ended.
#[derive(Debug)]
pub(super) struct WriteRecord {
    state: Mutex<State>,
    /// Wakes a change that waits for its place.
    ended: Condvar,
    /// How many changes may be under way at once.
    places: usize,
    /// How long a change waits for its place.
    patience: Duration,
}

#[derive(Debug, Default)]
struct State {
    /// When each change that is under way began, by its number.
    under_way: BTreeMap<u64, Instant>,
    /// How many changes wait for a place.
    waiting: usize,
    next: u64,
    last_success: Option<Instant>,
    /// How many changes failed, and how many of these a rehearsal has shown to be over.
    failures: u64,
    refuted: u64,
    /// Whether the last conclusion was that a change is stuck.
    was_stuck: bool,
}

impl State {
    /// When the oldest change that is under way began. Numbers are given in the order of time.
    fn oldest(&self) -> Option<Instant> {
        self.under_way.values().next().copied()
    }

    /// The age of the oldest change, if it has been under way for too long.
    fn stuck(&self) -> Option<Duration> {
        self.oldest().map(|begun| begun.elapsed()).filter(|age| *age > LONGEST_WRITE)
    }
}

/// The conclusion about changes in general.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Evidence {
    /// A change has been under way for longer than [`LONGEST_WRITE`], for the first time since none had.
    Stuck(Duration),
    /// The same, and it was concluded before.
    StillStuck(Duration),
    /// A change succeeded within [`PROVEN_FOR`], and none failed since.
    Proven,
    /// No change was made lately.
    Nothing,
    /// A change failed for a reason that may affect others too. Others may have succeeded since: a trigger or a full disk
    /// stops only some. [`WriteRecord::refute`] cancels the failures up to this one.
    Failed(Failures),
}

/// How many changes had failed at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Failures(u64);

impl WriteRecord {
    /// Allows `places` changes at once. Further ones wait for at most `patience`.
    pub(super) fn new(places: usize, patience: Duration) -> Self {
        Self { state: Mutex::default(), ended: Condvar::new(), places, patience }
    }

    /// Runs a change and records how it ends. A panic counts as no change.
    ///
    /// # Errors
    /// Fails as unavailable, without running the change, if an earlier one has been under way for longer than
    /// [`LONGEST_WRITE`], or if no place gets free in time.
    pub(super) fn keep<T, E: StdError + From<StoreError> + 'static>(
        &self,
        change: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let under_way = self.begin()?;
        let result = change();
        match &result {
            Ok(_) => under_way.ends(true),
            Err(error) if concerns_one_request(error) => {}
            Err(_) => under_way.ends(false),
        }
        result
    }

    /// Returns the present conclusion.
    pub(super) fn evidence(&self) -> Evidence {
        let mut state = self.lock();
        let stuck = state.stuck();
        let was_stuck = mem::replace(&mut state.was_stuck, stuck.is_some());
        match (stuck, state.last_success) {
            (Some(age), _) if was_stuck => Evidence::StillStuck(age),
            (Some(age), _) => Evidence::Stuck(age),
            _ if state.failures > state.refuted => Evidence::Failed(Failures(state.failures)),
            (_, Some(at)) if at.elapsed() < PROVEN_FOR => Evidence::Proven,
            _ => Evidence::Nothing,
        }
    }

    /// Returns the age of the oldest change that is under way.
    pub(super) fn oldest(&self) -> Option<Duration> {
        self.lock().oldest().map(|begun| begun.elapsed())
    }

    /// Notes that every kind of change succeeded after these failures.
    pub(super) fn refute(&self, Failures(failures): Failures) {
        let mut state = self.lock();
        state.refuted = state.refuted.max(failures);
    }

    /// Notes that a commit succeeded which began at `time`. Changes from before that are still under way wait for something
    /// that is gone, such as a server that was replaced: they hold up no further change.
    pub(super) fn disregard_begun_before(&self, time: Instant) {
        let mut state = self.lock();
        state.under_way.retain(|_number, begun| *begun >= time);
        state.last_success = Some(Instant::now());
        drop(state);
        self.ended.notify_all();
    }

    /// Waits for a place and takes it.
    fn begin(&self) -> Result<UnderWay<'_>, StoreError> {
        let deadline = Instant::now() + self.patience;
        let mut state = self.lock();
        loop {
            if let Some(age) = state.stuck() {
                let age = age.as_secs();
                return Err(unavailable(format!("an earlier change has not finished after {age} seconds")));
            }
            if state.under_way.len() < self.places {
                let number = state.next;
                state.next += 1;
                state.under_way.insert(number, Instant::now());
                return Ok(UnderWay { record: self, number });
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                state.failures += 1;
                return Err(unavailable("too many changes are under way"));
            }
            state.waiting += 1;
            state = self.ended.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
            state.waiting -= 1;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A change that is under way until this is dropped.
#[derive(Debug)]
struct UnderWay<'a> {
    record: &'a WriteRecord,
    number: u64,
}

impl UnderWay<'_> {
    fn ends(&self, is_ok: bool) {
        let mut state = self.record.lock();
        match is_ok {
            true => state.last_success = Some(Instant::now()),
            false => state.failures += 1,
        }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let mut state = self.record.lock();
        state.under_way.remove(&self.number);
        // A wake-up costs a system call, and hardly ever does a change wait.
        if state.waiting > 0 {
            drop(state);
            self.record.ended.notify_one();
        }
    }
}

/// How long a change that succeeded proves that the next one would. With checks a second apart, an idle instance makes a
/// change of its own every other second.
const PROVEN_FOR: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use diesel::result::{DatabaseErrorKind, Error};
    use portcullis_domain::account::InsertUserError;
    use portcullis_domain::ports::StoreErrorKind;

    use super::super::error::store_error;
    use super::*;

    /// More places than the tests need.
    fn record() -> WriteRecord {
        WriteRecord::new(8, PATIENCE)
    }

    const PATIENCE: Duration = Duration::from_millis(100);

    fn failure(kind: DatabaseErrorKind, message: &str) -> StoreError {
        store_error(Error::DatabaseError(kind, Box::new(message.to_owned())))
    }

    fn has_failed(record: &WriteRecord) -> bool {
        matches!(record.evidence(), Evidence::Failed(_))
    }

    #[test]
    fn a_failure_counts_until_it_is_refuted() {
        let record = record();
        assert_eq!(record.evidence(), Evidence::Nothing);
        record.keep(|| Ok::<_, StoreError>(())).unwrap();
        assert_eq!(record.evidence(), Evidence::Proven);
        let fails = || record.keep(|| Err::<(), _>(failure(DatabaseErrorKind::ReadOnlyTransaction, "x")));
        fails().unwrap_err();
        assert!(has_failed(&record));
        record.keep(|| Ok::<_, StoreError>(())).unwrap();
        let Evidence::Failed(failures) = record.evidence() else { panic!("a success of another kind") };
        fails().unwrap_err();
        record.refute(failures);
        assert!(has_failed(&record), "another one came meanwhile");
        let Evidence::Failed(failures) = record.evidence() else { panic!("another one came meanwhile") };
        record.refute(failures);
        assert_eq!(record.evidence(), Evidence::Proven);
    }

    #[test]
    fn a_success_proves_nothing_after_a_while() {
        let record = record();
        record.keep(|| Ok::<_, StoreError>(())).unwrap();
        *record.lock().last_success.as_mut().unwrap() -= PROVEN_FOR;
        assert_eq!(record.evidence(), Evidence::Nothing);
    }

    #[test]
    fn refusals_of_one_request_are_ignored() {
        let record = record();
        record.keep(|| Ok::<_, StoreError>(())).unwrap();
        record.keep(|| Err::<(), _>(InsertUserError::UsernameTaken)).unwrap_err();
        for error in [
            failure(DatabaseErrorKind::UniqueViolation, "x"),
            failure(DatabaseErrorKind::SerializationFailure, "x"),
            failure(DatabaseErrorKind::Unknown, "deadlock detected"),
        ] {
            record.keep(|| Err::<(), _>(InsertUserError::from(error))).unwrap_err();
        }
        assert_eq!(record.evidence(), Evidence::Proven);
        let locked = failure(DatabaseErrorKind::Unknown, "canceling statement due to lock timeout");
        record.keep(|| Err::<(), _>(InsertUserError::from(locked))).unwrap_err();
        assert!(has_failed(&record));
    }

    #[test]
    fn a_change_under_way_for_too_long_is_reported() {
        let record = record();
        let change = record.begin().unwrap();
        assert_eq!(record.evidence(), Evidence::Nothing);
        grow_old(&record, &change);
        assert!(matches!(record.evidence(), Evidence::Stuck(age) if age > LONGEST_WRITE));
        assert!(matches!(record.evidence(), Evidence::StillStuck(age) if age > LONGEST_WRITE));
        assert!(record.oldest().is_some_and(|age| age > LONGEST_WRITE));
        drop(change);
        assert_eq!((record.evidence(), record.oldest()), (Evidence::Nothing, None));
    }

    fn grow_old(record: &WriteRecord, change: &UnderWay<'_>) {
        *record.lock().under_way.get_mut(&change.number).unwrap() -= LONGEST_WRITE;
    }

    #[test]
    fn changes_fail_at_once_while_an_old_one_is_under_way() {
        let record = record();
        let stuck = record.begin().unwrap();
        record.keep(|| Ok::<_, StoreError>(())).unwrap();
        grow_old(&record, &stuck);
        let refused = record.keep(|| -> Result<(), StoreError> { panic!("must not run") }).unwrap_err();
        assert_eq!(refused.kind(), StoreErrorKind::Unavailable);
        assert_eq!(record.lock().failures, 0, "it says nothing new about changes");
        drop(stuck);
        record.keep(|| Ok::<_, StoreError>(())).unwrap();
    }

    #[test]
    fn a_commit_that_succeeds_disregards_older_changes() {
        let record = WriteRecord::new(1, PATIENCE);
        let stuck = record.begin().unwrap();
        grow_old(&record, &stuck);
        record.disregard_begun_before(Instant::now());
        assert_eq!((record.evidence(), record.oldest()), (Evidence::Proven, None));
        let next = record.begin().unwrap();
        drop(stuck);
        assert!(record.oldest().is_some(), "the end of the old one frees no place twice");
        drop(next);
    }

    #[test]
    fn a_change_waits_for_a_place_with_patience() {
        let record = WriteRecord::new(1, PATIENCE);
        let first = record.begin().unwrap();
        let asked = Instant::now();
        let refused = record.begin().unwrap_err();
        assert_eq!(refused.kind(), StoreErrorKind::Unavailable);
        assert!(asked.elapsed() >= PATIENCE);
        assert!(has_failed(&record), "so many changes wait only if the database is in trouble");

        let record = WriteRecord::new(1, Duration::from_secs(30));
        let second = record.begin().unwrap();
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| record.begin().map(drop));
            while record.lock().waiting == 0 {
                std::thread::yield_now();
            }
            drop(second);
            waits.join().unwrap().unwrap();
        });
        drop(first);
    }
}
