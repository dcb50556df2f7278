//! Makes a database ready for use, under a lock that lets one instance at a time do so.

use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::sql_types::Text;
use diesel::{QueryableByName, RunQueryDsl};
use portcullis_domain::event::SecurityEvent;
use portcullis_domain::ports::StoreError;
use portcullis_domain::time::UnixTime;

use super::connection::AnyConnection;
use super::error::{DatabaseFailure, store_error};
use super::event_log::insert_event;
use super::secrets::{self, Checks, Known};
use super::{DatabaseUrl, audit_chain, deployment, migrations, sqlite_file};
use crate::audit::{AuditKey, AuditKeys};
use crate::keys::KeyCheck;

/// The database could not be made ready.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// It does not answer, or another instance or process holds it for too long; trying again may help.
    #[error("cannot reach the database: {0}")]
    Unreachable(DatabaseFailure),
    /// The SQLite file or its folder cannot be made, read or written, or the file is no database.
    #[error("cannot use the database file {path}: {1}", path = .0.display())]
    Unusable(PathBuf, DatabaseFailure),
    /// The PostgreSQL database has an encoding that cannot hold every name.
    #[error("the database has the encoding {0}: make one with ENCODING 'UTF8'")]
    Encoding(String),
    /// The database is used with a secret that this instance neither has nor accepts.
    #[error("the database is used with another secret")]
    OtherSecret,
    /// The secret was known to the database when another was adopted.
    #[error("the database refuses this secret for good, since another was adopted")]
    RefusedSecret,
    /// So was one of the accepted secrets.
    #[error("the database refuses one of these for good, since another secret was adopted")]
    RefusedAcceptedSecret,
    /// The schema is older than this build, and only a look was asked for.
    #[error("the database's schema is older than this build: bring it up to date with `portcullis migrate`")]
    Outdated,
    /// A migration failed. It was rolled back.
    #[error("a migration failed: {0}")]
    Migration(DatabaseFailure),
}

impl PrepareError {
    /// Sorts a failure to connect, or to read or write when connected.
    pub(super) fn of(url: &DatabaseUrl, failure: DatabaseFailure) -> Self {
        match url {
            DatabaseUrl::Sqlite(path) if !failure.is_busy_file() => Self::Unusable(path.clone(), failure),
            _ => Self::Unreachable(failure),
        }
    }
}

/// Brings the schema up to date.
pub(super) fn migrate(url: &DatabaseUrl) -> Result<(), PrepareError> {
    Alone::with(url)?.migrate()
}

/// What is left behind where an instance's secret takes the place of another: a hand-over of the audit log, and the event
/// of the time that an aligned clock would show.
pub(super) struct Replacing<'a> {
    pub(super) keys: &'a AuditKeys,
    pub(super) event: &'a dyn Fn(UnixTime) -> SecurityEvent,
}

/// Brings the schema up to date and holds an instance's secrets against the database's. Returns how often a secret was
/// adopted so far.
pub(super) fn prepare(
    url: &DatabaseUrl,
    checks: &Checks,
    replacing: Option<Replacing<'_>>,
) -> Result<i64, PrepareError> {
    let mut alone = Alone::with(url)?;
    alone.migrate()?;
    let known = alone.known_secrets()?;
    known.admit(checks)?;
    // Where nothing is new, it only reads.
    if !known.says_it_all(checks) {
        alone.transaction(|connection| {
            known.learn(connection, checks).map_err(store_error)?;
            match (replacing, known.replaced_by(checks)) {
                (Some(replacing), Some(old)) => hand_over(connection, &replacing, old),
                _ => Ok(()),
            }
        })?;
    }
    Ok(known.adoptions)
}

fn hand_over(
    connection: &mut AnyConnection,
    replacing: &Replacing<'_>,
    old: &[u8],
) -> Result<(), StoreError> {
    let time = deployment::look(connection).map_err(store_error)?.time;
    let event = (replacing.event)(time.now.max(time.newest));
    if let Some(old) = replacing.keys.accepted(old) {
        audit_chain::hand_over(connection, &replacing.keys.current, old, event.at)?;
    }
    insert_event(connection, &event)
}

/// Brings the schema up to date, puts another secret in the place of the database's, refuses all others that it knows
/// and ends all sessions. `event` is told the time that an aligned clock would show.
pub(super) fn adopt(
    url: &DatabaseUrl,
    adopted: KeyCheck,
    key: &AuditKey,
    event: impl FnOnce(UnixTime) -> SecurityEvent,
) -> Result<(), PrepareError> {
    let mut alone = Alone::with(url)?;
    alone.migrate()?;
    let known = alone.known_secrets()?;
    known.admit_new(adopted)?;
    alone.transaction(|connection| {
        let checks = Checks { current: adopted, accepted: Vec::new() };
        known.learn(connection, &checks).map_err(store_error)?;
        secrets::refuse_all_but(connection, adopted).map_err(store_error)?;
        let time = deployment::look(connection).map_err(store_error)?.time;
        let event = event(time.now.max(time.newest));
        deployment::raise_floor(connection, event.at).map_err(store_error)?;
        audit_chain::adoption(connection, key, event.at)?;
        insert_event(connection, &event)
    })
}

/// A connection outside the pool, whose owner alone prepares the database. The fields are dropped in this order.
struct Alone<'a> {
    url: &'a DatabaseUrl,
    connection: AnyConnection,
    /// The lock of a SQLite database. PostgreSQL's is the connection's.
    _lock: Option<File>,
}

impl<'a> Alone<'a> {
    /// Connects and takes the lock. On SQLite the lock comes first: under it the file is made, and the first
    /// connection of all turns it to WAL, which fails at once where another does the same.
    fn with(url: &'a DatabaseUrl) -> Result<Self, PrepareError> {
        let failed = |failure| PrepareError::of(url, failure);
        let lock = match url {
            DatabaseUrl::Postgres(_) => None,
            DatabaseUrl::Sqlite(path) => {
                sqlite_file::make_folder(path).map_err(|error| failed(error.into()))?;
                let lock = sqlite_file::lock(path, PATIENCE).map_err(|error| failed(error.into()))?;
                let stays_locked = || DatabaseFailure::new("another instance stays at preparing it");
                let lock = lock.ok_or_else(|| PrepareError::Unreachable(stays_locked()))?;
                sqlite_file::make_file(path).map_err(|error| failed(error.into()))?;
                Some(lock)
            }
        };
        let mut connection = AnyConnection::connect(url).map_err(failed)?;
        if let AnyConnection::Postgres(connection) = &mut connection {
            let encoding: Encoding =
                diesel::sql_query("SELECT current_setting('server_encoding') AS server_encoding")
                    .get_result(connection)
                    .map_err(|error| failed(error.into()))?;
            if encoding.server_encoding != "UTF8" {
                return Err(PrepareError::Encoding(encoding.server_encoding));
            }
            // This connection only prepares: its waits are bounded by the lock timeout, its statements are not.
            let patience = PATIENCE.as_millis();
            let lock = format!(
                "SET statement_timeout TO 0; SET lock_timeout TO {patience}; SELECT pg_advisory_lock({ADVISORY_LOCK});"
            );
            connection.batch_execute(&lock).map_err(|error| failed(error.into()))?;
        }
        Ok(Self { url, connection, _lock: lock })
    }

    /// Applies what is pending. Where nothing is, it only reads: a role that may not change the schema can start.
    fn migrate(&mut self) -> Result<(), PrepareError> {
        let states = migrations::states(self.url, &mut self.connection)?;
        if states.iter().all(|state| state.applied) {
            return Ok(());
        }
        let applied = migrations::run(&mut self.connection).map_err(|failure| {
            if failure.is_busy_file() {
                PrepareError::Unreachable(failure)
            } else {
                PrepareError::Migration(failure)
            }
        })?;
        log::info!(applied; "migrated the database");
        Ok(())
    }

    fn known_secrets(&mut self) -> Result<Known, PrepareError> {
        Known::read(&mut self.connection).map_err(|error| PrepareError::of(self.url, error.into()))
    }

    /// Runs `work` in a transaction. What fails in the middle is rolled back with the end of the connection.
    fn transaction(
        mut self,
        work: impl FnOnce(&mut AnyConnection) -> Result<(), StoreError>,
    ) -> Result<(), PrepareError> {
        let connection = &mut self.connection;
        let done = connection.begin().map_err(store_error).and_then(|()| {
            work(connection)?;
            connection.commit().map_err(store_error)
        });
        done.map_err(|error| PrepareError::of(self.url, error.into()))
    }
}

#[derive(QueryableByName)]
struct Encoding {
    #[diesel(sql_type = Text)]
    server_encoding: String,
}

/// How long an instance waits for another to finish preparing.
const PATIENCE: Duration = Duration::from_mins(1);

/// The advisory lock's key: "portcull" in ASCII.
const ADVISORY_LOCK: i64 = 0x706f_7274_6375_6c6c;
