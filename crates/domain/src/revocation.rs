//! The sessions that ended within one access lifetime, so that a token is refused without asking the store.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use crate::id::SessionId;
use crate::session::{EndedSessions, MAX_ACCESS_LIFETIME};
use crate::time::UnixTime;

/// How long an ended session is remembered, here and in the store: as long as any access token may last, and two
/// minutes for clocks that differ and for changes that commit late.
pub const REMEMBERED: Duration = Duration::from_secs(MAX_ACCESS_LIFETIME.as_secs() + 120);

/// How far back each look at the store goes. A transaction may commit well after the time it writes down, so the
/// looks overlap instead of keeping a cursor; no statement may last this long.
pub const OVERLAP: Duration = Duration::from_mins(1);

/// After how long without a good look this instance no longer trusts its memory.
pub const STALE_AFTER: Duration = Duration::from_secs(5);

/// This instance's memory of ended sessions.
///
/// Its own go in at once ([`Revocations::insert`], after the store committed and before the answer leaves); those
/// of other instances come with each look at the store ([`Revocations::merge`]).
#[derive(Debug, Default)]
pub struct Revocations {
    memory: RwLock<Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    ended: HashMap<SessionId, UnixTime>,
    floor: UnixTime,
    /// The start of the last good look.
    looked_at: Option<UnixTime>,
}

/// What is known of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It had not ended when the store was last asked, a moment ago.
    Live,
    /// It ended.
    Ended,
    /// The store was not asked lately.
    Unknown,
}

impl Revocations {
    /// A memory that knows nothing: every session is [`Standing::Unknown`] until the first [`Self::merge`].
    pub fn new() -> Self {
        Self::default()
    }

    /// Remembers sessions that this instance just ended.
    pub fn insert(&self, sessions: impl IntoIterator<Item = SessionId>, ended_at: UnixTime) {
        let mut memory = self.memory.write().unwrap_or_else(PoisonError::into_inner);
        memory.ended.extend(sessions.into_iter().map(|session| (session, ended_at)));
    }

    /// From when on the store must be asked for ended sessions at `now`: everything remembered the first time,
    /// the [`OVERLAP`] while looks succeed.
    pub fn look_from(&self, now: UnixTime) -> UnixTime {
        let memory = self.memory.read().unwrap_or_else(PoisonError::into_inner);
        match memory.looked_at {
            Some(last) => last.min(now) - OVERLAP,
            None => now - REMEMBERED,
        }
    }

    /// Takes in what the store said to a look that started at `started`, and forgets what is too old to matter.
    pub fn merge(&self, news: EndedSessions, started: UnixTime) {
        let mut memory = self.memory.write().unwrap_or_else(PoisonError::into_inner);
        memory.ended.extend(news.ended);
        memory.ended.retain(|_, ended_at| *ended_at >= started - REMEMBERED);
        memory.floor = memory.floor.max(news.floor);
        memory.looked_at = memory.looked_at.max(Some(started));
    }

    /// What is known of a session whose token was issued at `issued_at`.
    pub fn standing(&self, session: SessionId, issued_at: UnixTime, now: UnixTime) -> Standing {
        let memory = self.memory.read().unwrap_or_else(PoisonError::into_inner);
        match memory.looked_at {
            _ if memory.ended.contains_key(&session) => Standing::Ended,
            _ if issued_at < memory.floor => Standing::Ended,
            Some(last) if now <= last + STALE_AFTER => Standing::Live,
            _ => Standing::Unknown,
        }
    }

    /// Whether the last good look is recent enough to answer without the store.
    pub fn is_fresh(&self, now: UnixTime) -> bool {
        let memory = self.memory.read().unwrap_or_else(PoisonError::into_inner);
        memory.looked_at.is_some_and(|last| now <= last + STALE_AFTER)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn sid(n: u128) -> SessionId {
        SessionId::from_uuid(Uuid::from_u128(n))
    }

    #[test]
    fn nothing_is_live_before_the_first_look_or_long_after_the_last() {
        let revocations = Revocations::new();
        let t = UnixTime::from_secs(10_000);
        assert_eq!(revocations.standing(sid(1), t, t), Standing::Unknown);
        assert_eq!(revocations.look_from(t), t - REMEMBERED);

        revocations.merge(EndedSessions::default(), t);
        assert_eq!(revocations.standing(sid(1), t, t + STALE_AFTER), Standing::Live);
        let later = t + STALE_AFTER + Duration::from_micros(1);
        assert_eq!(revocations.standing(sid(1), t, later), Standing::Unknown);
        assert_eq!(revocations.look_from(later), t - OVERLAP, "nothing between the looks is missed");
    }

    #[test]
    fn ended_sessions_are_remembered_while_a_token_may_live() {
        let revocations = Revocations::new();
        let t = UnixTime::from_secs(10_000);
        revocations.insert([sid(1)], t);
        assert_eq!(revocations.standing(sid(1), t, t), Standing::Ended, "at once, before any look");

        revocations
            .merge(EndedSessions { ended: vec![(sid(2), t)], ..EndedSessions::default() }, t + REMEMBERED);
        assert_eq!(revocations.standing(sid(2), t, t + REMEMBERED), Standing::Ended);

        let later = t + REMEMBERED + Duration::from_secs(1);
        revocations.merge(EndedSessions::default(), later);
        assert_eq!(revocations.standing(sid(2), t, later), Standing::Live, "every token of it has expired");
    }

    #[test]
    fn tokens_from_before_the_floor_are_ended() {
        let revocations = Revocations::new();
        let t = UnixTime::from_secs(10_000);
        revocations.merge(EndedSessions { ended: vec![], floor: t }, t);
        revocations.merge(EndedSessions::default(), t);
        assert_eq!(revocations.standing(sid(1), t - Duration::from_secs(1), t), Standing::Ended);
        assert_eq!(revocations.standing(sid(1), t, t), Standing::Live);
    }
}
