//! A connection to either database, and its transactions.

use diesel::connection::{AnsiTransactionManager, SimpleConnection as _, TransactionManager as _};
use diesel::{PgConnection, QueryResult, SqliteConnection};

use super::failure::DatabaseFailure;
use super::postgres::hosts::Wanted;
use super::postgres::session::{self, STATEMENT_TIMEOUT, WATCH_TIMEOUT};
use super::url::Pooler;
use super::{DatabaseUrl, sqlite};

/// A connection to either database. (SQLite comes last: its `establish` would take any text for a file name. It is
/// never called: [`AnyConnection::connect`] goes by the scheme.)
#[derive(diesel::MultiConnection)]
pub(super) enum AnyConnection {
    Postgres(PgConnection),
    Sqlite(SqliteConnection),
}

impl AnyConnection {
    /// Connects to change the database, and sets the session's limits.
    pub(super) fn connect(url: &DatabaseUrl) -> Result<Self, DatabaseFailure> {
        match url {
            DatabaseUrl::Postgres(url) => {
                session::connect(url, STATEMENT_TIMEOUT, Wanted::Primary).map(Self::Postgres)
            }
            DatabaseUrl::Sqlite(path) => sqlite::session::connect(path).map(Self::Sqlite),
        }
    }

    /// Fails if a connection to SQLite lacks its write-ahead log.
    pub(super) fn check_write_ahead_log(&mut self) -> Result<(), DatabaseFailure> {
        match self {
            Self::Postgres(_) => Ok(()),
            Self::Sqlite(connection) => sqlite::session::check_write_ahead_log(connection),
        }
    }

    /// Connects to an existing database to read it. Nothing is created or changed, so storage may be read-only and the server
    /// a standby.
    pub(super) fn connect_read_only(url: &DatabaseUrl) -> Result<Self, DatabaseFailure> {
        match url {
            DatabaseUrl::Postgres(url) => {
                let mut connection = session::connect(url, STATEMENT_TIMEOUT, Wanted::AnyServer)?;
                // A pooler in transaction mode would hand the setting on to a client that writes.
                if url.pooler() == Pooler::None {
                    connection.batch_execute("SET default_transaction_read_only TO on")?;
                }
                Ok(Self::Postgres(connection))
            }
            DatabaseUrl::Sqlite(path) => sqlite::session::connect_read_only(path).map(Self::Sqlite),
        }
    }

    /// Connects to poll a database, with short timeouts. Leads to the primary, since a standby may learn of an end late.
    pub(super) fn connect_to_watch(url: &DatabaseUrl) -> Result<Self, DatabaseFailure> {
        match url {
            DatabaseUrl::Postgres(url) => {
                session::connect(url, WATCH_TIMEOUT, Wanted::Primary).map(Self::Postgres)
            }
            DatabaseUrl::Sqlite(path) => sqlite::session::connect_read_only(path).map(Self::Sqlite),
        }
    }

    /// Begins a transaction that writes. SQLite's default would take the lock at the first write and fail where a
    /// reader turned writer meets another.
    pub(super) fn begin(&mut self) -> QueryResult<()> {
        match self {
            Self::Postgres(connection) => AnsiTransactionManager::begin_transaction(connection),
            Self::Sqlite(connection) => {
                AnsiTransactionManager::begin_transaction_sql(connection, "BEGIN IMMEDIATE")
            }
        }
    }

    /// Begins a part of a transaction that can be undone alone. The next commit or rollback ends the part.
    pub(super) fn savepoint(&mut self) -> QueryResult<()> {
        match self {
            Self::Postgres(connection) => AnsiTransactionManager::begin_transaction(connection),
            Self::Sqlite(connection) => AnsiTransactionManager::begin_transaction(connection),
        }
    }

    pub(super) fn commit(&mut self) -> QueryResult<()> {
        match self {
            Self::Postgres(connection) => AnsiTransactionManager::commit_transaction(connection),
            Self::Sqlite(connection) => AnsiTransactionManager::commit_transaction(connection),
        }
    }

    pub(super) fn rollback(&mut self) -> QueryResult<()> {
        match self {
            Self::Postgres(connection) => AnsiTransactionManager::rollback_transaction(connection),
            Self::Sqlite(connection) => AnsiTransactionManager::rollback_transaction(connection),
        }
    }
}
