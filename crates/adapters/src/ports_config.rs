use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;

use portcullis_domain::Ports;
use portcullis_domain::password::PasswordHasher;
use portcullis_domain::ports::{Clock, Store};

use crate::account_keys::MacAccountKeys;
use crate::hashing::{HashPool, HashScheme, SchemeHasher};
use crate::secret::Secrets;
use crate::system::{OsRandom, SystemClock};
use crate::token::jwt::JwtConfig;
use crate::token::refresh::MacRefreshTokenCodec;

/// Configures the ports of a production service: every adapter of this crate except the store, which the caller chooses.
///
/// ```
/// use std::sync::Arc;
///
/// use portcullis_adapters::PortsConfig;
/// use portcullis_adapters::hashing::HashScheme;
/// use portcullis_adapters::secret::{Secret, Secrets};
/// use portcullis_adapters::system::OsRandom;
///
/// # let store = Arc::new(portcullis_testkit::MemoryStore::new());
/// let secrets = Secrets::new(Secret::generate(&OsRandom), []);
/// let config = PortsConfig { hash_scheme: HashScheme::Argon2id, ..PortsConfig::default() };
/// let ports = config.ports(store, &secrets)?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct PortsConfig {
    /// The scheme of new hashes.
    pub hash_scheme: HashScheme,
    /// How many passwords are hashed at the same time.
    pub hash_threads: NonZeroUsize,
    /// How many passwords may wait for a hash thread. A use case that finds the queue full fails as unavailable with
    /// [`HashError::Overloaded`](portcullis_domain::password::HashError::Overloaded).
    pub hash_queue: NonZeroUsize,
    /// The names in access tokens, and the keys that sign them.
    pub tokens: JwtConfig,
}

impl PortsConfig {
    /// Creates the ports over a store, with a [`SystemClock`]. Starts the hash threads, which end when the last clone of the
    /// ports is dropped.
    ///
    /// # Errors
    /// [`io::Error`] if the system cannot start a thread.
    pub fn ports(&self, store: Arc<dyn Store>, secrets: &Secrets) -> io::Result<Ports> {
        self.ports_with_clock(store, secrets, Arc::new(SystemClock::new()))
    }

    /// Creates the same ports with another clock.
    ///
    /// # Errors
    /// [`io::Error`] if the system cannot start a thread.
    pub fn ports_with_clock(
        &self,
        store: Arc<dyn Store>,
        secrets: &Secrets,
        clock: Arc<dyn Clock>,
    ) -> io::Result<Ports> {
        let random = Arc::new(OsRandom);
        let hasher: Arc<dyn PasswordHasher> = Arc::new(SchemeHasher::new(self.hash_scheme, random.clone()));
        Ok(Ports {
            store,
            hasher: Arc::new(HashPool::start(&hasher, self.hash_threads, self.hash_queue)?),
            access_tokens: Arc::new(self.tokens.codec(secrets, clock.now())),
            refresh_tokens: Arc::new(MacRefreshTokenCodec::new(secrets)),
            account_keys: Arc::new(MacAccountKeys::new(secrets)),
            clock,
            random,
        })
    }
}

/// `bcrypt-sha256` at cost 12 on two threads, with 8 passwords that wait: two cores hash those in less than two seconds.
impl Default for PortsConfig {
    fn default() -> Self {
        Self {
            hash_scheme: HashScheme::default(),
            hash_threads: HASH_THREADS,
            hash_queue: HASH_QUEUE,
            tokens: JwtConfig::default(),
        }
    }
}

const HASH_THREADS: NonZeroUsize = NonZeroUsize::new(2).unwrap();

const HASH_QUEUE: NonZeroUsize = NonZeroUsize::new(8).unwrap();
