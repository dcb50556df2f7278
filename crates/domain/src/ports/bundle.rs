use std::sync::Arc;

use crate::account::UserStore;
use crate::audit::AuditLog;
use crate::password::PasswordHasher;
use crate::ports::{Clock, SecureRandom, StoreHealth};
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
///
/// ```
/// # use std::sync::Arc;
/// # use portcullis_domain::Ports;
/// use portcullis_domain::ports::Store;
///
/// fn replace(ports: Ports, store: Arc<dyn Store>) -> Ports {
///     Ports { store, ..ports }
/// }
/// ```
///
/// The attempts of another backend beside the users and sessions of this one do not compile, since a login could not reset
/// their counter in its transaction:
///
/// ```compile_fail,E0308
/// # use std::sync::Arc;
/// # use portcullis_domain::Ports;
/// use portcullis_domain::throttle::AttemptStore;
///
/// fn replace(ports: Ports, store: Arc<dyn AttemptStore>) -> Ports {
///     Ports { store, ..ports }
/// }
/// ```
///
/// - MUST keep a change that a method reported as done, for every instance that opens the store later. A store in memory
///   has one instance. [store-durable]
pub trait Store: UserStore + SessionStore + AttemptStore + AuditLog + StoreHealth {}

impl<T: UserStore + SessionStore + AttemptStore + AuditLog + StoreHealth + ?Sized> Store for T {}
