//! A codec with a cache accepts no more tokens: those of ended, expired and invalid sessions are rejected at once.

use std::sync::Arc;
use std::time::Duration;

use portcullis_adapters::keys::{KeyRing, KeyRotation, SigningAlgorithm};
use portcullis_adapters::secret::{Secret, Secrets};
use portcullis_adapters::token::jwt::{JwtCodec, TokenName};
use portcullis_domain::audit::{EventKind, LogoutScope};
use portcullis_domain::maintenance::Maintenance;
use portcullis_domain::ports::Clock;
use portcullis_domain::session::{LoginOutcome, LogoutToken, SessionStore};
use portcullis_domain::token::{AccessToken, Authentication, TokenSet};
use portcullis_domain::{AuthConfig, AuthService, Core, Ports};
use portcullis_testkit::fixtures::{self, NOW, PASSWORD};
use portcullis_testkit::{FixedClock, MemoryStore, SeededRandom};

/// A service over fakes with genuine access tokens, of which it remembers some.
struct World {
    auth: AuthService,
    maintenance: Maintenance,
    store: Arc<MemoryStore>,
    clock: Arc<FixedClock>,
}

impl World {
    fn new((algorithm, remembered): Codec) -> Self {
        let secrets = Secrets::new(Secret::parse_for_development("a secret").unwrap(), []);
        let keys = KeyRing::new(&secrets, algorithm, KeyRotation::default(), NOW);
        let name = |text| TokenName::parse(text).unwrap();
        let codec = JwtCodec::new(keys, name("https://id.example.org"), name("portcullis"));
        let (store, clock) = (Arc::new(MemoryStore::new()), Arc::new(FixedClock::at(NOW)));
        let ports = Ports {
            access_tokens: Arc::new(codec.remembering(remembered)),
            clock: clock.clone(),
            ..portcullis_testkit::ports_over(&store)
        };
        let core = Core::new(ports, AuthConfig::default());
        let (auth, maintenance) = (AuthService::new(&core), Maintenance::new(&core));
        maintenance.sync().unwrap();
        let world = Self { auth, maintenance, store, clock };
        world.auth.register(&fixtures::alice(), &fixtures::client()).unwrap();
        world
    }

    /// The tokens of a new session. The access token was used before.
    fn login(&self) -> TokenSet {
        let credentials = fixtures::credentials("alice", PASSWORD);
        let LoginOutcome::Session(tokens) = self.auth.login(&credentials, &fixtures::client()).unwrap()
        else {
            panic!("no second step is due");
        };
        for _ in 0..2 {
            assert!(self.is_live(&tokens));
        }
        tokens
    }

    fn is_live(&self, tokens: &TokenSet) -> bool {
        match self.auth.authenticate(tokens.access.expose()) {
            Authentication::Live(live) => live.claims().session == tokens.session,
            Authentication::Refused => false,
            other => panic!("{other:?}"),
        }
    }

    fn wait(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
        self.maintenance.sync().unwrap();
    }
}

/// The algorithm that signs, and how many tokens are remembered: all, hardly any, or none.
type Codec = (SigningAlgorithm, usize);

const CODECS: [Codec; 6] = [
    (SigningAlgorithm::Es256, 1_000),
    (SigningAlgorithm::Es256, 1),
    (SigningAlgorithm::Es256, 0),
    (SigningAlgorithm::EdDsa, 1_000),
    (SigningAlgorithm::EdDsa, 1),
    (SigningAlgorithm::EdDsa, 0),
];

#[test]
fn a_remembered_token_of_an_ended_session_is_refused_at_once() {
    for codec in CODECS {
        let world = World::new(codec);
        let (ended, other) = (world.login(), world.login());
        let token = LogoutToken::Access(AccessToken::new(ended.access.expose().to_owned()));
        world.auth.logout(&token, LogoutScope::Current, &fixtures::client()).unwrap();
        assert!(!world.is_live(&ended) && world.is_live(&other), "{codec:?}");
    }
}

#[test]
fn a_remembered_token_expires_to_the_second() {
    for codec in CODECS {
        let world = World::new(codec);
        let tokens = world.login();
        world.wait(15 * 60 - 1);
        assert!(world.is_live(&tokens), "{codec:?}");
        world.wait(1);
        assert!(!world.is_live(&tokens), "{codec:?}");
    }
}

#[test]
fn a_remembered_token_from_before_the_floor_is_refused() {
    for codec in CODECS {
        let world = World::new(codec);
        let tokens = world.login();
        world.wait(2);
        assert!(world.is_live(&tokens), "{codec:?}");
        let event = fixtures::event(EventKind::AllSessionsEnded, world.clock.now(), &SeededRandom::new(7));
        world.store.invalidate_sessions(&event).unwrap();
        world.maintenance.sync().unwrap();
        assert!(!world.is_live(&tokens), "{codec:?}");
        world.wait(1);
        world.login();
    }
}

#[test]
fn a_remembered_token_outlives_the_turn_of_its_key_and_nothing_more() {
    for codec in CODECS {
        let world = World::new(codec);
        // Ten seconds before an epoch of the default length ends.
        let turn = 1_799_884_800 + 7 * 86_400;
        world.wait(u64::try_from(turn - NOW.as_secs()).unwrap() - 10);
        let tokens = world.login();
        world.wait(11);
        assert!(world.is_live(&tokens), "{codec:?}");
        world.wait(15 * 60 - 11);
        assert!(!world.is_live(&tokens), "{codec:?}");
    }
}
