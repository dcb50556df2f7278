use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::maintenance::Maintenance;
use crate::ports::{StoreError, StoreStatus};
use crate::session::CLOCK_TOLERANCE;
use crate::time::UnixTime;

impl Maintenance {
    /// Asks everything the service needs whether it works.
    pub fn readiness(&self) -> Readiness {
        let store = self.core.ports.store.check();
        // Read after the store: the store's time is then no later than ours but for skew.
        let now = self.core.ports.clock.now();
        let (revocations, writes) = (self.revocations(), self.writes());
        match store {
            Ok(StoreStatus { migrated, time }) => Readiness {
                database: Check::Ok,
                migrations: Check::of(migrated),
                writes,
                revocations,
                clock: Check::of(time.is_none_or(|time| is_close(time.now, now))),
            },
            Err(_) => Readiness {
                database: Check::Failing,
                migrations: Check::Failing,
                writes,
                revocations,
                clock: Check::Failing,
            },
        }
    }

    /// Returns whether changes are committed: the last [checks](Maintenance::check_writes) passed, and no change has been
    /// under way for longer than [`LONGEST_WRITE`]. Never blocks.
    pub fn writes(&self) -> Check {
        match self.core.ports.store.oldest_write() {
            Some(age) if age > LONGEST_WRITE => Check::Failing,
            _ => self.core.writes.at(self.core.ports.clock.uptime()),
        }
    }

    /// Returns whether this instance knows which sessions ended. Never blocks.
    pub fn revocations(&self) -> Check {
        Check::of(self.core.revocations.is_fresh(self.core.ports.clock.uptime()))
    }

    /// Checks whether the store commits changes, and returns the outcome that [`Maintenance::readiness`] reports from now
    /// on. Call it about once a second: readiness fails until the first call, and if none returns for
    /// [`WRITES_STALE_AFTER`].
    ///
    /// # Errors
    /// [`StoreError`] if changes fail now.
    pub fn check_writes(&self) -> Result<Check, StoreError> {
        let outcome = self.core.ports.store.check_writes();
        let uptime = self.core.ports.clock.uptime();
        self.core.writes.note(outcome.is_ok(), uptime);
        outcome.map(|()| self.core.writes.at(uptime))
    }
}

/// The outcomes of the checks of the store's changes.
#[derive(Debug, Default)]
pub(crate) struct Writes(Mutex<LastWrites>);

#[derive(Clone, Copy, Debug, Default)]
struct LastWrites {
    /// When the last check ended.
    checked: Option<Duration>,
    /// When the last check that failed ended.
    failed: Option<Duration>,
}

impl Writes {
    fn note(&self, is_ok: bool, uptime: Duration) {
        let mut last = self.lock();
        last.checked = Some(uptime);
        if !is_ok {
            last.failed = Some(uptime);
        }
    }

    /// Returns the check that readiness reports at a time.
    fn at(&self, uptime: Duration) -> Check {
        let LastWrites { checked, failed } = *self.lock();
        let is_younger = |time: Duration, than: Duration| uptime.saturating_sub(time) < than;
        let is_fresh = checked.is_some_and(|checked| is_younger(checked, WRITES_STALE_AFTER));
        let is_settled = failed.is_none_or(|failed| !is_younger(failed, WRITES_SETTLE_WITHIN));
        Check::of(is_fresh && is_settled)
    }

    fn lock(&self) -> MutexGuard<'_, LastWrites> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long a change may be under way before readiness fails. Every wait of a change has a shorter limit, except that for a
/// disk, and that of a commit for another machine that keeps a copy.
pub const LONGEST_WRITE: Duration = Duration::from_secs(5);

/// The time without a finished check after which readiness reports that changes fail. A check takes five seconds at most
/// and starts a second after the previous one ended; only a delayed commit takes longer.
pub const WRITES_STALE_AFTER: Duration = Duration::from_secs(7);

/// How long no check may fail before readiness reports that changes succeed again. A balancer would otherwise send
/// requests to an instance whose database keeps failing and recovering.
pub const WRITES_SETTLE_WITHIN: Duration = Duration::from_secs(3);

fn is_close(a: UnixTime, b: UnixTime) -> bool {
    a.since(b).max(b.since(a)) <= CLOCK_TOLERANCE
}

/// Whether an instance can serve, check by check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// The database answers.
    pub database: Check,
    /// Its schema is the one this build was made for.
    pub migrations: Check,
    /// The database commits changes.
    pub writes: Check,
    /// This instance knows which sessions ended.
    pub revocations: Check,
    /// Its clock agrees with the database's.
    pub clock: Check,
}

impl Readiness {
    /// Whether every check passed.
    pub fn is_ready(&self) -> bool {
        let checks = [self.database, self.migrations, self.writes, self.revocations, self.clock];
        checks.iter().all(|check| *check == Check::Ok)
    }
}

/// How one check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// Fine.
    Ok,
    /// Not fine, or not known.
    Failing,
}

impl Check {
    fn of(ok: bool) -> Self {
        match ok {
            true => Self::Ok,
            false => Self::Failing,
        }
    }
}
