//! The sessions that ended within one access lifetime, so that a token is refused without asking the store.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use crate::id::SessionId;
use crate::session::{CLOCK_TOLERANCE, MAX_ACCESS_LIFETIME, SessionChanges};
use crate::time::{StoreTime, UnixTime, micros};

/// How long an ended session is remembered, here and in the store: as long as any access token may last, and two
/// minutes for clocks that differ and for changes that commit late.
pub const REVOCATION_RETENTION: Duration = Duration::from_secs(MAX_ACCESS_LIFETIME.as_secs() + 120);

/// How far back each poll of the store goes. A transaction may commit well after the time it writes down, so the
/// polls overlap instead of keeping a cursor; no transaction may last this long.
pub const POLL_OVERLAP: Duration = Duration::from_mins(1);

/// After how long without a successful poll this instance no longer trusts its memory. It counts from the start of
/// the poll, by a clock that nobody sets.
pub const STALE_AFTER: Duration = Duration::from_secs(5);

/// How many ended sessions are remembered, which is some 13 MB: 67 ends a second. If more end within
/// [`REVOCATION_RETENTION`], the store is asked for every token until they are fewer.
pub(crate) const CAPACITY: u32 = 250_000;

/// How long the store is not asked for more than fits.
const PAUSE_WHEN_FULL: Duration = Duration::from_secs(30);

/// How long the polls allow for instances whose clocks are far from this one's, after this instance started and after
/// the store's clock was seen to be set: others follow it up to a minute later.
const WIDE_FOR: Duration = Duration::from_mins(2);

/// How often they then go back as far as anything is remembered.
const WIDE_EVERY: Duration = STALE_AFTER;

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
    ended: HashMap<SessionId, UnixTime>,
    valid_from: UnixTime,
    last: LastPoll,
    /// Up to when what is too old was forgotten.
    forgotten: UnixTime,
    /// How often everything was given up, because it did not fit.
    given_up: u64,
    clocks: Clocks,
}

/// How the last poll of the store ended, by two clocks: the store's and one that nobody sets.
#[derive(Clone, Copy, Debug, Default)]
enum LastPoll {
    /// There was none yet.
    #[default]
    Never,
    /// It returned every ended session.
    Good { started: UnixTime, uptime: Duration },
    /// It returned more sessions than fit.
    TooMuch { uptime: Duration },
}

/// What the polls showed of the store's clock, by which other instances write down when sessions end.
#[derive(Debug, Default)]
struct Clocks {
    /// What it showed at the last poll.
    store: Option<UnixTime>,
    /// By how many microseconds it was ahead of the uptime then.
    ahead: Option<i64>,
    /// Until this uptime, others may write down times far from this instance's.
    wide_until: Duration,
    /// The uptime of the last poll that went all the way back.
    wide_at: Duration,
}

/// A poll of the store: the time from which on it asks, and what its result will mean.
#[derive(Debug)]
pub struct PollWindow {
    since: UnixTime,
    /// From when on anything matters.
    all: UnixTime,
    started: UnixTime,
    uptime: Duration,
    given_up: u64,
}

impl PollWindow {
    /// From when on the store is to be asked for ended sessions.
    pub const fn since(&self) -> UnixTime {
        self.since
    }

    fn goes_all_the_way(&self) -> bool {
        self.since == self.all
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

    /// Begins a poll at `now`: back to everything remembered the first time, over the [`POLL_OVERLAP`] while polls succeed.
    /// Returns `None` during the pause after a poll that returned more than fits.
    pub fn begin(&self, now: UnixTime, uptime: Duration) -> Option<PollWindow> {
        let memory = self.read();
        let now_for_all = now.min(memory.clocks.store.unwrap_or(now));
        let all = now_for_all - REVOCATION_RETENTION;
        let since = match memory.last {
            LastPoll::Good { started, .. } if !memory.clocks.ask_for_all(uptime) => {
                all.max(started.min(now_for_all) - POLL_OVERLAP)
            }
            LastPoll::TooMuch { uptime: then } if uptime < then + PAUSE_WHEN_FULL => return None,
            LastPoll::Good { .. } | LastPoll::Never | LastPoll::TooMuch { .. } => all,
        };
        Some(PollWindow { since, all, started: now, uptime, given_up: memory.given_up })
    }

    /// Adds what the store returned to a poll, and deletes what is too old to matter.
    pub fn merge(&self, window: &PollWindow, changes: SessionChanges) {
        let PollWindow { started, uptime, .. } = *window;
        let fits = changes.ended.len() <= self.capacity as usize;
        // Most sessions are known from earlier polls: the new ones go in under a short lock.
        let known = self.read();
        let new: Vec<_> =
            changes.ended.into_iter().filter(|(session, _)| !known.ended.contains_key(session)).collect();
        drop(known);
        let mut memory = self.write();
        memory.valid_from = memory.valid_from.max(changes.valid_from);
        memory.clocks.note(window, changes.time);
        // What was asked for may be too little by now: everything else was given up meanwhile.
        if window.given_up != memory.given_up {
            return;
        }
        if !fits {
            memory.last = LastPoll::TooMuch { uptime };
            return;
        }
        if started >= memory.forgotten + FORGET_EVERY {
            memory.forgotten = started;
            memory.ended.retain(|_, ended_at| *ended_at >= window.all);
        }
        memory.ended.extend(new);
        // Last, so that a memory without the new sessions never counts as up to date.
        memory.last = LastPoll::Good { started, uptime };
        memory.keep_within(self.capacity, uptime);
    }

    /// What is known of a session that was opened at `opened_at`.
    pub fn status(&self, session: SessionId, opened_at: UnixTime, uptime: Duration) -> SessionStatus {
        let memory = self.read();
        match memory.last {
            _ if memory.ended.contains_key(&session) => SessionStatus::Ended,
            _ if opened_at < memory.valid_from => SessionStatus::Ended,
            LastPoll::Never => SessionStatus::NotReady,
            LastPoll::Good { uptime: then, .. } if uptime <= then + STALE_AFTER => SessionStatus::Live,
            LastPoll::Good { .. } | LastPoll::TooMuch { .. } => SessionStatus::Unknown,
        }
    }

    /// Returns whether the last successful poll is recent enough to answer without the store.
    pub(crate) fn is_fresh(&self, uptime: Duration) -> bool {
        matches!(self.read().last, LastPoll::Good { uptime: then, .. } if uptime <= then + STALE_AFTER)
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
    /// Gives up what does not fit: all of it, for what is not complete proves nothing.
    fn keep_within(&mut self, capacity: u32, uptime: Duration) {
        if self.ended.len() > capacity as usize {
            self.ended = HashMap::new();
            self.given_up += 1;
            if !matches!(self.last, LastPoll::Never) {
                self.last = LastPoll::TooMuch { uptime };
            }
        }
    }
}

impl Clocks {
    /// Whether it is time to go back as far as anything is remembered.
    fn ask_for_all(&self, uptime: Duration) -> bool {
        uptime < self.wide_until && uptime >= self.wide_at + WIDE_EVERY
    }

    fn note(&mut self, window: &PollWindow, store: Option<StoreTime>) {
        if window.goes_all_the_way() {
            self.wide_at = window.uptime;
        }
        let Some(StoreTime { now, .. }) = store else { return };
        let ahead = now.as_micros().saturating_sub(micros(window.uptime));
        let goes_on = self.ahead.is_some_and(|before| is_near(before, ahead));
        if !goes_on || !is_near(window.started.as_micros(), now.as_micros()) {
            self.wide_until = window.uptime + WIDE_FOR;
        }
        self.store = Some(now);
        self.ahead = Some(ahead);
    }
}

fn is_near(a: i64, b: i64) -> bool {
    a.saturating_sub(b).saturating_abs() <= micros(CLOCK_TOLERANCE)
}

#[cfg(test)]
mod tests;
