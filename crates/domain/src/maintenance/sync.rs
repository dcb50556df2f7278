use crate::maintenance::{ClockNotTrusted, MARK_AGE, Maintenance};
use crate::ports::StoreError;
use crate::session::{CLOCK_TOLERANCE, Cursor, SessionChanges};
use crate::time::UnixTime;

impl Maintenance {
    /// Reads from the store which sessions other instances ended and what time it is, so that
    /// [`AuthService::authenticate`](crate::AuthService::authenticate) need not ask. Call it several times per second. No
    /// token is issued or accepted before the first success; after five seconds without one, every token is looked up.
    ///
    /// # Errors
    /// [`SyncError`]; the next call makes up for it.
    pub fn sync(&self) -> Result<(), SyncError> {
        if self.core.revocations.is_unsynced() {
            // The poll begins at a time of this clock; and a clock that is off at the start may have been set back, so
            // that expired sessions could revive.
            self.set_clock()?;
        }
        let (now, uptime) = (self.core.ports.clock.now(), self.core.ports.clock.uptime());
        match self.core.revocations.begin(now, uptime) {
            Some(window) => {
                let changes = self.poll(window.after(), window.since(), self.core.revocations.most())?;
                self.core.revocations.merge(&window, changes);
            }
            None => self.core.revocations.invalidate_all(self.poll(None, now, 0)?.valid_from),
        }
        self.core.trusted_time()?;
        Ok(())
    }

    /// Sets the clock by the store's. Callers that issue no token need nothing else of [`Self::sync`].
    ///
    /// # Errors
    /// [`SyncError`]; with [`SyncError::Clock`] the clock is set as far as possible.
    pub fn set_clock(&self) -> Result<(), SyncError> {
        self.poll(None, self.core.ports.clock.now(), 0)?;
        self.core.trusted_time()?;
        Ok(())
    }

    fn poll(&self, after: Option<Cursor>, since: UnixTime, most: u32) -> Result<SessionChanges, StoreError> {
        let asked = self.core.ports.clock.uptime();
        let changes = self.core.ports.store.session_changes(after, since, most)?;
        let ahead = changes.time.map_or(0, |mut time| {
            let was_set_back = time.now + CLOCK_TOLERANCE < time.high_water_mark;
            if self.core.skew.ahead().is_none() && was_set_back {
                // Instances may have worked on after the mark: sessions that expired until then stay expired.
                time.high_water_mark = time.high_water_mark + MARK_AGE;
            }
            self.core.ports.clock.align(time, asked);
            self.core.ports.clock.now().as_micros().saturating_sub(time.now.as_micros())
        });
        self.core.skew.set(ahead);
        Ok(changes)
    }
}

/// This instance is not in step with the store.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// The clock is too far off: no token is issued, and none is accepted before the clock was right once. Ended sessions
    /// are known nevertheless.
    #[error(transparent)]
    Clock(#[from] ClockNotTrusted),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
