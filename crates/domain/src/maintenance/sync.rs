use crate::maintenance::Maintenance;
use crate::maintenance::{ClockNotTrusted, MARK_AGE};
use crate::ports::StoreError;
use crate::session::{CLOCK_TOLERANCE, SessionChanges};
use crate::time::UnixTime;

impl Maintenance {
    /// Asks the store what the other instances did and what time it is, so that [`AuthService::authenticate`](crate::AuthService::authenticate) need not ask.
    /// To be called a few times a second. Until the first success no token is given out or judged good; after five
    /// seconds without one, every token is looked up.
    ///
    /// # Errors
    /// [`SyncError`]; the next call catches up.
    pub fn sync(&self) -> Result<(), SyncError> {
        if self.core.revocations.is_unsynced() {
            // Until the clock is right nobody knows from when on to look; and one that is off at the start may have
            // been set back, so that what expired could revive.
            self.set_clock()?;
        }
        let (now, uptime) = (self.core.ports.clock.now(), self.core.ports.clock.uptime());
        match self.core.revocations.begin(now, uptime) {
            Some(look) => {
                let news = self.ask(look.since(), self.core.revocations.most())?;
                self.core.revocations.merge(&look, news);
            }
            None => self.core.revocations.invalidate_all(self.ask(now, 0)?.valid_from),
        }
        self.core.trusted_time()?;
        Ok(())
    }

    /// Sets the clock by the store's: all that a command needs that gives out no token.
    ///
    /// # Errors
    /// [`SyncError`]; at [`SyncError::Clock`] it is set, as far as that goes.
    pub fn set_clock(&self) -> Result<(), SyncError> {
        self.ask(self.core.ports.clock.now(), 0)?;
        self.core.trusted_time()?;
        Ok(())
    }

    fn ask(&self, since: UnixTime, most: u32) -> Result<SessionChanges, StoreError> {
        let asked = self.core.ports.clock.uptime();
        let news = self.core.ports.store.session_changes(since, most)?;
        let ahead = news.time.map_or(0, |mut time| {
            let was_set_back = time.now + CLOCK_TOLERANCE < time.high_water_mark;
            if self.core.skew.ahead().is_none() && was_set_back {
                // Somebody worked on after the newest mark: what expired until then stays so.
                time.high_water_mark = time.high_water_mark + MARK_AGE;
            }
            self.core.ports.clock.align(time, asked);
            self.core.ports.clock.now().as_micros().saturating_sub(time.now.as_micros())
        });
        self.core.skew.set(ahead);
        Ok(news)
    }
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
