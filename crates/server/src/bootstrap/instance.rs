//! One instance: the service and the adapters of its ports.

use std::sync::Arc;

use anyhow::Context as _;
use portcullis_adapters::PortsConfig;
use portcullis_adapters::secret::Secrets;
use portcullis_adapters::system::SystemClock;
use portcullis_domain::Core;
use portcullis_domain::maintenance::Maintenance;
use portcullis_domain::ports::Clock;

use super::backend::{Backend, Seal};
use super::database::{DatabaseBackend, Purpose};
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
        let ports = ports_config(settings).ports_with_clock(backend.store(), secrets, clock);
        let ports = ports.context("cannot start the threads that hash")?;
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

/// The queue of the hash threads holds what the password pool admits; only the pool refuses callers.
fn ports_config(settings: &Settings) -> PortsConfig {
    PortsConfig {
        hash_scheme: settings.hashing,
        hash_threads: settings.password_pool.hashing_threads,
        hash_queue: settings.password_pool.threads(),
        tokens: settings.tokens.clone(),
    }
}
