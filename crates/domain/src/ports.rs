//! What the use cases need from the outside world: one small trait each, gathered in [`Ports`].
//!
//! Ports are synchronous and object-safe. The work behind them blocks (a database, a password hash), so one use
//! case is one blocking unit; a caller on an async runtime moves the whole use case to a blocking thread. An
//! adapter over an async-only driver bridges with its runtime's `Handle::block_on` on such a thread.
//!
//! **A port method is the transaction**: it happens completely or not at all, and whatever must commit together is
//! one method. Every method that changes something takes the [`SecurityEvent`](crate::event::SecurityEvent) that
//! commits with the change. Each "MUST" below has a test of that name in `portcullis_testkit::contract`.

mod access_token_codec;
mod attempt_store;
mod clock;
mod entropy;
mod error;
mod event_log;
mod password_hasher;
mod pseudonyms;
mod refresh_token_codec;
mod session_store;
mod store_health;
mod user_store;

use std::sync::Arc;

pub use access_token_codec::{AccessTokenCodec, InvalidToken, SignError};
pub use attempt_store::AttemptStore;
pub use clock::Clock;
pub use entropy::Entropy;
pub use error::{StoreError, StoreErrorKind};
pub use event_log::EventLog;
pub use password_hasher::{HashError, PasswordHasher, Verdict};
pub use pseudonyms::Pseudonyms;
pub use refresh_token_codec::RefreshTokenCodec;
pub use session_store::{OpenSessionError, SessionStore};
pub use store_health::{StoreHealth, StoreStatus};
pub use user_store::{ChangeUserError, InsertUserError, UserStore};

#[cfg(feature = "mocks")]
pub use self::{
    access_token_codec::MockAccessTokenCodec, attempt_store::MockAttemptStore, clock::MockClock,
    entropy::MockEntropy, event_log::MockEventLog, password_hasher::MockPasswordHasher,
    pseudonyms::MockPseudonyms, refresh_token_codec::MockRefreshTokenCodec, session_store::MockSessionStore,
    store_health::MockStoreHealth, user_store::MockUserStore,
};

/// The outside world, as the use cases see it. A part is swapped by record update:
///
/// ```
/// use std::sync::Arc;
/// use portcullis_domain::{AuthService, Ports, Rules};
/// use portcullis_domain::time::UnixTime;
/// use portcullis_testkit::FixedClock;
///
/// let clock = Arc::new(FixedClock::at(UnixTime::from_secs(1_800_000_000)));
/// let ports = Ports { clock: clock.clone(), ..portcullis_testkit::ports() };
/// let service = AuthService::new(ports, Rules::default());
/// ```
#[derive(Clone, Debug)]
pub struct Ports {
    /// Who may log in.
    pub users: Arc<dyn UserStore>,
    /// Who is logged in where.
    pub sessions: Arc<dyn SessionStore>,
    /// How often passwords were tried.
    pub attempts: Arc<dyn AttemptStore>,
    /// What happened, where nothing else changed.
    pub events: Arc<dyn EventLog>,
    /// Whether the stores answer.
    pub health: Arc<dyn StoreHealth>,
    /// How passwords become hashes.
    pub hasher: Arc<dyn PasswordHasher>,
    /// How access tokens are signed and verified.
    pub access_tokens: Arc<dyn AccessTokenCodec>,
    /// How refresh tokens are made and recognised.
    pub refresh_tokens: Arc<dyn RefreshTokenCodec>,
    /// What stands for accounts where attempts are counted.
    pub pseudonyms: Arc<dyn Pseudonyms>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
}
