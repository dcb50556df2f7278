//! Users, sessions and events in SQLite or PostgreSQL, over one set of Diesel queries.
//!
//! [`Database`] is every storage port over one pool of connections. What needs no pool takes the [`DatabaseUrl`] and
//! connects by itself: [`Deployment`], [`Migrations`], [`check_hashes`] and [`audit::verify`](crate::audit::verify).
//!
//! | question | file |
//! |---|---|
//! | which URLs are accepted? | `url.rs` |
//! | to which of several hosts does a connection lead? | `postgres/hosts.rs` |
//! | where is the pool configured? | `pool.rs`; its connections, `pool/connection.rs` |
//! | how does a call become a transaction, and when is it repeated? | `transaction.rs` |
//! | how many changes run at once, and which fail while one hangs? | `write_record.rs` |
//! | which statement implements a port's method? | `stores/` |
//! | how is a database made ready? | `prepare.rs`, under the lock of `prepare/exclusive.rs`; without it in `prepare/ready.rs` |
//! | which secrets open a database? | `secrets.rs`; a leaked one is replaced in `deployment.rs` |
//! | which sessions count at all? | `deployment/row.rs` holds the time before which all are ended |
//! | when are the stores closed again? | `access.rs`; the connection that finds out, `watch.rs` |
//! | was the database restored or copied? | `deployment/home.rs`, by its place, `deployment/place.rs` |
//! | how is a SQLite file backed up? | `sqlite/backup.rs` |
//! | which migrations are there, and who applies them? | `migrations.rs`; without stopping the service, `migrations/run.rs` |
//! | which binaries may use a database? | `migrations/found_schema.rs` |
//! | how do the contents get into another database? | `copy.rs`; the rows, `copy/tables.rs` |
//! | who seals and verifies the audit log? | [`audit`](crate::audit), over the SQL in `audit/` |
//! | what is set for each session? | `postgres/session.rs`, `sqlite/session.rs`; what the role sets behind a pooler, `postgres/role.rs` |
//! | why can a database not be used? | `prepare/error.rs`, `failure.rs`; for a call of a store, `error.rs` |

mod access;
mod audit;
mod cached_update;
mod connection;
mod copy;
mod deployment;
mod error;
mod failure;
mod hash_check;
mod migrations;
mod pool;
mod postgres;
mod prepare;
mod schema;
mod secrets;
mod sqlite;
mod stores;
mod transaction;
mod types;
mod url;
mod watch;
mod write_record;

use std::sync::{Arc, OnceLock, RwLock};

use diesel::r2d2::Pool;

use self::access::Access;
pub(crate) use self::audit::chain::{ChainRow, Recorded};
pub(crate) use self::audit::reader::AuditReader;
pub(crate) use self::audit::sealing::SealTurn;
pub use self::copy::{Copied, CopyError, CopyProgress, CopyStep, copy};
pub use self::deployment::Deployment;
pub use self::failure::{DatabaseFailure, FailureCause};
pub use self::hash_check::{UnusableHash, check_hashes};
pub use self::migrations::{
    MigrationPlan, MigrationState, MigrationStatus, Migrations, PlannedMigration, PlannedStatement,
    TableLock, TableWork,
};
pub use self::pool::PoolConfig;
use self::pool::connection::{ConnectionFactory, Freshness};
pub use self::postgres::server::Denial;
pub use self::prepare::{Arrival, PrepareError};
pub use self::sqlite::backup::{Backup, BackupError, BackupProgress, ExistingFile, backup};
use self::sqlite::file::FileId;
use self::sqlite::group_commit::GroupCommit;
#[cfg(any(test, fuzzing))]
pub use self::url::invariants as url_invariants;
pub use self::url::{DatabaseUrl, InvalidDatabaseUrl, Pooler, PostgresUrl};
use self::watch::Watch;
use self::write_record::WriteRecord;

/// One database and the pool of connections to it. It is the adapter of every storage port.
///
/// What the other instances did is asked for over one more connection, which no other call keeps waiting. That look
/// also sees when the database's secret was replaced ([`Database::is_foreign`]).
///
/// Calls fail as unavailable instead of waiting for a connection, for PostgreSQL's locks and statements, for a server that
/// vanished from the network, for the turn to write to SQLite, or for another process that writes to it. A call that takes
/// too long in all is rolled back.
///
/// Three waits are unbounded:
///
/// - A commit waits for PostgreSQL's synchronous standby. If it were cancelled, the standby would still lack it.
///   `write_record.rs` keeps such commits from holding up reads.
/// - A call waits for a PostgreSQL server that is stopped while its machine runs, for example by `SIGSTOP` or a disk that
///   hangs. TCP still acknowledges in its name, and the timeouts of the server are stopped, too.
/// - SQLite waits for its disk.
#[derive(Debug)]
pub struct Database {
    url: DatabaseUrl,
    pool: Pool<ConnectionFactory>,
    /// Whether every change is refused.
    only_reads: bool,
    freshness: Freshness,
    watch: Watch,
    /// How the changes of callers ended.
    writes: WriteRecord,
    /// The SQLite file that was prepared.
    file: OnceLock<FileId>,
    /// Where SQLite's writers queue and commit together; PostgreSQL needs none.
    writers: Option<GroupCommit>,
    access: Arc<RwLock<Access>>,
}

impl Database {
    /// A database that is not looked at yet: connections are made when they are needed, and until
    /// [`Database::prepare`] has succeeded every call of a store fails as unavailable.
    pub fn new(url: DatabaseUrl, config: PoolConfig) -> Self {
        Self::with(url, config, false)
    }

    /// A database that is only read: nothing is created, locked or changed, so its storage may be read-only and a
    /// PostgreSQL server may be a standby. It is opened by [`Database::prepare_to_read`]; every change fails as
    /// unavailable.
    pub fn read_only(url: DatabaseUrl, config: PoolConfig) -> Self {
        Self::with(url, config, true)
    }

    fn with(url: DatabaseUrl, config: PoolConfig, only_reads: bool) -> Self {
        let freshness = Freshness::default();
        let pool = config.pool(url.clone(), freshness.clone(), only_reads);
        let writers = match url {
            DatabaseUrl::Postgres(_) => None,
            DatabaseUrl::Sqlite(_) => Some(GroupCommit::new(config.group_commit)),
        };
        let access = Arc::new(RwLock::new(Access::Unprepared));
        Self {
            writes: config.write_record(&url),
            url,
            pool,
            only_reads,
            freshness,
            watch: Watch::default(),
            file: OnceLock::new(),
            writers,
            access,
        }
    }

    /// Where it is, without user name and password.
    pub fn url(&self) -> &DatabaseUrl {
        &self.url
    }
}
