//! The use cases over the fakes of the testkit; mocks only where a port has to fail.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "in tests, and in their helpers, it fails the test"
)]

mod activity;
mod admin;
mod authenticate;
mod change_password;
mod delete_account;
mod login;
mod logout;
mod model;
mod purge;
mod readiness;
mod refresh;
mod register;
mod sessions;
mod sync;
mod throttle;

use std::sync::Arc;
use std::time::Duration;

use portcullis_domain::account::{Registration, User, UserStore};
use portcullis_domain::audit::EventKind;
use portcullis_domain::client::ClientInfo;
use portcullis_domain::password::{PasswordHasher, PlaintextPassword};
use portcullis_domain::ports::{Clock, StoreError, StoreErrorKind};
use portcullis_domain::session::{LoginError, MockSessionStore, RefreshError, SessionChanges};
use portcullis_domain::time::UnixTime;
use portcullis_domain::token::{Authentication, TokenSet, VerifiedClaims};
use portcullis_domain::{AuthConfig, AuthService, Ports};
use portcullis_testkit::fixtures::{self, PASSWORD};
use portcullis_testkit::{FixedClock, MemoryStore, PlainHasher};

/// A service over fakes, with the fakes at hand.
struct World {
    service: AuthService,
    store: Arc<MemoryStore>,
    clock: Arc<FixedClock>,
    hasher: Arc<PlainHasher>,
}

impl World {
    fn new() -> Self {
        Self::with(AuthConfig::default(), |ports| ports)
    }

    /// A world with other rules, and with some ports swapped.
    fn with(rules: AuthConfig, swap: impl FnOnce(Ports) -> Ports) -> Self {
        let store = Arc::new(MemoryStore::new());
        let clock = Arc::new(FixedClock::at(fixtures::NOW));
        let hasher = Arc::new(PlainHasher::new());
        let ports =
            Ports { clock: clock.clone(), hasher: hasher.clone(), ..portcullis_testkit::ports_over(&store) };
        let service = AuthService::new(swap(ports), rules);
        service.sync().expect("the store answers");
        Self { service, store, clock, hasher }
    }

    /// Another instance over the same store, by the same clock and rules, that has just started.
    fn other_instance(&self) -> AuthService {
        let ports = Ports { clock: self.clock.clone(), ..portcullis_testkit::ports_over(&self.store) };
        AuthService::new(ports, self.service.rules().clone())
    }

    /// The same, with this hasher.
    fn other_instance_with(&self, hasher: Arc<dyn PasswordHasher>) -> AuthService {
        let ports =
            Ports { clock: self.clock.clone(), hasher, ..portcullis_testkit::ports_over(&self.store) };
        AuthService::new(ports, self.service.rules().clone())
    }

    fn now(&self) -> UnixTime {
        self.clock.now()
    }

    fn wait(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    fn register(&self, username: &str) -> User {
        let form = registration(username, PASSWORD);
        self.service.register(&form, &fixtures::client()).expect("a good form")
    }

    fn try_login(&self, username: &str, password: &str) -> Result<TokenSet, LoginError> {
        self.service.login(&fixtures::credentials(username, password), &fixtures::client())
    }

    fn login(&self, username: &str) -> TokenSet {
        self.try_login(username, PASSWORD).expect("the right password")
    }

    /// The proof that a token is live on this instance.
    fn live(&self, tokens: &TokenSet) -> VerifiedClaims {
        self.service.sync().expect("the store answers");
        match self.service.authenticate(tokens.access.expose()) {
            Authentication::Live(live) => live,
            other => panic!("{other:?}"),
        }
    }

    /// Asserts that nothing of a session works on any instance: at once here, after the next look elsewhere.
    fn assert_over(&self, tokens: &TokenSet) {
        let other = self.other_instance();
        other.sync().expect("the store answers");
        for service in [&self.service, &other] {
            assert_refused(service, tokens);
            let refreshed = service.refresh(&tokens.refresh, &client());
            assert!(matches!(refreshed, Err(RefreshError::Invalid)), "{refreshed:?}");
        }
    }

    /// The kinds of the recorded events, in order.
    fn events(&self) -> Vec<EventKind> {
        self.store.events().into_iter().map(|event| event.kind).collect()
    }

    /// How many recorded events are of this kind.
    fn count(&self, kind: EventKind) -> usize {
        self.events().into_iter().filter(|other| *other == kind).count()
    }

    fn disable(&self, user: &User) {
        let event = fixtures::event(EventKind::UserDisabled, self.now(), &*random()).of_user(user.id);
        self.store.disable_user(user.id, &event).expect("the user is there");
    }
}

fn assert_refused(service: &AuthService, tokens: &TokenSet) {
    let verdict = service.authenticate(tokens.access.expose());
    assert!(matches!(verdict, Authentication::Refused), "{verdict:?}");
}

fn password(text: &str) -> PlaintextPassword {
    PlaintextPassword::new(text.to_owned())
}

fn registration(username: &str, password: &str) -> Registration {
    Registration { username: username.to_owned(), password: self::password(password) }
}

fn client() -> ClientInfo {
    fixtures::client()
}

fn random() -> Arc<dyn portcullis_domain::ports::SecureRandom> {
    Arc::new(portcullis_testkit::SeededRandom::new(99))
}

/// Sessions that fail where they are told to, but have no news.
fn mock_sessions() -> MockSessionStore {
    let mut sessions = MockSessionStore::new();
    sessions.expect_session_changes().returning(|_, _| Ok(SessionChanges::default()));
    sessions
}

fn broken_store() -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, "the cable is out")
}
