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
mod cursor;
mod delete_account;
mod login;
mod logout;
mod lost_changes;
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

use portcullis_domain::account::{Account, Registration, User, UserStore};
use portcullis_domain::admin::{Admin, Authority};
use portcullis_domain::audit::EventKind;
use portcullis_domain::client::ClientInfo;
use portcullis_domain::maintenance::Maintenance;
use portcullis_domain::password::{PasswordHasher, PlaintextPassword};
use portcullis_domain::ports::{Clock, StoreError, StoreErrorKind};
use portcullis_domain::session::{
    LoginError, LoginOutcome, MockSessionStore, RefreshError, SessionChanges, Sessions,
};
use portcullis_domain::time::UnixTime;
use portcullis_domain::token::{Authentication, TokenSet, VerifiedClaims};
use portcullis_domain::{AuthConfig, AuthService, Core, Ports};
use portcullis_testkit::fixtures::{self, PASSWORD};
use portcullis_testkit::{FixedClock, MemoryStore, PlainHasher};

/// All services of one instance.
#[derive(Clone, Debug)]
struct Services {
    auth: AuthService,
    account: Account,
    sessions: Sessions,
    admin: Admin,
    maintenance: Maintenance,
}

impl Services {
    fn new(ports: Ports, config: AuthConfig) -> Self {
        let core = Core::new(ports, config);
        Self {
            auth: AuthService::new(&core),
            account: Account::new(&core),
            sessions: Sessions::new(&core),
            admin: Admin::new(&core),
            maintenance: Maintenance::new(&core),
        }
    }

    fn log_in(&self, username: &str, password: &str) -> Result<TokenSet, LoginError> {
        self.auth.login(&fixtures::credentials(username, password), &client()).map(tokens_of)
    }
}

/// An instance over fakes, with the fakes at hand.
struct World {
    service: Services,
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
        let service = Services::new(swap(ports), rules);
        service.maintenance.sync().expect("the store answers");
        Self { service, store, clock, hasher }
    }

    /// Another instance over the same store, by the same clock and rules, that has just started.
    fn other_instance(&self) -> Services {
        let ports = Ports { clock: self.clock.clone(), ..portcullis_testkit::ports_over(&self.store) };
        Services::new(ports, self.service.auth.config().clone())
    }

    /// The same, with this hasher.
    fn other_instance_with(&self, hasher: Arc<dyn PasswordHasher>) -> Services {
        let ports =
            Ports { clock: self.clock.clone(), hasher, ..portcullis_testkit::ports_over(&self.store) };
        Services::new(ports, self.service.auth.config().clone())
    }

    fn now(&self) -> UnixTime {
        self.clock.now()
    }

    fn wait(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    fn register(&self, username: &str) -> User {
        let form = registration(username, PASSWORD);
        self.service.auth.register(&form, &fixtures::client()).expect("a good form")
    }

    fn try_login(&self, username: &str, password: &str) -> Result<TokenSet, LoginError> {
        self.service.log_in(username, password)
    }

    fn login(&self, username: &str) -> TokenSet {
        self.try_login(username, PASSWORD).expect("the right password")
    }

    /// The proof that a token is live on this instance.
    fn live(&self, tokens: &TokenSet) -> VerifiedClaims {
        self.service.maintenance.sync().expect("the store answers");
        match self.service.auth.authenticate(tokens.access.expose()) {
            Authentication::Live(live) => live,
            other => panic!("{other:?}"),
        }
    }

    /// Asserts that nothing of a session works on any instance: at once here, after the next look elsewhere.
    fn assert_over(&self, tokens: &TokenSet) {
        let other = self.other_instance();
        other.maintenance.sync().expect("the store answers");
        for service in [&self.service, &other] {
            assert_refused(service, tokens);
            let refreshed = service.auth.refresh(&tokens.refresh, &client());
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

fn assert_refused(service: &Services, tokens: &TokenSet) {
    let verdict = service.auth.authenticate(tokens.access.expose());
    assert!(matches!(verdict, Authentication::Refused), "{verdict:?}");
}

fn password(text: &str) -> PlaintextPassword {
    PlaintextPassword::new(text.to_owned())
}

fn registration(username: &str, password: &str) -> Registration {
    Registration { username: username.to_owned(), password: self::password(password) }
}

/// The tokens of a login that opened a session.
fn tokens_of(outcome: LoginOutcome) -> TokenSet {
    match outcome {
        LoginOutcome::Session(tokens) => tokens,
        other => panic!("{other:?}"),
    }
}

fn operator() -> Authority {
    Authority::operator()
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
    sessions.expect_session_changes().returning(|_, _, _| Ok(SessionChanges::default()));
    sessions
}

fn broken_store() -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, "the cable is out")
}
