//! The pool of connections: its size, how long callers wait for one, and what is drawn from it.

pub(super) mod connection;

use std::num::NonZeroU32;
use std::time::Duration;

use diesel::r2d2::{NopErrorHandler, Pool, PooledConnection};
use portcullis_domain::ports::StoreError;

use self::connection::{ConnectionFactory, Freshness};
use super::write_record::WriteRecord;
use super::{Database, DatabaseUrl, error};

/// How many connections there are and how long to wait for one.
#[derive(Clone, Copy, Debug)]
pub struct PoolConfig {
    /// The most connections that callers have open at once. One more polls session changes, and to SQLite
    /// another one writes.
    pub size: u32,
    /// How many writes to SQLite one commit makes durable at most. PostgreSQL sees to that by itself.
    pub group_commit: NonZeroU32,
    /// How long a call waits for a free connection before it fails as unavailable.
    pub checkout_timeout: Duration,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self { size: 16, group_commit: GROUP_COMMIT, checkout_timeout: CHECKOUT_TIMEOUT }
    }
}

impl PoolConfig {
    /// Makes the pool. Connections are made when they are needed.
    pub(super) fn pool(
        self,
        url: DatabaseUrl,
        freshness: Freshness,
        only_reads: bool,
    ) -> Pool<ConnectionFactory> {
        let factory = ConnectionFactory::new(url, freshness, only_reads);
        Pool::builder()
            .max_size(self.size)
            .min_idle(Some(0))
            .connection_timeout(self.checkout_timeout)
            // Calls that cannot get a connection say so; the pool's own complaints would say it again.
            .error_handler(Box::new(NopErrorHandler))
            .test_on_check_out(true)
            .build_unchecked(factory)
    }
}

impl PoolConfig {
    /// Makes the record of changes. To PostgreSQL, changes hold at most a part of the pool, so that reads find a connection
    /// while commits hang. SQLite's writers share a connection outside the pool.
    pub(super) fn write_record(self, url: &DatabaseUrl) -> WriteRecord {
        let places = match url {
            DatabaseUrl::Postgres(_) => (self.size * MAX_WRITES_PERCENT / 100).max(1) as usize,
            DatabaseUrl::Sqlite(_) => usize::MAX,
        };
        WriteRecord::new(places, self.checkout_timeout)
    }
}

impl Database {
    pub(super) fn checkout(&self) -> Result<PooledConnection<ConnectionFactory>, StoreError> {
        self.may_be_used()?;
        self.pool.get().map_err(error::unavailable)
    }
}

/// How many percent of the pool changes may hold at once.
const MAX_WRITES_PERCENT: u32 = 75;

/// How many writes commit together, unless told otherwise: more than ever wait.
const GROUP_COMMIT: NonZeroU32 = NonZeroU32::new(64).unwrap();

/// How long a call waits for a connection, unless told otherwise.
const CHECKOUT_TIMEOUT: Duration = Duration::from_secs(2);
