//! Stores in memory. They pass the same contract as the databases.

mod attempt_store;
mod audit_log;
mod changes;
mod session_store;
mod store_health;
mod user_store;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use portcullis_domain::account::{CredentialVersion, User};
use portcullis_domain::audit::SecurityEvent;
use portcullis_domain::id::{EventId, SessionId, UserId};
use portcullis_domain::maintenance::PurgeTurn;
use portcullis_domain::ports::{StoreError, StoreErrorKind};
use portcullis_domain::session::{ConsumedProof, NewSession, Proof, StoredSession};
use portcullis_domain::throttle::{AccountKey, AttemptCounter};
use portcullis_domain::time::{StoreTime, UnixTime};

pub use self::changes::OpenEnd;
use self::changes::Transactions;

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
    transactions: Transactions,
    counters: HashMap<AccountKey, StoredCounter>,
    events: Vec<SecurityEvent>,
    /// The ids of the events.
    recorded: HashSet<EventId>,
    valid_from: UnixTime,
    /// The time of the store's clock, if it has one.
    time: Option<UnixTime>,
    high_water_mark: UnixTime,
    /// The instance that purges.
    turn: Option<PurgeTurn>,
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

    /// Holds what it held when the backup was made, as a standby does that is promoted without the changes since: what was
    /// committed since is lost, and so are open transactions. Cursors of before do not continue.
    pub fn fail_over_to(&self, backup: &Backup) {
        let mut state = self.lock();
        let lost = std::mem::replace(&mut *state, backup.0.clone());
        state.transactions.fail_over(&lost.transactions);
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

    fn live_sessions_of(&self, user: UserId, now: UnixTime) -> impl Iterator<Item = &StoredSession> {
        let theirs = self.sessions.values().filter(move |session| session.user == user);
        theirs.filter(move |session| session.is_live(now, self.valid_from))
    }

    /// Returns the sessions of a user that can end.
    fn sessions_to_end(&self, user: UserId) -> Vec<SessionId> {
        let theirs = self.sessions.values().filter(|session| session.user == user);
        theirs.filter(|session| session.can_end(self.valid_from)).map(|session| session.id).collect()
    }

    fn end(&mut self, sessions: &[SessionId], at: UnixTime) {
        for session in sessions {
            if let Some(mut session) = self.sessions.get(session).cloned() {
                session.end(None, at, self.valid_from);
                self.update_session(session);
            }
        }
    }

    fn has_user(&self, user: UserId, version: CredentialVersion) -> bool {
        self.users.get(&user).is_some_and(|user| user.is_enabled_at(version))
    }

    fn insert_session(&mut self, session: &NewSession) {
        self.sessions.insert(session.id, StoredSession::new(session));
    }

    /// Returns what [`Self::consume`] is going to consume.
    fn consumed(&self, proof: &Proof) -> Result<ConsumedProof, StoreError> {
        match proof {
            Proof::Password(attempt) => {
                let counter = self.counters.get(&attempt.counter);
                let attempts = counter.map_or(0, |stored| stored.counter.attempts);
                Ok(ConsumedProof::Password { attempts })
            }
            _ => Err(StoreError::unknown_proof()),
        }
    }

    fn consume(&mut self, proof: &Proof, user: UserId, at: UnixTime) {
        let Proof::Password(attempt) = proof else { return };
        self.counters.remove(&attempt.counter);
        if let Some(known) = attempt.known {
            let counter = AttemptCounter::of_known_network(&known, at);
            self.counters.insert(known.counter, StoredCounter { counter, user: Some(user) });
        }
    }

    fn store_time(&self) -> Option<StoreTime> {
        self.time.map(|now| StoreTime { now, high_water_mark: self.high_water_mark })
    }
}
