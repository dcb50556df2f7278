//! The sessions that ended within one access lifetime, so that a token is refused without asking the store.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use crate::id::SessionId;
use crate::session::{MAX_ACCESS_LIFETIME, News};
use crate::time::UnixTime;

/// How long an ended session is remembered, here and in the store: as long as any access token may last, and two
/// minutes for clocks that differ and for changes that commit late.
pub const REMEMBERED: Duration = Duration::from_secs(MAX_ACCESS_LIFETIME.as_secs() + 120);

/// How far back each look at the store goes. A transaction may commit well after the time it writes down, so the
/// looks overlap instead of keeping a cursor; no transaction may last this long.
pub const OVERLAP: Duration = Duration::from_mins(1);

/// After how long without a good look this instance no longer trusts its memory. It counts from the start of the
/// look, and by a clock that nobody sets.
pub const STALE_AFTER: Duration = Duration::from_secs(5);

/// How many ended sessions are remembered, which is some 50 MB. Where more end within [`REMEMBERED`], the store is
/// asked for every token until they are fewer.
pub const CAPACITY: u32 = 1_000_000;

/// How long the store is not asked for more than fits.
const PAUSE_WHEN_FULL: Duration = Duration::from_secs(30);

/// How often what is too old to matter is forgotten.
const FORGET_EVERY: Duration = Duration::from_mins(1);

/// This instance's memory of ended sessions.
///
/// Its own go in at once ([`Revocations::insert`], after the store committed and before the answer leaves); those
/// of other instances come with each look at the store ([`Revocations::merge`]).
#[derive(Debug)]
pub struct Revocations {
    capacity: u32,
    memory: RwLock<Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    ended: HashMap<SessionId, UnixTime>,
    floor: UnixTime,
    last: LastLook,
    /// Up to when what is too old was forgotten.
    forgotten: UnixTime,
}

/// How the last look at the store went, by two clocks: the stores' and one that nobody sets.
#[derive(Clone, Copy, Debug, Default)]
enum LastLook {
    /// There was none yet.
    #[default]
    Never,
    /// It brought everything there was.
    Good { started: UnixTime, uptime: Duration },
    /// There was more than fits.
    TooMuch { uptime: Duration },
}

/// What is known of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
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
    /// A memory that knows nothing and may grow to this many sessions: every session is [`Standing::NotReady`] until
    /// the first [`Self::merge`].
    pub fn with_capacity(capacity: u32) -> Self {
        Self { capacity, memory: RwLock::default() }
    }

    /// How many ended sessions to ask the store for at most: one more than fit.
    pub const fn most(&self) -> u32 {
        self.capacity.saturating_add(1)
    }

    /// Remembers sessions that this instance just ended.
    pub fn insert(
        &self,
        sessions: impl IntoIterator<Item = SessionId>,
        ended_at: UnixTime,
        uptime: Duration,
    ) {
        let mut memory = self.write();
        memory.ended.extend(sessions.into_iter().map(|session| (session, ended_at)));
        memory.keep_within(self.capacity, uptime);
    }

    /// Takes every session opened before `floor` for ended, as this instance just told the store.
    pub fn raise_floor(&self, floor: UnixTime) {
        let mut memory = self.write();
        memory.floor = memory.floor.max(floor);
    }

    /// From when on the store must be asked for ended sessions at `now`: everything remembered the first time,
    /// the [`OVERLAP`] while looks succeed. `None` while there is more than fits: not yet again.
    pub fn look_from(&self, now: UnixTime, uptime: Duration) -> Option<UnixTime> {
        match self.read().last {
            LastLook::Good { started, .. } => Some((started.min(now) - OVERLAP).max(now - REMEMBERED)),
            LastLook::TooMuch { uptime: then } if uptime < then + PAUSE_WHEN_FULL => None,
            LastLook::Never | LastLook::TooMuch { .. } => Some(now - REMEMBERED),
        }
    }

    /// Takes in what the store said to a look that started at `started`, and forgets what is too old to matter.
    pub fn merge(&self, news: News, started: UnixTime, uptime: Duration) {
        let fits = news.ended.len() <= self.capacity as usize;
        // Most of it was told before: what is new goes in under a short lock.
        let known = self.read();
        let new: Vec<_> =
            news.ended.into_iter().filter(|(session, _)| !known.ended.contains_key(session)).collect();
        drop(known);
        let mut memory = self.write();
        memory.floor = memory.floor.max(news.floor);
        if started >= memory.forgotten + FORGET_EVERY {
            memory.forgotten = started;
            memory.ended.retain(|_, ended_at| *ended_at >= started - REMEMBERED);
        }
        if fits {
            memory.last = LastLook::Good { started, uptime };
            memory.ended.extend(new);
            memory.keep_within(self.capacity, uptime);
        } else {
            memory.last = LastLook::TooMuch { uptime };
        }
    }

    /// What is known of a session that was opened at `opened_at`.
    pub fn standing(&self, session: SessionId, opened_at: UnixTime, uptime: Duration) -> Standing {
        let memory = self.read();
        match memory.last {
            _ if memory.ended.contains_key(&session) => Standing::Ended,
            _ if opened_at < memory.floor => Standing::Ended,
            LastLook::Never => Standing::NotReady,
            LastLook::Good { uptime: then, .. } if uptime <= then + STALE_AFTER => Standing::Live,
            LastLook::Good { .. } | LastLook::TooMuch { .. } => Standing::Unknown,
        }
    }

    /// Whether the last good look is recent enough to answer without the store.
    pub fn is_fresh(&self, uptime: Duration) -> bool {
        matches!(self.read().last, LastLook::Good { uptime: then, .. } if uptime <= then + STALE_AFTER)
    }

    /// Whether the store was never asked.
    pub fn knows_nothing(&self) -> bool {
        matches!(self.read().last, LastLook::Never)
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
            if !matches!(self.last, LastLook::Never) {
                self.last = LastLook::TooMuch { uptime };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const T: UnixTime = UnixTime::from_secs(10_000);
    const UP: Duration = Duration::from_secs(50);

    fn sid(n: u128) -> SessionId {
        SessionId::from_uuid(Uuid::from_u128(n))
    }

    fn ended(sessions: impl IntoIterator<Item = u128>, at: UnixTime) -> News {
        News { ended: sessions.into_iter().map(|n| (sid(n), at)).collect(), ..News::default() }
    }

    #[test]
    fn nothing_is_live_before_the_first_look_or_long_after_the_last() {
        let revocations = Revocations::default();
        assert_eq!(revocations.standing(sid(1), T, UP), Standing::NotReady);
        assert_eq!(revocations.look_from(T, UP), Some(T - REMEMBERED));

        revocations.merge(News::default(), T, UP);
        assert_eq!(revocations.standing(sid(1), T, UP + STALE_AFTER), Standing::Live);
        let later = STALE_AFTER + Duration::from_micros(1);
        assert_eq!(revocations.standing(sid(1), T, UP + later), Standing::Unknown);
        let from = revocations.look_from(T + later, UP + later);
        assert_eq!(from, Some(T - OVERLAP), "nothing between the looks is missed");
        let much_later = REMEMBERED * 2;
        let from = revocations.look_from(T + much_later, UP + much_later);
        assert_eq!(from, Some(T + REMEMBERED), "nor is asked for what no longer matters");
    }

    #[test]
    fn a_clock_that_stands_still_does_not_keep_the_memory_fresh() {
        let revocations = Revocations::default();
        revocations.merge(News::default(), T, UP);
        assert!(revocations.is_fresh(UP + STALE_AFTER));
        assert!(!revocations.is_fresh(UP + STALE_AFTER + Duration::from_micros(1)));
    }

    #[test]
    fn ended_sessions_are_remembered_while_a_token_may_live() {
        let revocations = Revocations::default();
        revocations.insert([sid(1)], T, UP);
        assert_eq!(revocations.standing(sid(1), T, UP), Standing::Ended, "at once, before any look");

        let (then, up) = (T + REMEMBERED, UP + REMEMBERED);
        revocations.merge(ended([2], T), then, up);
        assert_eq!(revocations.standing(sid(2), T, up), Standing::Ended);

        let (later, up) = (then + FORGET_EVERY, up + FORGET_EVERY);
        revocations.merge(News::default(), later, up);
        assert_eq!(revocations.standing(sid(2), T, up), Standing::Live, "every token of it has expired");
        assert_eq!(revocations.read().ended.len(), 0);
    }

    #[test]
    fn tokens_from_before_the_floor_are_ended() {
        let revocations = Revocations::default();
        revocations.merge(News { floor: T, ..News::default() }, T, UP);
        revocations.merge(News::default(), T, UP);
        assert_eq!(revocations.standing(sid(1), T - Duration::from_secs(1), UP), Standing::Ended);
        assert_eq!(revocations.standing(sid(1), T, UP), Standing::Live);
    }

    #[test]
    fn what_does_not_fit_makes_the_memory_stale_until_it_does() {
        let revocations = Revocations::with_capacity(2);
        assert_eq!(revocations.most(), 3);
        revocations.merge(ended([1, 2], T), T, UP);
        assert_eq!(revocations.standing(sid(9), T, UP), Standing::Live);

        revocations.insert([sid(3)], T, UP);
        for session in [1, 3, 9] {
            assert_eq!(revocations.standing(sid(session), T, UP), Standing::Unknown);
        }
        revocations.insert([sid(4)], T, UP);
        assert_eq!(revocations.standing(sid(4), T, UP), Standing::Ended, "what is known is still of use");
        assert!(!revocations.is_fresh(UP));
        assert_eq!(revocations.look_from(T, UP), None, "the store is not asked at once again");

        let pause = PAUSE_WHEN_FULL;
        assert_eq!(revocations.look_from(T + pause, UP + pause), Some(T + pause - REMEMBERED));
        revocations.merge(ended([1, 2, 3], T), T + pause, UP + pause);
        assert_eq!(revocations.standing(sid(1), T, UP + pause), Standing::Unknown, "still too many");

        revocations.merge(ended([3], T), T + pause * 2, UP + pause * 2);
        for session in [3, 4] {
            assert_eq!(revocations.standing(sid(session), T, UP + pause * 2), Standing::Ended);
        }
        assert_eq!(revocations.standing(sid(9), T, UP + pause * 2), Standing::Live);
    }
}
