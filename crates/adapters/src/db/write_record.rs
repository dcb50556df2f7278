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
    /// The changes that are under way, by their numbers.
    under_way: BTreeMap<u64, Change>,
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

/// A change that is under way.
#[derive(Debug)]
struct Change {
    begun: Instant,
    /// When its commit was sent. Everything before has a limit of its own, though several waits for locks may add up.
    committing: Option<Instant>,
    /// Whether it waits for a server that was replaced. It still holds a connection.
    is_disregarded: bool,
}

impl State {
    fn regarded(&self) -> impl Iterator<Item = &Change> {
        self.under_way.values().filter(|change| !change.is_disregarded)
    }

    /// When the oldest change that is under way began. Numbers are given in the order of time.
    fn oldest(&self) -> Option<Instant> {
        self.regarded().next().map(|change| change.begun)
    }

    /// How long the oldest commit has taken, if that is too long.
    fn hanging_commit(&self) -> Option<Duration> {
        let oldest = self.regarded().filter_map(|change| change.committing).min();
        oldest.map(|begun| begun.elapsed()).filter(|age| *age > LONGEST_WRITE)
    }

    /// Whether another change may begin. Disregarded ones hold connections too, so they leave less room.
    fn has_room(&self, places: usize) -> bool {
        let regarded = self.regarded().count();
        let disregarded = self.under_way.len() - regarded;
        regarded < places.saturating_sub(disregarded).max(1)
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
    /// Fails as unavailable, without running the change, if the commit of an earlier one has taken longer than
    /// [`LONGEST_WRITE`], or if no place gets free in time.
    pub(super) fn keep<T, E: StdError + From<StoreError> + 'static>(
        &self,
        change: impl FnOnce(&UnderWay<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let under_way = self.begin()?;
        let result = change(&under_way);
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
        for change in state.under_way.values_mut().filter(|change| change.begun < time) {
            change.is_disregarded = true;
        }
        state.last_success = Some(Instant::now());
        drop(state);
        self.ended.notify_all();
    }

    /// Waits for a place and takes it.
    fn begin(&self) -> Result<UnderWay<'_>, StoreError> {
        let deadline = Instant::now() + self.patience;
        let mut state = self.lock();
        loop {
            if let Some(age) = state.hanging_commit() {
                let age = age.as_secs();
                return Err(unavailable(format!("an earlier change has not finished after {age} seconds")));
            }
            if state.has_room(self.places) {
                let number = state.next;
                state.next += 1;
                let change = Change { begun: Instant::now(), committing: None, is_disregarded: false };
                state.under_way.insert(number, change);
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
pub(super) struct UnderWay<'a> {
    record: &'a WriteRecord,
    number: u64,
}

impl UnderWay<'_> {
    /// Notes that the commit is sent next, so that only the server decides how long the change takes.
    pub(super) fn commits(&self) {
        if let Some(change) = self.record.lock().under_way.get_mut(&self.number) {
            change.committing = Some(Instant::now());
        }
    }

    fn ends(&self, is_ok: bool) {
        let mut state = self.record.lock();
        // What another server did says nothing about the one in use.
        if state.under_way.get(&self.number).is_none_or(|change| change.is_disregarded) {
            return;
        }
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
        record.keep(|_| Ok::<_, StoreError>(())).unwrap();
        assert_eq!(record.evidence(), Evidence::Proven);
        let fails = || record.keep(|_| Err::<(), _>(failure(DatabaseErrorKind::ReadOnlyTransaction, "x")));
        fails().unwrap_err();
        assert!(has_failed(&record));
        record.keep(|_| Ok::<_, StoreError>(())).unwrap();
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
        record.keep(|_| Ok::<_, StoreError>(())).unwrap();
        *record.lock().last_success.as_mut().unwrap() -= PROVEN_FOR;
        assert_eq!(record.evidence(), Evidence::Nothing);
    }

    #[test]
    fn refusals_of_one_request_are_ignored() {
        let record = record();
        record.keep(|_| Ok::<_, StoreError>(())).unwrap();
        record.keep(|_| Err::<(), _>(InsertUserError::UsernameTaken)).unwrap_err();
        for error in [
            failure(DatabaseErrorKind::UniqueViolation, "x"),
            failure(DatabaseErrorKind::SerializationFailure, "x"),
            failure(DatabaseErrorKind::Unknown, "deadlock detected"),
        ] {
            record.keep(|_| Err::<(), _>(InsertUserError::from(error))).unwrap_err();
        }
        assert_eq!(record.evidence(), Evidence::Proven);
        let locked = failure(DatabaseErrorKind::Unknown, "canceling statement due to lock timeout");
        record.keep(|_| Err::<(), _>(InsertUserError::from(locked))).unwrap_err();
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
        let mut state = record.lock();
        let change = state.under_way.get_mut(&change.number).unwrap();
        change.begun -= LONGEST_WRITE;
        change.committing = change.committing.map(|at| at - LONGEST_WRITE);
    }

    #[test]
    fn long_waits_before_a_commit_refuse_no_other_change() {
        let record = record();
        let contended = record.begin().unwrap();
        grow_old(&record, &contended);
        contended.commits();
        record.keep(|_| Ok::<_, StoreError>(())).unwrap();
        assert!(matches!(record.evidence(), Evidence::Stuck(_)), "readiness counts from the beginning");
    }

    #[test]
    fn changes_fail_at_once_while_an_old_one_is_under_way() {
        let record = record();
        let stuck = record.begin().unwrap();
        stuck.commits();
        record.keep(|_| Ok::<_, StoreError>(())).unwrap();
        grow_old(&record, &stuck);
        let refused = record.keep(|_| -> Result<(), StoreError> { panic!("must not run") }).unwrap_err();
        assert_eq!(refused.kind(), StoreErrorKind::Unavailable);
        assert_eq!(record.lock().failures, 0, "it says nothing new about changes");
        drop(stuck);
        record.keep(|_| Ok::<_, StoreError>(())).unwrap();
    }

    #[test]
    fn a_commit_that_succeeds_disregards_older_changes() {
        let record = WriteRecord::new(3, PATIENCE);
        let stuck = record.begin().unwrap();
        stuck.commits();
        grow_old(&record, &stuck);
        record.disregard_begun_before(Instant::now());
        assert_eq!((record.evidence(), record.oldest()), (Evidence::Proven, None));
        let [next, last] = [(); 2].map(|()| record.begin().unwrap());
        record.begin().expect_err("the old one still holds a connection");
        let proven = record.lock().last_success;
        stuck.ends(true);
        assert_eq!(record.lock().last_success, proven, "another server did that");
        drop(stuck);
        record.begin().unwrap();
        drop((next, last));
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
