//! What the use cases need from the outside world: one small trait each, gathered in [`Ports`].
//!
//! Ports are synchronous and object-safe. The work behind them blocks (a database, a password hash), so one use
//! case is one blocking unit; a caller on an async runtime moves the whole use case to a blocking thread. An
//! adapter over an async-only driver bridges with its runtime's `Handle::block_on` on such a thread.
//!
//! **A port method is the transaction**: it happens completely or not at all, and whatever must commit together is
//! one method. Every method that changes something takes the [`SecurityEvent`](crate::audit::SecurityEvent) that
//! commits with the change. Each "MUST" below has a test of that name in `portcullis_testkit::contract`.

mod clock;
mod health;
mod random;
mod store_error;

use std::sync::Arc;

pub use self::clock::Clock;
#[cfg(feature = "mocks")]
pub use self::clock::MockClock;
#[cfg(feature = "mocks")]
pub use self::health::MockStoreHealth;
pub use self::health::{StoreHealth, StoreStatus};
#[cfg(feature = "mocks")]
pub use self::random::MockSecureRandom;
pub use self::random::SecureRandom;
pub use self::store_error::{StoreError, StoreErrorKind};
use crate::account::UserStore;
use crate::audit::AuditLog;
use crate::password::PasswordHasher;
use crate::session::SessionStore;
use crate::throttle::{AccountKeys, AttemptStore};
use crate::token::{AccessTokenCodec, RefreshTokenCodec};

/// The outside world, as the use cases see it. A part is swapped by record update:
///
/// ```
/// use std::sync::Arc;
/// use portcullis_domain::{AuthConfig, AuthService, Core, Ports};
/// use portcullis_domain::time::UnixTime;
/// use portcullis_testkit::FixedClock;
///
/// let clock = Arc::new(FixedClock::at(UnixTime::from_secs(1_800_000_000)));
/// let ports = Ports { clock: clock.clone(), ..portcullis_testkit::ports() };
/// let auth = AuthService::new(&Core::new(ports, AuthConfig::default()));
/// ```
#[derive(Clone, Debug)]
pub struct Ports {
    /// Users, sessions, attempts and events, of one backend: its methods share transactions.
    pub store: Arc<dyn Store>,
    /// How passwords become hashes.
    pub hasher: Arc<dyn PasswordHasher>,
    /// How access tokens are signed and verified.
    pub access_tokens: Arc<dyn AccessTokenCodec>,
    /// How refresh tokens are made and recognised.
    pub refresh_tokens: Arc<dyn RefreshTokenCodec>,
    /// What stands for accounts where attempts are counted.
    pub account_keys: Arc<dyn AccountKeys>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub random: Arc<dyn SecureRandom>,
}

/// One backend that stores everything.
///
/// A backend is specified and tested trait by trait, and implements this trait by implementing all of them. The methods
/// share transactions, such as the login that opens a session and resets the counter of attempts, so the parts of two
/// backends cannot be combined. A test that needs one method to fail wraps a whole store.
pub trait Store: UserStore + SessionStore + AttemptStore + AuditLog + StoreHealth {}

impl<T: UserStore + SessionStore + AttemptStore + AuditLog + StoreHealth + ?Sized> Store for T {}
