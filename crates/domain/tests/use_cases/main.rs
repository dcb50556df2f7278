//! The use cases over the fakes of the testkit; mocks only where a port has to fail.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "in tests, and in their helpers, it fails the test"
)]

mod authenticate;
mod login;
mod logout;
mod readiness;
mod refresh;
mod register;

use std::sync::Arc;
use std::time::Duration;

use portcullis_domain::client::ClientInfo;
use portcullis_domain::event::EventKind;
use portcullis_domain::password::PasswordAttempt;
use portcullis_domain::ports::{Clock, StoreError, StoreErrorKind, UserStore};
use portcullis_domain::service::{LoginError, Registration};
use portcullis_domain::time::UnixTime;
use portcullis_domain::token::TokenSet;
use portcullis_domain::{AuthService, Ports, Rules, User};
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
        Self::with(Rules::default(), |ports| ports)
    }

    /// A world with other rules, and with some ports swapped.
    fn with(rules: Rules, swap: impl FnOnce(Ports) -> Ports) -> Self {
        let store = Arc::new(MemoryStore::new());
        let clock = Arc::new(FixedClock::at(fixtures::NOW));
        let hasher = Arc::new(PlainHasher::new());
        let ports =
            Ports { clock: clock.clone(), hasher: hasher.clone(), ..portcullis_testkit::ports_over(&store) };
        Self { service: AuthService::new(swap(ports), rules), store, clock, hasher }
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

    /// The kinds of the recorded events, in order.
    fn events(&self) -> Vec<EventKind> {
        self.store.events().into_iter().map(|event| event.kind).collect()
    }

    fn disable(&self, user: &User) {
        let event = fixtures::event(EventKind::UserDisabled, self.now(), &*entropy()).of_user(user.id);
        self.store.disable(user.id, &event).expect("the user is there");
    }
}

fn registration(username: &str, password: &str) -> Registration {
    Registration { username: username.to_owned(), password: PasswordAttempt::new(password.to_owned()) }
}

fn client() -> ClientInfo {
    fixtures::client()
}

fn entropy() -> Arc<dyn portcullis_domain::ports::Entropy> {
    Arc::new(portcullis_testkit::SeededEntropy::new(99))
}

fn broken_store() -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, "the cable is out")
}
