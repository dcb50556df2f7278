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
    EndOutcome, Generation, NewSession, OpenSessionError, RotateOutcome, RotateRequest, Session,
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
        let mut news = self.store.session_changes(since, u32::MAX).expect("the store answers");
        news.ended.sort();
        news
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

/// Makes a `#[test]` of every store contract. The argument is an expression that makes a new
/// [`TestBackend`](crate::contract::TestBackend) when called.
#[macro_export]
macro_rules! store_contract {
    ($backend:expr) => {
        $crate::contract_tests! { $backend;
            user_store::{
                insert_refuses_a_taken_name_in_any_case,
                insert_lets_exactly_one_racer_win,
                finds_what_was_inserted,
                finds_nothing_where_nothing_is,
                imported_names_live,
                upgrade_hash_does_not_change_the_credential_version,
                rehash_never_undoes_a_password_change,
                upgrade_hash_racing_set_password_leaves_the_new_password,
                change_password_leaves_the_new_session_alone,
                change_password_after_a_change_is_refused,
                change_password_from_no_live_session_is_refused,
                change_password_to_an_invalid_session_is_refused,
                change_password_lets_exactly_one_racer_win,
                change_password_racing_open_leaves_the_new_session_alone,
                change_password_racing_disable_leaves_no_live_session,
                set_password_ends_the_sessions,
                disable_ends_the_sessions,
                enable_revives_no_session,
                delete_ends_the_sessions,
                delete_frees_the_name,
                delete_after_a_change_is_refused,
                delete_from_no_live_session_is_refused,
                delete_is_acknowledged_once,
                changing_an_unknown_user_changes_nothing,
            }
            session_store::{
                open_records_its_event,
                open_after_disable_is_refused,
                open_after_a_password_change_is_refused,
                open_for_an_unknown_user_is_refused,
                open_racing_disable_leaves_no_live_session,
                open_racing_set_password_leaves_no_live_session,
                open_racing_delete_leaves_no_live_session,
                open_ends_the_oldest_beyond_the_bound,
                open_counts_live_sessions_alone,
                open_keeps_the_bound_when_callers_race,
                rotate_racing_end_leaves_nothing_live,
                rotate_racing_disable_leaves_nothing_live,
                rotate_racing_change_password_leaves_nothing_live,
                rotate_racing_invalidate_leaves_nothing_live,
                rotate_follows_the_stored_session,
                rotate_returns_one_generation_to_many_callers,
                rotate_ends_the_session_on_a_reused_token,
                rotate_reports_one_theft_once,
                rotate_changes_nothing_where_no_session_lives,
                rotate_extends_the_session_up_to_its_absolute_end,
                end_is_acknowledged_once,
                end_ends_expired_sessions_too,
                end_is_only_for_the_owner,
                end_all_ends_the_live_sessions_of_one_user,
                end_all_spares_the_excepted_session,
                live_ends_to_the_microsecond,
                find_returns_the_session_as_stored,
                list_returns_live_sessions_latest_first,
                changes_list_ends_but_no_expiries,
                changes_list_at_most_the_requested_number,
                changes_do_not_wait_for_other_callers,
                invalidate_ends_earlier_sessions,
                invalidate_sets_the_next_whole_second,
                invalidate_ends_sessions_opened_by_clocks_ahead,
                open_of_invalid_session_is_refused,
            }
            purge::{
                purge_deletes_only_sessions_over_before,
                purge_deletes_sessions_invalidated_before,
                purge_walks_to_the_end_and_restarts,
                purge_is_done_by_one_instance_at_a_time,
                purge_lets_exactly_one_racer_step,
                purge_raises_the_high_water_mark,
            }
            attempt_store::{
                begin_follows_the_schedule,
                begin_counts_each_counter_separately,
                begin_grants_free_attempts_by_any_clock,
                begin_restarts_after_a_day,
                begin_grants_free_attempts_when_callers_race,
                begin_grants_one_of_many_after_a_wait,
                begin_changes_nothing_if_it_refuses,
                begin_records_its_event_with_one_attempt,
                open_session_consumes_its_proof,
                open_session_that_is_refused_consumes_nothing,
                open_makes_the_network_known,
                open_racing_begin_loses_no_attempt,
                change_password_consumes_its_proof,
                change_password_that_is_refused_consumes_nothing,
                delete_user_consumes_its_proof,
                delete_user_that_is_refused_consumes_nothing,
                a_counter_is_consumed_once_when_logins_race,
                purge_deletes_only_counters_that_are_over,
                purge_deletes_at_most_the_requested_number,
                purge_counters_records_the_events_of_the_deleted,
                purge_racing_begin_loses_no_attempt,
            }
            audit_log::{
                record_keeps_everything,
                record_keeps_the_longest_and_the_least,
                list_events_returns_only_own_events,
                a_change_whose_event_cannot_be_stored_does_not_happen,
            }
            store_health::{
                a_fresh_store_is_migrated,
                a_check_of_changes_leaves_nothing_behind,
                a_refused_call_does_not_count_against_the_store,
            }
        }
    };
}

/// The loop behind [`store_contract!`](crate::store_contract).
#[doc(hidden)]
#[macro_export]
macro_rules! contract_tests {
    ($backend:expr; $($port:ident::{ $($name:ident),+ $(,)? })+) => {$(
        mod $port {
            use super::*;

            $(
                #[test]
                fn $name() {
                    let make = $backend;
                    $crate::contract::$port::$name(&$crate::contract::TestedStore::of(make()));
                }
            )+
        }
    )+};
}
