//! The sessions that ended within one access lifetime, so that a token is refused without asking the store.

use std::collections::{HashMap, HashSet};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use crate::id::SessionId;
use crate::session::{Cursor, MAX_ACCESS_LIFETIME, SessionChanges};
use crate::time::UnixTime;

/// How long an ended session is remembered, here and in the store: as long as any access token may last, and two
/// minutes for clocks that differ and for ends that wait for a lock.
pub const REVOCATION_RETENTION: Duration = Duration::from_secs(MAX_ACCESS_LIFETIME.as_secs() + 120);

/// After how long without a successful poll this instance no longer trusts its memory. It counts from the start of
/// the poll, by a clock that nobody sets.
pub const STALE_AFTER: Duration = Duration::from_secs(5);

/// How many ended sessions are remembered, which is some 13 MB: 67 ends a second. If more end within
/// [`REVOCATION_RETENTION`], the store is asked for every token until they are fewer.
pub(crate) const CAPACITY: u32 = 250_000;

/// How long the store is not asked for more than fits.
const PAUSE_WHEN_FULL: Duration = Duration::from_secs(30);

/// How often what is too old to matter is forgotten.
const FORGET_EVERY: Duration = Duration::from_mins(1);

/// This instance's memory of ended sessions.
///
/// Sessions that this instance ends are added after the store committed and before the response is sent; those that
/// other instances end come with each poll of the store ([`Revocations::merge`]).
#[derive(Debug)]
pub struct Revocations {
    capacity: u32,
    memory: RwLock<Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    /// The ended sessions, each with the time that it is remembered from: when it ended, or when a cursor brought it if that
    /// is later.
    ended: HashMap<SessionId, UnixTime>,
    valid_from: UnixTime,
    last: LastPoll,
    /// Where the next poll continues; `None` if it loads everything by time.
    cursor: Option<Cursor>,
    /// Up to when what is too old was forgotten.
    forgotten: UnixTime,
    /// How often everything was given up, because it did not fit.
    given_up: u64,
    /// The store's clock at the last poll.
    store_time: Option<UnixTime>,
}

/// The outcome of the last poll of the store, with its uptime.
#[derive(Clone, Copy, Debug, Default)]
enum LastPoll {
    /// There was none yet.
    #[default]
    Never,
    /// It returned every ended session.
    Good { uptime: Duration },
    /// It returned more sessions than fit.
    TooMuch { uptime: Duration },
}

/// A poll of the store: what it asks for, and what its result will mean.
#[derive(Debug)]
pub struct PollWindow {
    after: Option<Cursor>,
    /// From when on anything matters.
    since: UnixTime,
    started: UnixTime,
    uptime: Duration,
    given_up: u64,
    valid_from: UnixTime,
}

/// What this instance knows and a poll should have returned, but did not.
#[derive(Debug, Default)]
pub struct Missing {
    /// The sessions that ended. Those whose rows are deleted are among them, and if the poll returned more than fits, also
    /// some that the store knows.
    pub ended: Vec<SessionId>,
    /// The time that sessions are valid from, if the poll returned an earlier one.
    pub valid_from: Option<UnixTime>,
}

impl PollWindow {
    /// Returns the cursor that the store is asked to continue from.
    pub const fn after(&self) -> Option<Cursor> {
        self.after
    }

    /// Returns the time from which on ended sessions matter, if the store does not continue from the cursor.
    pub const fn since(&self) -> UnixTime {
        self.since
    }
}

/// What is known of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionStatus {
    /// It had not ended when the store was last asked, a moment ago.
    Live,
    /// It ended.
    Ended,
    /// The store was not asked lately, or knows more than fits in here.
    Unknown,
    /// The store was never asked.
    NotReady,
}

impl Default for Revocations {
    fn default() -> Self {
        Self::with_capacity(CAPACITY)
    }
}

impl Revocations {
    /// A memory that knows nothing and may grow to this many sessions: every session is [`SessionStatus::NotReady`] until
    /// the first [`Self::merge`].
    pub(crate) fn with_capacity(capacity: u32) -> Self {
        Self { capacity, memory: RwLock::default() }
    }

    /// How many ended sessions to ask the store for at most: one more than fit.
    pub const fn most(&self) -> u32 {
        self.capacity.saturating_add(1)
    }

    /// Remembers sessions that this instance just ended.
    pub(crate) fn insert(
        &self,
        sessions: impl IntoIterator<Item = SessionId>,
        ended_at: UnixTime,
        uptime: Duration,
    ) {
        let mut memory = self.write();
        memory.ended.extend(sessions.into_iter().map(|session| (session, ended_at)));
        memory.keep_within(self.capacity, uptime);
    }

    /// Takes every session opened before `valid_from` for ended, as this instance just told the store.
    pub(crate) fn invalidate_all(&self, valid_from: UnixTime) {
        let mut memory = self.write();
        memory.valid_from = memory.valid_from.max(valid_from);
    }

    /// Begins a poll at `now`, which continues from the cursor of the last one. Without a cursor, it goes back as far as
    /// any token may live. Returns `None` during the pause after a poll that returned more than fits.
    pub fn begin(&self, now: UnixTime, uptime: Duration) -> Option<PollWindow> {
        let memory = self.read();
        if let LastPoll::TooMuch { uptime: then } = memory.last
            && uptime < then + PAUSE_WHEN_FULL
        {
            return None;
        }
        // The store's clock may have been set back, and instances that start now write down its times.
        let since = now.min(memory.store_time.unwrap_or(now)) - REVOCATION_RETENTION;
        Some(PollWindow {
            after: memory.cursor,
            since,
            started: now,
            uptime,
            given_up: memory.given_up,
            valid_from: memory.valid_from,
        })
    }

    /// Adds what the store returned to a poll, and deletes what is too old to matter. Returns what the poll should have
    /// returned, but did not.
    ///
    /// A load by time misses no end that matters: a token that is valid now was issued at most [`MAX_ACCESS_LIFETIME`] ago,
    /// before its session's row was locked by the statement that ended it. What the transaction does after that, however
    /// long it takes to commit, issues no token. So the end's time is no older than the token, except by the wait for the
    /// lock and by how much clocks differ. Between loads, the cursor brings every end, and no time decides anything.
    pub fn merge(&self, window: &PollWindow, changes: SessionChanges) -> Missing {
        let PollWindow { started, uptime, .. } = *window;
        let SessionChanges { ended, continues, next, valid_from, time } = changes;
        let fits = ended.len() <= self.capacity as usize;
        // An end that a cursor brings is new to this instance, so its time may be written by a clock that is far behind.
        let remembered_from = |ended_at: UnixTime| if continues { ended_at.max(started) } else { ended_at };
        // Ends can be returned again: the new ones go in under a short lock.
        let known = self.read();
        let missing = Missing {
            ended: if continues || !fits { Vec::new() } else { known.missing_in(&ended, window.since) },
            valid_from: Some(window.valid_from).filter(|known_from| valid_from < *known_from),
        };
        let is_new = |(session, ended_at): &(_, UnixTime)| {
            known.ended.get(session).is_none_or(|known_from| known_from < ended_at)
        };
        let new: Vec<_> = ended.into_iter().filter(is_new).collect();
        drop(known);
        let mut memory = self.write();
        memory.valid_from = memory.valid_from.max(valid_from);
        memory.store_time = time.map(|time| time.now).or(memory.store_time);
        // What was asked for may be too little by now: everything else was given up meanwhile.
        if window.given_up != memory.given_up {
            return missing;
        }
        if !fits {
            memory.last = LastPoll::TooMuch { uptime };
            memory.cursor = None;
            return missing;
        }
        if started >= memory.forgotten + FORGET_EVERY {
            memory.forgotten = started;
            memory.ended.retain(|_, from| *from >= window.since);
        }
        memory.ended.extend(new.into_iter().map(|(session, ended_at)| (session, remembered_from(ended_at))));
        memory.cursor = next;
        // Last, so that a memory without the new sessions never counts as up to date.
        memory.last = LastPoll::Good { uptime };
        memory.keep_within(self.capacity, uptime);
        missing
    }

    /// What is known of a session that was opened at `opened_at`.
    pub fn status(&self, session: SessionId, opened_at: UnixTime, uptime: Duration) -> SessionStatus {
        let memory = self.read();
        match memory.last {
            _ if memory.ended.contains_key(&session) => SessionStatus::Ended,
            _ if opened_at < memory.valid_from => SessionStatus::Ended,
            LastPoll::Never => SessionStatus::NotReady,
            LastPoll::Good { uptime: then } if uptime <= then + STALE_AFTER => SessionStatus::Live,
            LastPoll::Good { .. } | LastPoll::TooMuch { .. } => SessionStatus::Unknown,
        }
    }

    /// Returns whether a session is known to have ended.
    pub(crate) fn is_ended(&self, session: SessionId) -> bool {
        self.read().ended.contains_key(&session)
    }

    /// Lets the next poll load everything by time.
    pub(crate) fn forget_cursor(&self) {
        self.write().cursor = None;
    }

    /// Returns whether the last successful poll is recent enough to answer without the store.
    pub(crate) fn is_fresh(&self, uptime: Duration) -> bool {
        matches!(self.read().last, LastPoll::Good { uptime: then } if uptime <= then + STALE_AFTER)
    }

    /// Whether the store was never asked.
    pub(crate) fn is_unsynced(&self) -> bool {
        matches!(self.read().last, LastPoll::Never)
    }

    fn read(&self) -> RwLockReadGuard<'_, Memory> {
        self.memory.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Memory> {
        self.memory.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    /// Returns the sessions that ended at `since` or later and are not among those that a load by time returned.
    fn missing_in(&self, loaded: &[(SessionId, UnixTime)], since: UnixTime) -> Vec<SessionId> {
        let loaded: HashSet<_> = loaded.iter().map(|(session, _)| *session).collect();
        let remembered = self.ended.iter().filter(|(_, from)| **from >= since).map(|(session, _)| *session);
        remembered.filter(|session| !loaded.contains(session)).collect()
    }

    /// Gives up what does not fit: all of it, for what is not complete proves nothing.
    fn keep_within(&mut self, capacity: u32, uptime: Duration) {
        if self.ended.len() > capacity as usize {
            self.ended = HashMap::new();
            self.given_up += 1;
            self.cursor = None;
            if !matches!(self.last, LastPoll::Never) {
                self.last = LastPoll::TooMuch { uptime };
            }
        }
    }
}

#[cfg(test)]
mod tests;
