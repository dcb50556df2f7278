//! What every adapter must honour: functions that take a port and panic where it breaks a promise. A comment above each
//! names the identifiers of the "MUST"s that it proves.
//!
//! [`store_contract!`](crate::store_contract) makes one `#[test]` of each function for a [`TestBackend`]:
//!
//! ```
//! mod memory {
//!     use std::sync::Arc;
//!     use portcullis_testkit::MemoryStore;
//!
//!     portcullis_testkit::store_contract!(|| Arc::new(MemoryStore::new()));
//! }
//! ```

pub mod access_token_codec;
pub mod account_keys;
pub mod attempt_store;
pub mod audit_log;
mod changes;
pub mod clock;
pub mod password_hasher;
pub mod purge;
pub mod random;
pub mod refresh_token_codec;
pub mod session_store;
mod store_contract;
pub mod store_health;
pub mod user_store;

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use portcullis_domain::account::{ChangeUserError, NewUser, Reauthentication};
use portcullis_domain::audit::{EventKind, LogoutScope, SecurityEvent};
use portcullis_domain::id::{SessionId, UserId};
use portcullis_domain::ports::Store;
use portcullis_domain::session::{
    Cursor, EndOutcome, Generation, NewSession, OpenSessionError, RotateOutcome, RotateRequest, Session,
    SessionChanges, SessionOpened,
};
use portcullis_domain::time::UnixTime;

use crate::fixtures::{self, IDLE, NOW};
use crate::{MemoryStore, SeededRandom};

/// A backend that the contract is proved for: one store, which is empty when the backend is made.
pub trait TestBackend: Send + Sync + 'static {
    /// Returns the store.
    fn store(&self) -> Arc<dyn Store>;

    /// Opens the store again, as another instance does that shares no memory with the first. Tests then look there for what
    /// the store must have kept. `None` if the data live in memory.
    fn reopen(&self) -> Option<Arc<dyn Store>>;

    /// Reads every recorded event, in the order of their IDs, and past the store if there is a way.
    fn recorded(&self) -> Vec<RecordedEvent>;

    /// Ends a session in a transaction that is past the store and stays open.
    fn begin_end(&self, session: SessionId, at: UnixTime) -> OpenTransaction;
}

/// A transaction that is still open.
#[expect(missing_debug_implementations, reason = "holds a closure")]
pub struct OpenTransaction {
    /// Commits it.
    pub commit: Box<dyn FnOnce()>,
    /// Whether other callers can commit changes while it is open.
    pub lets_others_commit: bool,
}

impl TestBackend for Arc<MemoryStore> {
    fn store(&self) -> Arc<dyn Store> {
        Arc::clone(self) as _
    }

    fn reopen(&self) -> Option<Arc<dyn Store>> {
        None
    }

    fn recorded(&self) -> Vec<RecordedEvent> {
        let mut events = self.events();
        events.sort_by_key(|event| event.id);
        events.iter().map(RecordedEvent::from).collect()
    }

    fn begin_end(&self, session: SessionId, at: UnixTime) -> OpenTransaction {
        let open = MemoryStore::begin_end(self, session, at);
        OpenTransaction { commit: Box::new(|| open.commit()), lets_others_commit: true }
    }
}

/// The store of a [`TestBackend`], as the contract tests it.
#[derive(Clone)]
#[expect(missing_debug_implementations, reason = "holds a backend, which need not have any")]
pub struct TestedStore {
    /// The store.
    pub store: Arc<dyn Store>,
    /// Where the contract's IDs come from.
    pub random: Arc<SeededRandom>,
    backend: Arc<dyn TestBackend>,
}

/// A security event as a store keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedEvent {
    /// [`EventKind::name`].
    pub name: String,
    /// [`EventKind::detail`].
    pub detail: Option<String>,
    /// When it happened.
    pub at: UnixTime,
    /// The user.
    pub user: Option<UserId>,
    /// The session.
    pub session: Option<SessionId>,
    /// The address of the client as text.
    pub address: Option<String>,
    /// The agent of the client.
    pub agent: Option<String>,
}

impl From<&SecurityEvent> for RecordedEvent {
    fn from(event: &SecurityEvent) -> Self {
        Self {
            name: event.kind.name().to_owned(),
            detail: event.kind.detail().map(Cow::into_owned),
            at: event.at,
            user: event.user,
            session: event.session,
            address: event.client.address().map(|address| address.to_string()),
            agent: event.client.agent().map(str::to_owned),
        }
    }
}

impl TestedStore {
    /// The store of a backend.
    pub fn of(backend: impl TestBackend) -> Self {
        Self { store: backend.store(), random: Arc::new(SeededRandom::new(7)), backend: Arc::new(backend) }
    }

    /// Reads every recorded event, in the order of their IDs.
    pub fn recorded(&self) -> Vec<RecordedEvent> {
        self.backend.recorded()
    }

    /// Opens the store again, if it outlives its instance: what a test finds there was not kept in the memory of the
    /// instance that wrote it.
    fn reopened(&self) -> Self {
        let store = self.backend.reopen().unwrap_or_else(|| Arc::clone(&self.store));
        Self { store, ..self.clone() }
    }

    fn event(&self, kind: EventKind, at: UnixTime) -> SecurityEvent {
        fixtures::event(kind, at, &*self.random)
    }

    /// Adds a user of this name.
    fn user(&self, name: &str) -> NewUser {
        let user = fixtures::new_user(name, &*self.random);
        let event = self.event(EventKind::UserRegistered, NOW).of_user(user.id);
        self.store.insert_user(&user, &event).expect("a new name");
        user
    }

    fn new_session(&self, user: UserId, opened_at: UnixTime) -> NewSession {
        fixtures::new_session(user, opened_at, &*self.random)
    }

    /// Opens a session at [`NOW`].
    fn session(&self, user: UserId) -> NewSession {
        let session = self.new_session(user, NOW);
        self.open(&session);
        session
    }

    fn open(&self, session: &NewSession) {
        self.try_open(session).expect("the user did not change");
    }

    fn try_open(&self, session: &NewSession) -> Result<Vec<SessionId>, OpenSessionError> {
        self.store.open_session(session, &self.events_of(session)).map(|opened| opened.ended)
    }

    /// Deletes a user at the time of `event`, and returns the sessions that ended.
    fn delete_user(
        &self,
        user: UserId,
        by: Option<Reauthentication>,
        event: &SecurityEvent,
    ) -> Result<Vec<SessionId>, ChangeUserError> {
        self.store.delete_user(user, by, event.at, event).map(|deleted| deleted.ended)
    }

    fn events_of(&self, session: &NewSession) -> impl Fn(&SessionOpened) -> Vec<SecurityEvent> + use<> {
        fixtures::opening_events(session, &*self.random)
    }

    fn opening_of(&self, session: &NewSession) -> SecurityEvent {
        self.event(EventKind::LoginSucceeded, session.opened_at).of_user(session.user).in_session(session.id)
    }

    /// Presents a generation of a session.
    fn present(&self, session: SessionId, generation: u32, now: UnixTime) -> RotateOutcome {
        self.presentation(session, generation, now)()
    }

    /// The same, ready to be made.
    fn presentation(&self, session: SessionId, generation: u32, now: UnixTime) -> impl Fn() -> RotateOutcome {
        let request = rotate_request(session, generation, now);
        let reused = self.event(EventKind::RefreshTokenReused, now).in_session(session);
        move || {
            let on_reuse = |user: &UserId| [reused.clone().of_user(*user)];
            self.store.rotate(&request, &on_reuse).expect("the store answers")
        }
    }

    /// Ends a session and says whether it was live.
    fn end(&self, session: SessionId, at: UnixTime) -> bool {
        self.end_of(None, session, at) == EndOutcome::Ended
    }

    fn end_of(&self, owner: Option<UserId>, session: SessionId, at: UnixTime) -> EndOutcome {
        let event = self.event(EventKind::LoggedOut(LogoutScope::Current), at).in_session(session);
        let events = |user: &UserId| [event.clone().of_user(*user)];
        self.store.end_session(session, owner, at, &events).expect("the store answers")
    }

    fn is_live(&self, session: SessionId, now: UnixTime) -> bool {
        self.find(session, now).is_some()
    }

    fn find(&self, session: SessionId, now: UnixTime) -> Option<Session> {
        self.store.find_session(session, now).expect("the store answers")
    }

    /// The ids of a user's live sessions, in the store's order.
    fn list(&self, user: UserId, now: UnixTime) -> Vec<SessionId> {
        let live = self.store.list_sessions(user, now).expect("the store answers");
        live.into_iter().map(|session| session.id).collect()
    }

    fn changes(&self, since: UnixTime) -> SessionChanges {
        self.changes_after(None, since)
    }

    fn changes_after(&self, after: Option<Cursor>, since: UnixTime) -> SessionChanges {
        let mut changes = self.store.session_changes(after, since, u32::MAX).expect("the store answers");
        changes.ended.sort();
        changes
    }

    /// Returns how many events of this name are recorded.
    fn count_of(&self, name: &str) -> usize {
        self.recorded().into_iter().filter(|event| event.name == name).count()
    }

    /// The names of the recorded events.
    fn recorded_names(&self) -> Vec<String> {
        self.recorded().into_iter().map(|event| event.name).collect()
    }
}

fn sorted<T: Ord>(items: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut items: Vec<_> = items.into_iter().collect();
    items.sort();
    items
}

/// A presented generation of a session, with a grace of 30 s.
fn rotate_request(session: SessionId, generation: u32, now: UnixTime) -> RotateRequest {
    let generation = Generation::new(generation);
    RotateRequest { session, generation, now, grace: Duration::from_secs(30), idle: IDLE }
}

/// Runs `work` on `threads` threads that start together, and collects what it returns. The threads that were made last are
/// the most likely to meet, so each race gives them other parts of the work.
fn race<T: Send>(threads: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    static RACES: AtomicUsize = AtomicUsize::new(0);
    let shift = RACES.fetch_add(1, Ordering::Relaxed);
    let waiting = AtomicUsize::new(threads);
    let mut results: Vec<_> = thread::scope(|scope| {
        let handles: Vec<_> = (0..threads)
            .map(|n| {
                let (waiting, work) = (&waiting, &work);
                let part = (n + shift) % threads;
                scope.spawn(move || {
                    waiting.fetch_sub(1, Ordering::AcqRel);
                    // A thread that sleeps at a barrier would wake up too late to meet the others.
                    while waiting.load(Ordering::Acquire) > 0 {
                        thread::yield_now();
                    }
                    (part, work(part))
                })
            })
            .collect();
        handles.into_iter().map(|handle| handle.join().expect("no thread panics")).collect()
    });
    results.sort_by_key(|(part, _)| *part);
    results.into_iter().map(|(_, result)| result).collect()
}

/// Repeats a round of a race, since one round seldom catches a store that reads before it writes. Rounds with a fast store
/// are many, because its callers meet seldom, and rounds with a slow one are few.
fn rounds(mut round: impl FnMut(u32)) {
    let begun = Instant::now();
    for n in 0..MOST_ROUNDS {
        if n >= FEWEST_ROUNDS && begun.elapsed() > LONGEST_RACE {
            return;
        }
        round(n);
    }
}

const FEWEST_ROUNDS: u32 = 10;
const MOST_ROUNDS: u32 = 2_000;
const LONGEST_RACE: Duration = Duration::from_millis(500);
