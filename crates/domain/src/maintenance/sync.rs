use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use crate::AuthService;
use crate::maintenance::MARK_AGE;
use crate::ports::StoreError;
use crate::session::{CLOCK_TOLERANCE, SessionChanges};
use crate::time::{UnixTime, micros};

/// How far this instance's clock and the store's may lie apart before it gives out no more tokens.
pub const MAX_SKEW: Duration = Duration::from_mins(1);

impl AuthService {
    /// Asks the store what the other instances did and what time it is, so that [`Self::authenticate`] need not ask.
    /// To be called a few times a second. Until the first success no token is given out or judged good; after five
    /// seconds without one, every token is looked up.
    ///
    /// # Errors
    /// [`SyncError`]; the next call catches up.
    pub fn sync(&self) -> Result<(), SyncError> {
        if self.revocations.is_unsynced() {
            // Until the clock is right nobody knows from when on to look; and one that is off at the start may have
            // been set back, so that what expired could revive.
            self.set_clock()?;
        }
        let (now, uptime) = (self.ports.clock.now(), self.ports.clock.uptime());
        match self.revocations.begin(now, uptime) {
            Some(look) => {
                let news = self.ask(look.since(), self.revocations.most())?;
                self.revocations.merge(&look, news);
            }
            None => self.revocations.invalidate_all(self.ask(now, 0)?.valid_from),
        }
        self.trusted_time()?;
        Ok(())
    }

    /// Sets the clock by the store's: all that a command needs that gives out no token.
    ///
    /// # Errors
    /// [`SyncError`]; at [`SyncError::Clock`] it is set, as far as that goes.
    pub fn set_clock(&self) -> Result<(), SyncError> {
        self.ask(self.ports.clock.now(), 0)?;
        self.trusted_time()?;
        Ok(())
    }

    fn ask(&self, since: UnixTime, most: u32) -> Result<SessionChanges, StoreError> {
        let asked = self.ports.clock.uptime();
        let news = self.ports.store.session_changes(since, most)?;
        let ahead = news.time.map_or(0, |mut time| {
            let was_set_back = time.now + CLOCK_TOLERANCE < time.high_water_mark;
            if self.skew.ahead().is_none() && was_set_back {
                // Somebody worked on after the newest mark: what expired until then stays so.
                time.high_water_mark = time.high_water_mark + MARK_AGE;
            }
            self.ports.clock.align(time, asked);
            self.ports.clock.now().as_micros().saturating_sub(time.now.as_micros())
        });
        self.skew.set(ahead);
        Ok(news)
    }

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

    fn set(&self, ahead: i64) {
        self.0.store(ahead.max(Self::UNKNOWN + 1), Ordering::Relaxed);
    }

    fn ahead(&self) -> Option<i64> {
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

/// This instance cannot work as it should.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// The clock is too far off: no token is given out, and none is accepted before it was right once. After that, this
    /// instance is up to date all the same.
    #[error(transparent)]
    Clock(#[from] ClockNotTrusted),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
