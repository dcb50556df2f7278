//! The outcomes of this instance's recent changes, from which [`StoreHealth`](portcullis_domain::ports::StoreHealth)
//! concludes whether changes are committed.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::error::concerns_one_request;

/// The changes that are under way, and how those before them ended.
#[derive(Debug, Default)]
pub(super) struct WriteRecord(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// When each change that is under way began, by its number.
    under_way: BTreeMap<u64, Instant>,
    next: u64,
    last_success: Option<Instant>,
    /// How many changes failed, and how many of these a rehearsal has shown to be over.
    failures: u64,
    refuted: u64,
}

/// The conclusion about changes in general.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Evidence {
    /// A change has been under way for longer than [`LONGEST_WRITE`].
    Stuck(Duration),
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
    /// Runs a change and records how it ends. A panic counts as no change.
    pub(super) fn keep<T, E: StdError + 'static>(
        &self,
        change: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let under_way = self.begin();
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
        let state = self.lock();
        let oldest = state.under_way.values().min().map(Instant::elapsed);
        match (oldest, state.last_success) {
            (Some(age), _) if age > LONGEST_WRITE => Evidence::Stuck(age),
            _ if state.failures > state.refuted => Evidence::Failed(Failures(state.failures)),
            (_, Some(at)) if at.elapsed() < PROVEN_FOR => Evidence::Proven,
            _ => Evidence::Nothing,
        }
    }

    /// Notes that every kind of change succeeded after these failures.
    pub(super) fn refute(&self, Failures(failures): Failures) {
        let mut state = self.lock();
        state.refuted = state.refuted.max(failures);
    }

    fn begin(&self) -> UnderWay<'_> {
        let mut state = self.lock();
        let number = state.next;
        state.next += 1;
        state.under_way.insert(number, Instant::now());
        UnderWay { record: self, number }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A change that is under way until this is dropped.
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
        self.record.lock().under_way.remove(&self.number);
    }
}

/// How long a change may be under way before changes count as failing. Every wait of a change has a shorter limit, except
/// that of PostgreSQL's COMMIT for a synchronous standby and that for a disk.
const LONGEST_WRITE: Duration = Duration::from_secs(5);

/// How long a change that succeeded proves that the next one would. With checks a second apart, an idle instance makes a
/// change of its own every other second.
const PROVEN_FOR: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use diesel::result::{DatabaseErrorKind, Error};
    use portcullis_domain::account::InsertUserError;
    use portcullis_domain::ports::StoreError;

    use super::super::error::store_error;
    use super::*;

    fn failure(kind: DatabaseErrorKind, message: &str) -> StoreError {
        store_error(Error::DatabaseError(kind, Box::new(message.to_owned())))
    }

    fn has_failed(record: &WriteRecord) -> bool {
        matches!(record.evidence(), Evidence::Failed(_))
    }

    #[test]
    fn a_failure_counts_until_it_is_refuted() {
        let record = WriteRecord::default();
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
        let record = WriteRecord::default();
        record.keep(|| Ok::<_, StoreError>(())).unwrap();
        *record.lock().last_success.as_mut().unwrap() -= PROVEN_FOR;
        assert_eq!(record.evidence(), Evidence::Nothing);
    }

    #[test]
    fn refusals_of_one_request_are_ignored() {
        let record = WriteRecord::default();
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
        let record = WriteRecord::default();
        let change = record.begin();
        assert_eq!(record.evidence(), Evidence::Nothing);
        *record.lock().under_way.get_mut(&change.number).unwrap() -= LONGEST_WRITE;
        assert!(matches!(record.evidence(), Evidence::Stuck(age) if age > LONGEST_WRITE));
        drop(change);
        assert_eq!(record.evidence(), Evidence::Nothing);
    }
}
