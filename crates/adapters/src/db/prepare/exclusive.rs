//! The lock that lets one instance at a time prepare a database.

use std::fs::File;
use std::io;
use std::path::Path;
use std::ptr;
use std::thread;
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection as _;
use diesel::sql_types::Bool;
use diesel::{PgConnection, QueryableByName, RunQueryDsl as _};
use portcullis_domain::ports::StoreError;

use super::PrepareError;
use crate::db::connection::AnyConnection;
use crate::db::deployment::Deployment;
use crate::db::deployment::home::Home;
use crate::db::error::store_error;
use crate::db::failure::DatabaseFailure;
use crate::db::migrations::{Applied, FoundSchema};
use crate::db::postgres::server::{check_same_database, check_server, denial};
use crate::db::secrets::Known;
use crate::db::{DatabaseUrl, migrations, sqlite};
use crate::files::{absolute, create_folder, folder_of};

/// Whether a call may create the database and its tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::db) enum Missing {
    Create,
    Refuse,
}

/// A connection outside the pool, whose owner alone prepares the database. The fields are dropped in this order.
pub(in crate::db) struct ExclusiveConnection<'a> {
    url: &'a DatabaseUrl,
    connection: AnyConnection,
    /// The lock of a SQLite database. PostgreSQL's is the connection's.
    _lock: Option<File>,
}

impl Drop for ExclusiveConnection<'_> {
    /// Releases PostgreSQL's lock: a pooler may keep the session after this connection is closed.
    fn drop(&mut self) {
        if let AnyConnection::Postgres(connection) = &mut self.connection {
            // If the session is broken, its end releases the lock.
            let _released = connection.batch_execute("SELECT pg_advisory_unlock_all()");
        }
    }
}

impl<'a> ExclusiveConnection<'a> {
    /// Connects and takes the lock. On SQLite the lock comes first: under it the file is made, and the first
    /// connection of all turns it to WAL, which fails at once where another does the same.
    ///
    /// The lock belongs to a session, so the connection avoids a pooler in transaction mode by the direct URL.
    pub(in crate::db) fn open(url: &'a DatabaseUrl, missing: Missing) -> Result<Self, PrepareError> {
        match url.for_preparation()? {
            direct if ptr::eq(direct, url) => Self::open_by(url, missing),
            direct => {
                // Nothing is changed in a database that requests do not reach.
                check_server(url)?;
                check_same_database(url, direct)?;
                Self::open_by(direct, missing).map_err(|error| PrepareError::Direct(Box::new(error)))
            }
        }
    }

    fn open_by(url: &'a DatabaseUrl, missing: Missing) -> Result<Self, PrepareError> {
        let failed = |failure| PrepareError::of(url, failure);
        match missing {
            Missing::Create => check_server(url)?,
            Missing::Refuse => Deployment::at(url).check_exists()?,
        }
        let lock = match url {
            DatabaseUrl::Postgres(_) => None,
            DatabaseUrl::Sqlite(path) => Some(lock_file(path, failed)?),
        };
        let mut connection = AnyConnection::connect(url).map_err(failed)?;
        connection.check_write_ahead_log().map_err(failed)?;
        if let AnyConnection::Postgres(connection) = &mut connection {
            lock_server(connection).map_err(failed)?;
        }
        Ok(Self { url, connection, _lock: lock })
    }

    /// Applies what is pending. Where nothing is, it only reads: a role that may not change the schema can start.
    pub(in crate::db) fn migrate(&mut self) -> Result<(), PrepareError> {
        let schema =
            FoundSchema::read(self.url, &mut self.connection).map_err(|error| self.explain(error))?;
        schema.admit_binary()?;
        schema.log_unknown();
        if schema.is_current() {
            return Ok(());
        }
        let applied = migrations::run(self.url, &mut self.connection).map_err(|failure| {
            let error = match failure.is_busy_file() {
                true => PrepareError::Unreachable(failure),
                false => PrepareError::Migration(failure),
            };
            self.explain(error)
        })?;
        let Applied { migrations, retries } = applied;
        log::info!(applied = migrations, retries; "migrated the database");
        Ok(())
    }

    pub(in crate::db) fn known_secrets(&mut self) -> Result<Known, PrepareError> {
        let known = Known::read(&mut self.connection);
        known.map_err(|error| self.explain(PrepareError::of(self.url, error.into())))
    }

    /// The connection, for a transaction of the caller's.
    pub(in crate::db) fn connection(&mut self) -> &mut AnyConnection {
        &mut self.connection
    }

    /// Reads where the database is and where it was before.
    pub(in crate::db) fn home(&mut self) -> Result<Home, PrepareError> {
        Home::read(self.url, &mut self.connection).map_err(|error| self.explain(error))
    }

    /// Adds what an administrator can do, if the role or the server is the cause of a failure.
    fn explain(&mut self, error: PrepareError) -> PrepareError {
        let AnyConnection::Postgres(connection) = &mut self.connection else { return error };
        let (failure, is_migration) = match error {
            PrepareError::Migration(failure) => (failure, true),
            PrepareError::Unreachable(failure) => (failure, false),
            other => return other,
        };
        match denial(connection, is_migration) {
            Some(denial) => PrepareError::Denied(failure, denial),
            None if is_migration => PrepareError::Migration(failure),
            None => PrepareError::Unreachable(failure),
        }
    }

    /// Runs `work` in a transaction, which is rolled back if `work` fails.
    pub(in crate::db) fn transaction(
        mut self,
        work: impl FnOnce(&mut AnyConnection) -> Result<(), StoreError>,
    ) -> Result<(), PrepareError> {
        let connection = &mut self.connection;
        let done = connection.begin().map_err(store_error).and_then(|()| {
            work(connection)?;
            connection.commit().map_err(store_error)
        });
        done.map_err(|error| {
            // Only to ask the server why: the end of the connection rolls back too.
            let _ended = self.connection.rollback();
            self.explain(PrepareError::of(self.url, error.into()))
        })
    }
}

/// Takes the lock of a SQLite database, and creates the file if there is none.
fn lock_file(path: &Path, failed: impl Fn(DatabaseFailure) -> PrepareError) -> Result<File, PrepareError> {
    let failed = |error: io::Error| failed(error.into());
    create_folder(folder_of(path)).map_err(failed)?;
    sqlite::file::is_there(path).map_err(failed)?;
    sqlite::file::check_writable(path).map_err(failed)?;
    let lock = sqlite::file::lock(path, PATIENCE).map_err(failed)?;
    let stays_locked = || DatabaseFailure::new("another instance stays at preparing it");
    let lock = lock.ok_or_else(|| PrepareError::Unreachable(stays_locked()))?;
    if sqlite::file::make_file(path).map_err(failed)? {
        log::info!(path = absolute(path); "created the database");
    }
    Ok(lock)
}

/// Takes the lock of a PostgreSQL database. The session that only prepares may run long statements. An instance asks
/// again and again instead of waiting in a statement, because the snapshot of a waiting statement would block the
/// `CREATE INDEX CONCURRENTLY` of the instance that has the lock.
fn lock_server(connection: &mut PgConnection) -> Result<(), DatabaseFailure> {
    #[derive(QueryableByName)]
    struct Lock {
        #[diesel(sql_type = Bool)]
        is_taken: bool,
    }
    let begun = Instant::now();
    connection.batch_execute("SET statement_timeout TO 0; SET lock_timeout TO '1min'")?;
    loop {
        let take = diesel::sql_query(format!("SELECT pg_try_advisory_lock({ADVISORY_LOCK}) AS is_taken"));
        let Lock { is_taken } = take.get_result(connection)?;
        if is_taken {
            return Ok(());
        }
        if begun.elapsed() > PATIENCE {
            return Err(DatabaseFailure::new("another instance stays at preparing it"));
        }
        thread::sleep(ASK_EVERY);
    }
}

/// How long an instance waits for another to finish preparing.
const PATIENCE: Duration = Duration::from_mins(1);

/// How often an instance asks for PostgreSQL's lock.
const ASK_EVERY: Duration = Duration::from_millis(50);

/// The advisory lock's key: "portcull" in ASCII.
const ADVISORY_LOCK: i64 = 0x706f_7274_6375_6c6c;
