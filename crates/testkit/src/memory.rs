//! Stores in memory. They pass the same contract as the databases.

mod attempt_store;
mod audit_log;
mod session_store;
mod store_health;
mod user_store;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use portcullis_domain::account::{User, UserStatus};
use portcullis_domain::audit::SecurityEvent;
use portcullis_domain::id::{EventId, SessionId, UserId};
use portcullis_domain::ports::{StoreError, StoreErrorKind};
use portcullis_domain::session::{CurrentGeneration, Generation, NewSession, Session};
use portcullis_domain::throttle::{AccountKey, AttemptCounter, SuccessfulAttempt};
use portcullis_domain::time::{StoreTime, UnixTime};
use uuid::Uuid;

/// Users, sessions and events in memory, behind one lock: every method is a transaction.
#[derive(Debug, Default)]
pub struct MemoryStore {
    state: Mutex<State>,
}

/// What a [`MemoryStore`] held at some time.
#[derive(Clone, Debug)]
pub struct Backup(State);

#[derive(Clone, Debug, Default)]
struct State {
    users: HashMap<UserId, User>,
    sessions: BTreeMap<SessionId, StoredSession>,
    counters: HashMap<AccountKey, StoredCounter>,
    events: Vec<SecurityEvent>,
    /// The ids of the events.
    recorded: HashSet<EventId>,
    valid_from: UnixTime,
    /// What time its clock shows, if it has one.
    time: Option<UnixTime>,
    /// The newest mark that a sweep left.
    newest: UnixTime,
    /// Who sweeps, and until when nobody else does.
    purger: Option<(Uuid, UnixTime)>,
}

#[derive(Clone, Debug)]
struct StoredSession {
    opened: NewSession,
    newest: CurrentGeneration,
    expires_at: UnixTime,
    ended_at: Option<UnixTime>,
}

#[derive(Clone, Copy, Debug)]
struct StoredCounter {
    counter: AttemptCounter,
    /// Whose it is, where there is such a user.
    user: Option<UserId>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Every event recorded so far, in order.
    pub fn events(&self) -> Vec<SecurityEvent> {
        self.lock().events.clone()
    }

    /// Gives it a clock, or sets the one it has. A new store has none.
    pub fn set_time(&self, time: UnixTime) {
        self.lock().time = Some(time);
    }

    /// All that it holds, as a backup would keep it.
    pub fn backup(&self) -> Backup {
        Backup(self.lock().clone())
    }

    /// Holds what it held when the backup was made.
    pub fn restore(&self, backup: &Backup) {
        *self.lock() = backup.0.clone();
    }

    /// How many sessions it keeps, live or not.
    pub fn session_rows(&self) -> usize {
        self.lock().sessions.len()
    }

    /// How many counters of attempts it keeps, those of known networks included.
    pub fn counter_rows(&self) -> usize {
        self.lock().counters.len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Records an event, or refuses one that is recorded. A change records its event first, so that it does not happen
    /// when that is refused.
    fn record(&mut self, event: SecurityEvent) -> Result<(), StoreError> {
        self.record_all(vec![event])
    }

    /// Records all of these events or none.
    fn record_all(&mut self, events: Vec<SecurityEvent>) -> Result<(), StoreError> {
        if events.iter().any(|event| self.recorded.contains(&event.id)) {
            return Err(StoreError::new(StoreErrorKind::Internal, "an event is recorded twice"));
        }
        self.recorded.extend(events.iter().map(|event| event.id));
        self.events.extend(events);
        Ok(())
    }

    fn live_session(&mut self, id: SessionId, now: UnixTime) -> Option<&mut StoredSession> {
        let valid_from = self.valid_from;
        self.sessions.get_mut(&id).filter(|session| session.is_live(now, valid_from))
    }

    fn end(&mut self, session: SessionId, at: UnixTime) {
        if let Some(session) = self.sessions.get_mut(&session) {
            session.ended_at = Some(at);
        }
    }

    /// Ends sessions of a user, but for one, and says which they were.
    fn end_sessions_of(&mut self, user: UserId, except: Option<SessionId>, at: UnixTime) -> Vec<SessionId> {
        let ended: Vec<_> = self
            .sessions
            .values()
            .filter(|session| session.opened.user == user && session.may_end(self.valid_from))
            .map(|session| session.opened.id)
            .filter(|session| Some(*session) != except)
            .collect();
        for session in &ended {
            self.end(*session, at);
        }
        ended
    }

    /// The live sessions of a user, the earliest opened first.
    fn live_sessions_of(&self, user: UserId, now: UnixTime) -> impl Iterator<Item = &StoredSession> {
        let mut live: Vec<_> = self
            .sessions
            .values()
            .filter(|session| session.opened.user == user && session.is_live(now, self.valid_from))
            .collect();
        live.sort_by_key(|session| (session.opened.opened_at, session.opened.id));
        live.into_iter()
    }

    fn is_unchanged(&self, session: &NewSession) -> bool {
        self.users.get(&session.user).is_some_and(|user| {
            user.status == UserStatus::Enabled && user.credential_version == session.credential_version
        })
    }

    /// Whether a session is one of the user's that did not end.
    fn may_act(&self, session: SessionId, user: UserId) -> bool {
        let session = self.sessions.get(&session);
        session.is_some_and(|session| session.opened.user == user && session.may_end(self.valid_from))
    }

    /// Refuses a session that would be over at once.
    fn is_after_floor(&self, session: &NewSession) -> Result<(), StoreError> {
        match session.opened_at >= self.valid_from {
            true => Ok(()),
            false => Err(StoreError::new(StoreErrorKind::Unavailable, "all sessions are being ended")),
        }
    }

    fn insert_session(&mut self, session: &NewSession) {
        let stored = StoredSession {
            opened: session.clone(),
            newest: CurrentGeneration { generation: Generation::FIRST, at: session.opened_at },
            expires_at: session.expires_at,
            ended_at: None,
        };
        self.sessions.insert(session.id, stored);
    }

    /// What to record of an attempt that is about to be forgiven.
    fn end_of_throttling(&self, attempt: &SuccessfulAttempt) -> Option<SecurityEvent> {
        let stored = self.counters.get(&attempt.counter)?;
        attempt.event_after(stored.counter.attempts)
    }

    fn forgive(&mut self, attempt: &SuccessfulAttempt) {
        let user = self.counters.remove(&attempt.counter).and_then(|stored| stored.user);
        if let Some(known) = attempt.known {
            let counter =
                AttemptCounter { attempts: 0, next_at: attempt.ended.at, known_until: Some(known.until) };
            self.counters.insert(known.counter, StoredCounter { counter, user: attempt.ended.user.or(user) });
        }
    }

    fn store_time(&self) -> Option<StoreTime> {
        self.time.map(|now| StoreTime { now, high_water_mark: self.newest })
    }
}

impl StoredSession {
    fn is_live(&self, now: UnixTime, valid_from: UnixTime) -> bool {
        self.may_end(valid_from) && now < self.expires_at
    }

    fn is_over_since(&self, time: UnixTime, valid_from: UnixTime) -> bool {
        self.ended_at.unwrap_or(self.expires_at) < time || self.opened.opened_at < valid_from
    }

    fn may_end(&self, valid_from: UnixTime) -> bool {
        self.ended_at.is_none() && self.opened.opened_at >= valid_from
    }

    fn to_session(&self) -> Session {
        Session {
            id: self.opened.id,
            user: self.opened.user,
            opened_at: self.opened.opened_at,
            newest: self.newest,
            expires_at: self.expires_at,
            client: self.opened.client.clone(),
        }
    }
}
