use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use crate::core::Core;
use crate::time::{UnixTime, micros};

/// How far this instance's clock and the store's may lie apart before it gives out no more tokens.
pub const MAX_SKEW: Duration = Duration::from_mins(1);

impl Core {
    /// The time, for what is to be good by the clocks of all instances: new tokens.
    pub(crate) fn trusted_time(&self) -> Result<UnixTime, ClockNotTrusted> {
        match self.skew.ahead() {
            None => Err(ClockNotTrusted::NotSet),
            Some(ahead) if ahead > micros(MAX_SKEW) => Err(ClockNotTrusted::Ahead(seconds(ahead))),
            Some(ahead) if ahead < -micros(MAX_SKEW) => Err(ClockNotTrusted::Behind(seconds(ahead))),
            Some(_) => Ok(self.ports.clock.now()),
        }
    }
}

/// How far this instance's clock is ahead of the store's, in microseconds.
#[derive(Debug)]
pub(crate) struct Skew(AtomicI64);

impl Skew {
    const UNKNOWN: i64 = i64::MIN;

    pub(crate) fn set(&self, ahead: i64) {
        self.0.store(ahead.max(Self::UNKNOWN + 1), Ordering::Relaxed);
    }

    pub(crate) fn ahead(&self) -> Option<i64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|ahead| *ahead != Self::UNKNOWN)
    }
}

impl Default for Skew {
    fn default() -> Self {
        Self(AtomicI64::new(Self::UNKNOWN))
    }
}

const fn seconds(micros: i64) -> u64 {
    micros.unsigned_abs() / 1_000_000
}

/// The clock cannot be relied on for new tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClockNotTrusted {
    /// The store was not asked yet what time it is.
    #[error("the clock is not set by the store yet")]
    NotSet,
    /// By so many seconds.
    #[error(
        "the clock is {0} s ahead of the database's: the database's was set back, or the newest time that an \
         instance left in the database lies in the future"
    )]
    Ahead(u64),
    /// By so many seconds.
    #[error("the clock is {0} s behind the database's, which was set forward")]
    Behind(u64),
}
