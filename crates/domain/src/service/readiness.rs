use super::AuthService;
use crate::ports::StoreStatus;
use crate::session::CLOCK_TOLERANCE;
use crate::time::UnixTime;

impl AuthService {
    /// Asks everything the service needs whether it works.
    pub fn readiness(&self) -> Readiness {
        let store = self.ports.health.check();
        // Read after the store: the store's time is then no later than ours but for skew.
        let now = self.ports.clock.now();
        let revocations = Check::of(self.revocations.is_fresh(self.ports.clock.uptime()));
        match store {
            Ok(StoreStatus { migrated, time }) => Readiness {
                database: Check::Ok,
                migrations: Check::of(migrated),
                revocations,
                clock: Check::of(time.is_none_or(|time| is_close(time.now, now))),
            },
            Err(_) => Readiness {
                database: Check::Failing,
                migrations: Check::Failing,
                revocations,
                clock: Check::Failing,
            },
        }
    }
}

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
    /// This instance knows which sessions ended.
    pub revocations: Check,
    /// Its clock agrees with the database's.
    pub clock: Check,
}

impl Readiness {
    /// Whether every check passed.
    pub fn is_ready(&self) -> bool {
        [self.database, self.migrations, self.revocations, self.clock].iter().all(|check| *check == Check::Ok)
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
