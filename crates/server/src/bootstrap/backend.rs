//! What an instance needs of its storage beside the ports of the domain.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use portcullis_adapters::audit::Sealer;
use portcullis_domain::ports::{Store, StoreError};
use portcullis_domain::time::UnixTime;

use crate::cli_error::CliError;

/// The storage of an instance: a store, and the parts of its life cycle that only its adapter knows.
///
/// The server runs over any implementation. [`DatabaseBackend`](super::DatabaseBackend) is the one over SQLite and
/// PostgreSQL; the tests of `serve` run over a store in memory.
pub(crate) trait Backend: fmt::Debug + Send + Sync {
    /// Returns the store, which may fail as unavailable until [`Self::prepare`] has succeeded.
    fn store(&self) -> Arc<dyn Store>;

    /// Returns the name under which the log reports the storage. Contains no secret.
    fn location(&self) -> String;

    /// Whether the server starts without the storage and waits for it, as for a database server that starts later.
    fn may_be_awaited(&self) -> bool;

    /// Makes the store ready for this instance. Called until it succeeds.
    ///
    /// # Errors
    /// [`CliError::Config`] if the instance must not use the storage, whenever it tries; [`CliError::Failed`] if a later
    /// call may succeed.
    fn prepare(&self) -> Result<(), CliError>;

    /// Verifies that the instance may go on using the storage. Called a few times per second, so it must not block.
    ///
    /// # Errors
    /// [`CliError`] if it must not. The server then stops.
    fn check(&self) -> Result<(), CliError>;

    /// Returns a sealer of the audit log, named by a time, or `None` if the log is not sealed.
    fn sealer(&self, now: UnixTime) -> Option<Box<dyn Seal>>;
}

/// Seals the audit log in the background, step by step.
pub(crate) trait Seal: Send {
    /// Makes the next step and returns the pause before the one after.
    ///
    /// # Errors
    /// [`StoreError`]; a later step makes up for it.
    fn step(&mut self) -> Result<Duration, StoreError>;

    /// Makes the last step, at the end of the instance.
    ///
    /// # Errors
    /// [`StoreError`] if the last events stay unsealed until another instance seals them.
    fn close(self: Box<Self>) -> Result<(), StoreError>;
}

impl Seal for Sealer {
    fn step(&mut self) -> Result<Duration, StoreError> {
        Sealer::step(self)
    }

    fn close(self: Box<Self>) -> Result<(), StoreError> {
        Sealer::close(*self)
    }
}
