use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::id::SessionId;
use crate::maintenance::Maintenance;
use crate::ports::StoreError;
use crate::session::revocation::Missing;
use crate::time::UnixTime;

/// What this instance noticed, since it started, of committed changes that the store lost: after a failover to a standby
/// that lagged behind, or if a backup was restored while the instance ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LostChanges {
    /// How often the store went back to an earlier state.
    pub times: u64,
    /// By how much the store's high-water mark decreased the last time. Zero if it had not risen since the lost changes.
    pub by: Duration,
    /// How many sessions this instance ended again, because the store had lost their end.
    pub ended_again: u64,
    /// How many genuine refresh tokens were newer than the store. A client may present a token repeatedly.
    pub tokens_ahead: u64,
}

impl Maintenance {
    /// Returns what this instance noticed of lost changes.
    pub fn lost_changes(&self) -> LostChanges {
        self.core.losses.lock().noticed
    }

    /// Ends some of the sessions again whose end the store lost, and returns whether none is left. Call it about once a
    /// second, not on the thread of [`Maintenance::sync`]: after a failover, commits may take long.
    ///
    /// # Errors
    /// [`StoreError`]; the next call makes up for it.
    pub fn end_lost_sessions(&self) -> Result<bool, StoreError> {
        let Some((sessions, valid_from)) = self.core.losses.next_batch() else { return Ok(true) };
        // Another instance may have refreshed the session since the store lost the end: it ends now.
        let now = self.core.ports.clock.now();
        let ended = self.core.ports.store.end_again(&sessions, now, valid_from)?;
        self.core.mark_ended(ended.iter().copied(), now);
        Ok(self.core.losses.restored(&sessions, valid_from, ended.len()))
    }
}

/// Notices that the store lost changes, and keeps what must be restored.
#[derive(Debug, Default)]
pub(crate) struct Losses(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The newest high-water mark that the store returned.
    high_water_mark: UnixTime,
    noticed: LostChanges,
    /// Whether the loss that is being restored was counted.
    is_counted: bool,
    /// The sessions that ended, as this instance knows, and that the store did not return.
    to_end: BTreeSet<SessionId>,
    /// The time that sessions are valid from, as this instance knows, if the store has an earlier one.
    valid_from: UnixTime,
}

impl Losses {
    /// Returns the newest high-water mark so far: no later call may return an earlier one.
    pub(crate) fn high_water_mark(&self) -> UnixTime {
        self.lock().high_water_mark
    }

    /// Takes the high-water mark that a call returned which began when it was `before`. Returns whether the store went back.
    pub(crate) fn note_high_water_mark(&self, before: UnixTime, mark: UnixTime) -> bool {
        let mut state = self.lock();
        if mark >= before {
            state.high_water_mark = state.high_water_mark.max(mark);
            return false;
        }
        state.high_water_mark = mark;
        state.count();
        state.noticed.by = before.since(mark);
        true
    }

    /// Takes what a poll did not return.
    pub(crate) fn note_missing(&self, missing: Missing) {
        let mut state = self.lock();
        state.to_end.extend(missing.ended);
        if let Some(valid_from) = missing.valid_from {
            state.valid_from = state.valid_from.max(valid_from);
            state.count();
        }
        state.settle();
    }

    /// Counts a genuine refresh token that is newer than the store.
    pub(crate) fn count_token_ahead(&self) {
        self.lock().noticed.tokens_ahead += 1;
    }

    fn next_batch(&self) -> Option<(Vec<SessionId>, UnixTime)> {
        let state = self.lock();
        let sessions: Vec<_> = state.to_end.iter().take(BATCH).copied().collect();
        (!state.is_settled()).then_some((sessions, state.valid_from))
    }

    /// Removes what was restored, and returns whether nothing is left.
    fn restored(&self, sessions: &[SessionId], valid_from: UnixTime, ended: usize) -> bool {
        let mut state = self.lock();
        for session in sessions {
            state.to_end.remove(session);
        }
        if state.valid_from <= valid_from {
            state.valid_from = UnixTime::EPOCH;
        }
        if ended > 0 {
            // The proof that changes were lost, if the high-water mark had not risen since they were made.
            state.count();
            state.noticed.ended_again += ended as u64;
        }
        state.settle();
        state.is_settled()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Counts a loss once, until everything is restored.
    fn count(&mut self) {
        if !self.is_counted {
            self.is_counted = true;
            self.noticed.times += 1;
            self.noticed.by = Duration::ZERO;
        }
    }

    fn settle(&mut self) {
        if self.is_settled() {
            self.is_counted = false;
        }
    }

    fn is_settled(&self) -> bool {
        self.to_end.is_empty() && self.valid_from == UnixTime::EPOCH
    }
}

/// How many sessions are ended again in one transaction: few enough to delay no other call.
const BATCH: usize = 500;
