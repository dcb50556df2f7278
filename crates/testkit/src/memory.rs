//! Stores in memory. They pass the same contract as the databases.

mod event_log;
mod session_store;
mod store_health;
mod user_store;

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use portcullis_domain::User;
use portcullis_domain::event::SecurityEvent;
use portcullis_domain::id::{EventId, SessionId, UserId};
use portcullis_domain::ports::{StoreError, StoreErrorKind};
use portcullis_domain::session::{NewSession, Rotated};
use portcullis_domain::time::UnixTime;

/// Users, sessions and events in memory, behind one lock: every method is a transaction.
#[derive(Debug, Default)]
pub struct MemoryStore {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    users: HashMap<UserId, User>,
    sessions: HashMap<SessionId, StoredSession>,
    events: Vec<SecurityEvent>,
    /// The ids of the events.
    recorded: HashSet<EventId>,
    floor: UnixTime,
}

#[derive(Debug)]
struct StoredSession {
    opened: NewSession,
    newest: Rotated,
    expires_at: UnixTime,
    ended_at: Option<UnixTime>,
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

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Records an event, or refuses one that is recorded. A change records its event first, so that it does not happen
    /// when that is refused.
    fn record(&mut self, event: SecurityEvent) -> Result<(), StoreError> {
        if !self.recorded.insert(event.id) {
            return Err(StoreError::new(StoreErrorKind::Internal, "an event is recorded twice"));
        }
        self.events.push(event);
        Ok(())
    }

    fn live_session(&mut self, id: SessionId, now: UnixTime) -> Option<&mut StoredSession> {
        let floor = self.floor;
        self.sessions.get_mut(&id).filter(|session| session.is_live(now, floor))
    }

    fn end(&mut self, session: SessionId, at: UnixTime) {
        if let Some(session) = self.sessions.get_mut(&session) {
            session.ended_at = Some(at);
        }
    }

    /// Ends the live sessions of a user and says which they were.
    fn end_sessions_of(&mut self, user: UserId, at: UnixTime) -> Vec<SessionId> {
        let floor = self.floor;
        let live = self.sessions.values_mut().filter(|s| s.opened.user == user && s.is_live(at, floor));
        live.map(|session| {
            session.ended_at = Some(at);
            session.opened.id
        })
        .collect()
    }
}

impl StoredSession {
    fn is_live(&self, now: UnixTime, floor: UnixTime) -> bool {
        self.ended_at.is_none() && now < self.expires_at && self.opened.opened_at >= floor
    }
}
