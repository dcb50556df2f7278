use crate::maintenance::{ClockNotTrusted, MARK_AGE, Maintenance};
use crate::ports::StoreError;
use crate::session::revocation::PollWindow;
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
            Some(window) => self.load(&window)?,
            None => self.core.revocations.invalidate_all(self.poll(None, now, 0)?.changes.valid_from),
        }
        self.core.trusted_time()?;
        Ok(())
    }

    /// Loads the changes since the last poll. If the store went back to an earlier state meanwhile, loads all, to compare
    /// them with what this instance knows.
    fn load(&self, window: &PollWindow) -> Result<(), StoreError> {
        let most = self.core.revocations.most();
        let Polled { mut changes, went_back } = self.poll(window.after(), window.since(), most)?;
        if went_back && changes.continues {
            changes = self.poll(None, window.since(), most)?.changes;
        }
        self.core.losses.note_missing(self.core.revocations.merge(window, changes));
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

    fn poll(&self, after: Option<Cursor>, since: UnixTime, most: u32) -> Result<Polled, StoreError> {
        let asked = self.core.ports.clock.uptime();
        let mark_before = self.core.losses.high_water_mark();
        let changes = self.core.ports.store.session_changes(after, since, most)?;
        let mark = changes.time.map(|time| time.high_water_mark);
        let went_back = mark.is_some_and(|mark| self.core.losses.note_high_water_mark(mark_before, mark));
        if went_back {
            // Also if the load that follows fails.
            self.core.revocations.forget_cursor();
        }
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
        Ok(Polled { changes, went_back })
    }
}

struct Polled {
    changes: SessionChanges,
    /// Whether the high-water mark decreased.
    went_back: bool,
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
