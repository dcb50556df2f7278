//! One instance: the service and the adapters of its ports.

use std::sync::Arc;

use anyhow::Context as _;
use portcullis_adapters::account_keys::MacAccountKeys;
use portcullis_adapters::hashing::{HashPool, SchemeHasher};
use portcullis_adapters::secret::Secrets;
use portcullis_adapters::system::{OsRandom, SystemClock};
use portcullis_adapters::token::jwt::JwtCodec;
use portcullis_adapters::token::refresh::MacRefreshTokenCodec;
use portcullis_domain::maintenance::Maintenance;
use portcullis_domain::password::PasswordHasher;
use portcullis_domain::ports::{Clock, SecureRandom};
use portcullis_domain::{Core, Ports};

use super::backend::{Backend, Seal};
use super::database::{DatabaseBackend, Purpose};
use super::secrets::key_ring;
use crate::cli_error::CliError;
use crate::settings::Settings;

/// The parts of one instance.
#[derive(Debug)]
pub(crate) struct Instance {
    pub core: Arc<Core>,
    pub maintenance: Maintenance,
    backend: Arc<dyn Backend>,
}

impl Instance {
    /// Creates the instance that the settings describe. With [`Purpose::Create`], only the secret is read.
    pub(crate) fn assemble(settings: &Settings, purpose: Purpose) -> Result<Self, CliError> {
        let (backend, secrets) = DatabaseBackend::open(settings, purpose)?;
        Self::over(Arc::new(backend), settings, &secrets, Arc::new(SystemClock::new()))
    }

    /// Creates an instance over a backend. Takes everything but the storage and the clock from the settings.
    pub(crate) fn over(
        backend: Arc<dyn Backend>,
        settings: &Settings,
        secrets: &Secrets,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, CliError> {
        let random = Arc::new(OsRandom);
        let keys = key_ring(settings, secrets, clock.now());
        let access_tokens =
            JwtCodec::new(keys, settings.tokens.issuer.clone(), settings.tokens.audience.clone())
                .remembering(settings.tokens.cache);
        let ports = Ports {
            store: backend.store(),
            hasher: Arc::new(hash_threads(settings, random.clone())?),
            access_tokens: Arc::new(access_tokens),
            refresh_tokens: Arc::new(MacRefreshTokenCodec::new(secrets)),
            account_keys: Arc::new(MacAccountKeys::new(secrets)),
            clock,
            random,
        };
        let core = Core::new(ports, settings.rules.clone());
        Ok(Self { maintenance: Maintenance::new(&core), core, backend })
    }

    /// Makes the storage ready and sets the clock by it.
    ///
    /// # Errors
    /// [`CliError::Config`] when trying again changes nothing; [`CliError::Clock`] when only the clock is not ready.
    pub(crate) fn prepare(&self) -> Result<(), CliError> {
        self.backend.prepare()?;
        // Readiness fails until the first check. The background thread repeats the check and logs its outcome.
        let _checked = self.maintenance.check_writes();
        Ok(self.maintenance.sync()?)
    }

    /// Returns the storage.
    pub(crate) fn backend(&self) -> &dyn Backend {
        self.backend.as_ref()
    }

    /// Returns what seals the audit log, unless nothing does.
    pub(crate) fn sealer(&self) -> Option<Box<dyn Seal>> {
        self.backend.sealer(self.core.clock().now())
    }
}

/// Threads that hash. Their queue holds what the password pool admits; only the pool refuses callers.
fn hash_threads(settings: &Settings, random: Arc<dyn SecureRandom>) -> Result<HashPool, CliError> {
    let hasher: Arc<dyn PasswordHasher> = Arc::new(SchemeHasher::new(settings.hashing, random));
    let pool = settings.password_pool;
    let threads = HashPool::start(&hasher, pool.hashing_threads, pool.threads());
    Ok(threads.context("cannot start the threads that hash")?)
}
