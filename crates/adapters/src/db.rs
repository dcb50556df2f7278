//! Users, sessions and events in SQLite or PostgreSQL, over one set of Diesel queries.

mod connection;
mod deployment;
mod error;
mod event_log;
mod migrations;
mod schema;
mod session_store;
mod store_health;
mod types;
mod url;
mod user_store;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use diesel::r2d2::{NopErrorHandler, Pool};
use portcullis_domain::ports::StoreError;

use self::connection::{AnyConnection, ConnectionFactory};
pub use self::deployment::KeyCheckError;
use self::error::store_error;
pub use self::migrations::{MigrationState, PrepareError};
pub use self::url::{DatabaseUrl, InvalidDatabaseUrl};

/// One database and the pool of connections to it. It is the adapter of every storage port.
#[derive(Debug)]
pub struct Database {
    url: DatabaseUrl,
    pool: Pool<ConnectionFactory>,
    /// Whether the schema is known to be the one these queries are made for.
    prepared: AtomicBool,
}

/// How many connections there are and how long to wait for one.
#[derive(Clone, Copy, Debug)]
pub struct PoolConfig {
    /// The most connections open at once.
    pub size: u32,
    /// How long a call waits for a free connection before it fails as unavailable.
    pub checkout_timeout: Duration,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self { size: 16, checkout_timeout: Duration::from_secs(2) }
    }
}

impl Database {
    /// A database that is not looked at yet: connections are made when they are needed, and until
    /// [`Database::prepare`] has succeeded every call of a store fails as unavailable.
    pub fn new(url: DatabaseUrl, config: PoolConfig) -> Self {
        let factory = ConnectionFactory::new(url.clone());
        let pool = Pool::builder()
            .max_size(config.size)
            .min_idle(Some(0))
            .connection_timeout(config.checkout_timeout)
            // Calls that cannot get a connection say so; the pool's own complaints would say it again.
            .error_handler(Box::new(NopErrorHandler))
            .test_on_check_out(true)
            .build_unchecked(factory);
        Self { url, pool, prepared: AtomicBool::new(false) }
    }

    /// Connects, brings the schema up to date under a lock, and opens the stores for use. Blocks while another
    /// instance migrates, for a minute at most.
    ///
    /// # Errors
    /// [`PrepareError`].
    pub fn prepare(&self) -> Result<(), PrepareError> {
        migrations::run(&self.url)?;
        self.prepared.store(true, Ordering::Release);
        Ok(())
    }

    /// Where it is, without user name and password.
    pub fn url(&self) -> &DatabaseUrl {
        &self.url
    }

    /// Every migration of this build and whether the database has it, oldest first. Changes nothing.
    ///
    /// # Errors
    /// [`PrepareError`].
    pub fn migrations(&self) -> Result<Vec<MigrationState>, PrepareError> {
        migrations::status(&self.url)
    }

    /// Runs queries that read, or one statement whose outcome does not matter until it is read again.
    fn read<T>(
        &self,
        work: impl FnOnce(&mut AnyConnection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut connection = self.checkout()?;
        work(&mut connection).inspect_err(|error| connection.distrust(error))
    }

    /// Runs `work` in a transaction: it commits when `work` succeeds, and what is returned was committed.
    fn transaction<T, E: From<StoreError>>(
        &self,
        work: impl FnOnce(&mut AnyConnection) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut connection = self.checkout()?;
        let failed = |error: diesel::result::Error| store_error(error);
        connection.begin().map_err(failed).inspect_err(|error| connection.distrust(error))?;
        match work(&mut connection) {
            Ok(value) => match connection.commit().map_err(failed) {
                Ok(()) => Ok(value),
                Err(error) => {
                    connection.distrust(&error);
                    Err(error.into())
                }
            },
            Err(error) => {
                if let Err(rollback) = connection.rollback().map_err(failed) {
                    connection.distrust(&rollback);
                }
                Err(error)
            }
        }
    }

    /// Runs one statement that changes something, in a single round trip where the database allows.
    ///
    /// PostgreSQL commits it before the answer. SQLite would commit when the statement is reset, after its rows were
    /// read, where an error is lost: there it needs an explicit COMMIT.
    fn statement<T>(
        &self,
        work: impl FnOnce(&mut AnyConnection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        match self.url {
            DatabaseUrl::Postgres(_) => self.read(work),
            DatabaseUrl::Sqlite(_) => self.transaction(work),
        }
    }

    fn checkout(&self) -> Result<diesel::r2d2::PooledConnection<ConnectionFactory>, StoreError> {
        if !self.prepared.load(Ordering::Acquire) {
            return Err(error::unavailable("the database is not prepared yet"));
        }
        self.pool.get().map_err(error::unavailable)
    }
}
