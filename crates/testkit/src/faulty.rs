//! A store of which tests make parts fail.

use std::sync::Arc;
use std::time::Duration;

use portcullis_domain::Ports;
use portcullis_domain::account::{
    CanonicalName, ChangeUserError, InsertUserError, NewUser, Reauthentication, User, UserDeleted, UserStore,
};
use portcullis_domain::audit::{AuditLog, EventsOf, SecurityEvent, StoredEvent};
use portcullis_domain::id::{EventId, SessionId, UserId};
use portcullis_domain::maintenance::{PurgeOutcome, PurgeRequest};
use portcullis_domain::password::PasswordHash;
use portcullis_domain::ports::{Store, StoreError, StoreHealth, StoreStatus};
use portcullis_domain::session::{
    Cursor, EndOutcome, NewSession, OpenSessionError, RotateOutcome, RotateRequest, Session, SessionChanges,
    SessionOpened, SessionStore,
};
use portcullis_domain::throttle::{
    AccountKey, AttemptCounter, AttemptDecision, AttemptStore, LoginAttempt, PurgedCounter,
};
use portcullis_domain::time::UnixTime;

/// Passes every call on to a store, except to the parts that a test replaces by failing ones.
///
/// Two parts of different backends share no transaction, so a replaced part is good for failures only:
///
/// ```
/// use std::sync::Arc;
/// use portcullis_testkit::FaultyStore;
///
/// # fn example(audit_log: impl portcullis_domain::audit::AuditLog + 'static) {
/// let ports = FaultyStore::within(portcullis_testkit::ports(), |store| FaultyStore { audit_log: Arc::new(audit_log), ..store });
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct FaultyStore {
    /// Gets the calls that concern users.
    pub users: Arc<dyn UserStore>,
    /// Gets the calls that concern sessions.
    pub sessions: Arc<dyn SessionStore>,
    /// Gets the calls that concern attempts.
    pub attempts: Arc<dyn AttemptStore>,
    /// Gets the calls that concern events.
    pub audit_log: Arc<dyn AuditLog>,
    /// Gets the calls that concern the health of the store.
    pub health: Arc<dyn StoreHealth>,
}

impl FaultyStore {
    /// Wraps a store. Nothing fails yet.
    pub fn over(store: Arc<dyn Store>) -> Self {
        Self {
            users: Arc::clone(&store) as _,
            sessions: Arc::clone(&store) as _,
            attempts: Arc::clone(&store) as _,
            audit_log: Arc::clone(&store) as _,
            health: store,
        }
    }

    /// Returns `ports` with parts of their store replaced.
    pub fn within(ports: Ports, replace: impl FnOnce(Self) -> Self) -> Ports {
        Ports { store: Arc::new(replace(Self::over(Arc::clone(&ports.store)))), ..ports }
    }
}

impl UserStore for FaultyStore {
    fn insert_user(&self, user: &NewUser, event: &SecurityEvent) -> Result<(), InsertUserError> {
        self.users.insert_user(user, event)
    }

    fn find_user_by_name(&self, name: &CanonicalName) -> Result<Option<User>, StoreError> {
        self.users.find_user_by_name(name)
    }

    fn find_user(&self, id: UserId) -> Result<Option<User>, StoreError> {
        self.users.find_user(id)
    }

    fn upgrade_hash(
        &self,
        id: UserId,
        old: &PasswordHash,
        new: &PasswordHash,
        event: &SecurityEvent,
    ) -> Result<bool, StoreError> {
        self.users.upgrade_hash(id, old, new, event)
    }

    fn change_password(
        &self,
        acting: SessionId,
        new: &PasswordHash,
        session: &NewSession,
        events: &dyn EventsOf<SessionOpened>,
    ) -> Result<SessionOpened, OpenSessionError> {
        self.users.change_password(acting, new, session, events)
    }

    fn set_password(
        &self,
        id: UserId,
        new: &PasswordHash,
        event: &SecurityEvent,
    ) -> Result<Vec<SessionId>, ChangeUserError> {
        self.users.set_password(id, new, event)
    }

    fn disable_user(&self, id: UserId, event: &SecurityEvent) -> Result<Vec<SessionId>, ChangeUserError> {
        self.users.disable_user(id, event)
    }

    fn enable_user(&self, id: UserId, event: &SecurityEvent) -> Result<(), ChangeUserError> {
        self.users.enable_user(id, event)
    }

    fn delete_user(
        &self,
        id: UserId,
        reauthentication: Option<Reauthentication>,
        at: UnixTime,
        events: &dyn EventsOf<UserDeleted>,
    ) -> Result<UserDeleted, ChangeUserError> {
        self.users.delete_user(id, reauthentication, at, events)
    }
}

impl SessionStore for FaultyStore {
    fn open_session(
        &self,
        session: &NewSession,
        events: &dyn EventsOf<SessionOpened>,
    ) -> Result<SessionOpened, OpenSessionError> {
        self.sessions.open_session(session, events)
    }

    fn rotate(
        &self,
        request: &RotateRequest,
        on_reuse: &dyn EventsOf<UserId>,
    ) -> Result<RotateOutcome, StoreError> {
        self.sessions.rotate(request, on_reuse)
    }

    fn end_session(
        &self,
        session: SessionId,
        owner: Option<UserId>,
        at: UnixTime,
        events: &dyn EventsOf<UserId>,
    ) -> Result<EndOutcome, StoreError> {
        self.sessions.end_session(session, owner, at, events)
    }

    fn end_sessions(
        &self,
        user: UserId,
        except: Option<SessionId>,
        event: &SecurityEvent,
    ) -> Result<Vec<SessionId>, StoreError> {
        self.sessions.end_sessions(user, except, event)
    }

    fn end_again(
        &self,
        sessions: &[SessionId],
        at: UnixTime,
        valid_from: UnixTime,
    ) -> Result<Vec<SessionId>, StoreError> {
        self.sessions.end_again(sessions, at, valid_from)
    }

    fn invalidate_sessions(&self, event: &SecurityEvent) -> Result<UnixTime, StoreError> {
        self.sessions.invalidate_sessions(event)
    }

    fn find_session(&self, session: SessionId, now: UnixTime) -> Result<Option<Session>, StoreError> {
        self.sessions.find_session(session, now)
    }

    fn list_sessions(&self, user: UserId, now: UnixTime) -> Result<Vec<Session>, StoreError> {
        self.sessions.list_sessions(user, now)
    }

    fn session_changes(
        &self,
        after: Option<Cursor>,
        since: UnixTime,
        most: u32,
    ) -> Result<SessionChanges, StoreError> {
        self.sessions.session_changes(after, since, most)
    }

    fn purge_sessions(&self, request: &PurgeRequest) -> Result<PurgeOutcome, StoreError> {
        self.sessions.purge_sessions(request)
    }
}

impl AttemptStore for FaultyStore {
    fn find_counter(&self, counter: AccountKey) -> Result<Option<AttemptCounter>, StoreError> {
        self.attempts.find_counter(counter)
    }

    fn begin_attempt(&self, attempt: &LoginAttempt) -> Result<AttemptDecision, StoreError> {
        self.attempts.begin_attempt(attempt)
    }

    fn purge_counters(
        &self,
        now: UnixTime,
        most: u32,
        events: &dyn EventsOf<PurgedCounter>,
    ) -> Result<usize, StoreError> {
        self.attempts.purge_counters(now, most, events)
    }
}

impl AuditLog for FaultyStore {
    fn record_event(&self, event: &SecurityEvent) -> Result<(), StoreError> {
        self.audit_log.record_event(event)
    }

    fn list_events(
        &self,
        user: UserId,
        before: Option<EventId>,
        most: u32,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        self.audit_log.list_events(user, before, most)
    }
}

impl StoreHealth for FaultyStore {
    fn check(&self) -> Result<StoreStatus, StoreError> {
        self.health.check()
    }

    fn check_writes(&self) -> Result<(), StoreError> {
        self.health.check_writes()
    }

    fn oldest_write(&self) -> Option<Duration> {
        self.health.oldest_write()
    }
}
