use std::num::NonZeroU32;

use crate::client::ClientInfo;
use crate::id::{SessionId, UserId};
use crate::session::{
    CurrentGeneration, Generation, NewSession, ReuseCheck, RotateOutcome, RotateRequest, SessionGrant,
};
use crate::time::UnixTime;

/// A session as a store keeps it, and the rules that every store follows: an adapter calls these methods, or mirrors
/// one of them in a query.
///
/// Several methods take `valid_from`, the [time](crate::session::SessionChanges::valid_from) that an administrator
/// ended all earlier sessions at.
///
/// ```
/// use portcullis_domain::session::StoredSession;
/// use portcullis_domain::time::UnixTime;
/// use portcullis_testkit::{SeededRandom, fixtures};
///
/// let random = SeededRandom::new(1);
/// let user = fixtures::new_user("alice", &random).id;
/// let session = StoredSession::new(&fixtures::new_session(user, fixtures::NOW, &random));
/// assert!(session.is_live(fixtures::NOW, UnixTime::EPOCH));
/// assert!(!session.is_live(session.expires_at, UnixTime::EPOCH));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSession {
    /// The ID of the session.
    pub id: SessionId,
    /// The user of the session.
    pub user: UserId,
    /// When the session was opened.
    pub opened_at: UnixTime,
    /// The newest generation of its refresh tokens.
    pub newest: CurrentGeneration,
    /// When the session expires unless it is refreshed before.
    pub expires_at: UnixTime,
    /// When the session expires regardless of refreshes.
    pub absolute_expires_at: UnixTime,
    /// When the session was ended; `None` if it was not.
    pub ended_at: Option<UnixTime>,
    /// The client that opened the session.
    pub client: ClientInfo,
}

impl StoredSession {
    /// Returns what a store keeps of a session that it opens.
    pub fn new(session: &NewSession) -> Self {
        Self {
            id: session.id,
            user: session.user,
            opened_at: session.opened_at,
            newest: CurrentGeneration { generation: Generation::FIRST, at: session.opened_at },
            expires_at: session.expires_at,
            absolute_expires_at: session.absolute_expires_at,
            ended_at: None,
            client: session.client.clone(),
        }
    }

    /// Returns whether the session can still be ended: it was neither ended nor opened before `valid_from`. An expired
    /// session can, because it may be live by the clock of another instance.
    pub fn can_end(&self, valid_from: UnixTime) -> bool {
        self.ended_at.is_none() && self.opened_at >= valid_from
    }

    /// Returns whether the session is live: it [can end](Self::can_end) and has not expired.
    pub fn is_live(&self, now: UnixTime, valid_from: UnixTime) -> bool {
        self.can_end(valid_from) && now < self.expires_at
    }

    /// Returns whether a purge deletes the session: it has been over since before `over_before`. `valid_from` ends a
    /// session at the time `valid_from` itself.
    pub fn is_over(&self, over_before: UnixTime, valid_from: UnixTime) -> bool {
        let is_invalidated = self.opened_at < valid_from && valid_from < over_before;
        self.ended_at.unwrap_or(self.expires_at) < over_before || is_invalidated
    }

    /// Applies a presented refresh token: rotates the session, ends it if the token was reused, or changes nothing.
    pub fn rotate(&mut self, request: &RotateRequest, valid_from: UnixTime) -> RotateOutcome {
        if !self.is_live(request.now, valid_from) {
            return RotateOutcome::Gone;
        }
        match ReuseCheck::of(request.generation, self.newest, request.now, request.grace) {
            ReuseCheck::Current => {
                let generation = self.newest.generation.next();
                self.newest = CurrentGeneration { generation, at: request.now };
                self.expires_at = self.absolute_expires_at.min(request.now + request.idle);
            }
            ReuseCheck::Repeated => {}
            ReuseCheck::Ahead => return RotateOutcome::Ahead,
            ReuseCheck::Reused => {
                self.ended_at = Some(request.now);
                return RotateOutcome::Reused;
            }
        }
        RotateOutcome::Rotated(SessionGrant {
            session: self.id,
            user: self.user,
            generation: self.newest.generation,
            opened_at: self.opened_at,
            expires_at: self.expires_at,
        })
    }

    /// Ends the session if it can end. With an `owner`, the session of another user is unknown.
    pub fn end(&mut self, owner: Option<UserId>, at: UnixTime, valid_from: UnixTime) -> EndOutcome {
        if owner.is_some_and(|owner| owner != self.user) {
            return EndOutcome::Unknown;
        }
        if !self.can_end(valid_from) {
            return EndOutcome::AlreadyEnded;
        }
        self.ended_at = Some(at);
        EndOutcome::Ended
    }

    /// Returns which of a user's `live` sessions end, so that the user has at most `max_per_user` with a new one: the
    /// ones opened first, and of those opened at the same time the ones with the smallest IDs.
    pub fn evicted<'a>(
        live: impl IntoIterator<Item = &'a Self>,
        max_per_user: NonZeroU32,
    ) -> impl Iterator<Item = SessionId> {
        let mut live: Vec<_> = live.into_iter().map(|session| (session.opened_at, session.id)).collect();
        live.sort_unstable();
        let others = max_per_user.get() as usize - 1;
        live.truncate(live.len().saturating_sub(others));
        live.into_iter().map(|(_, id)| id)
    }

    /// Returns the session without what only stores need.
    pub fn to_session(&self) -> Session {
        Session {
            id: self.id,
            user: self.user,
            opened_at: self.opened_at,
            newest: self.newest,
            expires_at: self.expires_at,
            client: self.client.clone(),
        }
    }
}

/// A live session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// Whose it is.
    pub user: UserId,
    /// When it was opened.
    pub opened_at: UnixTime,
    /// The newest of its refresh tokens, and since when: the last use of the session that the store knows of.
    pub newest: CurrentGeneration,
    /// When it ends unless it is refreshed before.
    pub expires_at: UnixTime,
    /// Who opened it.
    pub client: ClientInfo,
}

/// What became of a session that was to be ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndOutcome {
    /// This call ended it.
    Ended,
    /// It was over before.
    AlreadyEnded,
    /// There is no such session, or it is somebody else's, or it has been over for so long that it is forgotten.
    Unknown,
}

/// Returns the time that sessions must be opened at or after, once all earlier sessions are ended `at` a time. `current`
/// is that time so far, and `newest` the newest opening of a session, which a clock further ahead may have written.
///
/// It is a whole second, since tokens carry their session's opening in whole seconds, and it never decreases.
pub fn next_valid_from(current: UnixTime, at: UnixTime, newest: Option<UnixTime>) -> UnixTime {
    current.max(newest.unwrap_or(at).max(at).next_second())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use uuid::Uuid;

    use super::*;

    const OPENED: UnixTime = UnixTime::from_secs(1_000);
    const EXPIRES: UnixTime = UnixTime::from_secs(2_000);
    const USER: UserId = UserId::from_uuid(Uuid::from_u128(1));

    fn stored() -> StoredSession {
        StoredSession {
            id: SessionId::from_uuid(Uuid::from_u128(2)),
            user: USER,
            opened_at: OPENED,
            newest: CurrentGeneration { generation: Generation::FIRST, at: OPENED },
            expires_at: EXPIRES,
            absolute_expires_at: UnixTime::from_secs(5_000),
            ended_at: None,
            client: ClientInfo::default(),
        }
    }

    fn at(secs: i64) -> UnixTime {
        UnixTime::from_secs(secs)
    }

    #[test]
    fn sessions_are_live_until_ended_expired_or_invalidated() {
        let session = stored();
        assert!(session.is_live(at(1_999), OPENED));
        assert!(!session.is_live(EXPIRES, OPENED), "expired");
        assert!(!session.is_live(OPENED, at(1_001)), "invalidated");
        assert!(session.can_end(OPENED), "an expired session can end");
        let ended = StoredSession { ended_at: Some(at(1_500)), ..session };
        assert!(!ended.is_live(OPENED, OPENED) && !ended.can_end(OPENED));
    }

    #[test]
    fn purge_deletes_what_was_over_before() {
        let expired = stored();
        assert!(!expired.is_over(EXPIRES, UnixTime::EPOCH));
        assert!(expired.is_over(at(2_001), UnixTime::EPOCH));
        let ended = StoredSession { ended_at: Some(at(1_500)), ..stored() };
        assert!(!ended.is_over(at(1_500), UnixTime::EPOCH));
        assert!(ended.is_over(at(1_501), UnixTime::EPOCH));
        assert!(!expired.is_over(at(1_200), at(1_200)), "invalidated at that time");
        assert!(expired.is_over(at(1_201), at(1_200)), "invalidated before");
        assert!(!expired.is_over(at(1_201), OPENED), "not invalidated");
    }

    #[test]
    fn rotations_extend_the_session_up_to_its_absolute_end() {
        let request = |generation, secs| RotateRequest {
            session: stored().id,
            generation: Generation::new(generation),
            now: at(secs),
            grace: Duration::from_secs(30),
            idle: Duration::from_secs(4_000),
        };
        let mut session = stored();
        for (generation, secs, expires_at) in [(0, 1_000, 5_000), (0, 1_030, 5_000)] {
            let rotated = session.rotate(&request(generation, secs), OPENED);
            let expected = SessionGrant {
                session: session.id,
                user: USER,
                generation: Generation::new(1),
                opened_at: OPENED,
                expires_at: at(expires_at),
            };
            assert_eq!(rotated, RotateOutcome::Rotated(expected), "{secs}");
        }
        assert_eq!(session.rotate(&request(2, 1_040), OPENED), RotateOutcome::Ahead);
        assert_eq!(session.rotate(&request(0, 1_031), OPENED), RotateOutcome::Reused);
        assert_eq!(session.ended_at, Some(at(1_031)));
        assert_eq!(session.rotate(&request(1, 1_032), OPENED), RotateOutcome::Gone);
    }

    #[test]
    fn ends_are_for_the_owner_and_happen_once() {
        let mut session = stored();
        let other = UserId::from_uuid(Uuid::from_u128(9));
        assert_eq!(session.end(Some(other), at(1_100), OPENED), EndOutcome::Unknown);
        assert_eq!(session.end(Some(USER), at(1_100), at(1_001)), EndOutcome::AlreadyEnded);
        assert_eq!(session.end(Some(USER), at(3_000), OPENED), EndOutcome::Ended, "expired");
        assert_eq!(session.end(None, at(3_001), OPENED), EndOutcome::AlreadyEnded);
        assert_eq!(session.ended_at, Some(at(3_000)));
    }

    #[test]
    fn evictions_begin_with_the_earliest_opening() {
        let opened = [(7, 3), (1, 5), (9, 3), (4, 8)].map(|(id, secs)| StoredSession {
            id: SessionId::from_uuid(Uuid::from_u128(id)),
            opened_at: at(secs),
            ..stored()
        });
        let evicted = |max| {
            let evicted = StoredSession::evicted(&opened, NonZeroU32::new(max).unwrap());
            evicted.map(|id| id.as_uuid().as_u128()).collect::<Vec<_>>()
        };
        assert_eq!(evicted(5), []);
        assert_eq!(evicted(4), [7]);
        assert_eq!(evicted(2), [7, 9, 1]);
        assert_eq!(evicted(1), [7, 9, 1, 4]);
    }

    #[test]
    fn valid_from_is_the_next_second_and_never_decreases() {
        let micros = UnixTime::from_micros(1_000_000_001);
        assert_eq!(next_valid_from(UnixTime::EPOCH, micros, None), at(1_001));
        assert_eq!(next_valid_from(UnixTime::EPOCH, at(1_000), Some(at(900))), at(1_001));
        assert_eq!(next_valid_from(UnixTime::EPOCH, at(1_000), Some(at(1_040))), at(1_041));
        assert_eq!(next_valid_from(at(2_000), at(1_000), None), at(2_000));
    }
}
