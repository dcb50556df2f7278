//! The schema's history, embedded in the binary, and the lock under which one instance at a time moves it on.
//! (Diesel takes none: it lists what is pending, then runs it.)

use std::error::Error;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use diesel::migration::{MigrationSource, MigrationVersion};
use diesel::pg::Pg;
use diesel::sqlite::Sqlite;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use portcullis_domain::ports::{StoreError, StoreErrorKind};

use super::DatabaseUrl;
use super::connection::{AnyConnection, ConnectError, make_parent};

const POSTGRES: EmbeddedMigrations = embed_migrations!("../../migrations/postgres");
const SQLITE: EmbeddedMigrations = embed_migrations!("../../migrations/sqlite");

/// One migration of this build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MigrationState {
    /// Its version and name.
    pub name: String,
    /// Whether the database has it.
    pub applied: bool,
}

/// The database could not be made ready.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// It cannot be reached, or another instance holds the lock for too long; trying again may help.
    #[error("cannot reach the database: {0}")]
    Unreachable(String),
    /// The database file or its folder cannot be made or written.
    #[error("cannot write the database file: {0}")]
    Unwritable(String),
    /// A migration failed. It was rolled back.
    #[error("a migration failed: {0}")]
    Migration(String),
}

/// Applies what is pending, while no other instance does.
pub(super) fn run(url: &DatabaseUrl) -> Result<(), PrepareError> {
    let (mut connection, _lock) = connect_alone(url)?;
    let result = match &mut connection {
        AnyConnection::Postgres(connection) => {
            connection.run_pending_migrations(POSTGRES).map(|applied| applied.len())
        }
        AnyConnection::Sqlite(connection) => {
            connection.run_pending_migrations(SQLITE).map(|applied| applied.len())
        }
    };
    match result {
        Ok(0) => Ok(()),
        Ok(applied) => {
            log::info!(applied; "migrated the database");
            Ok(())
        }
        Err(error) => Err(PrepareError::Migration(one_line(error.as_ref()))),
    }
}

pub(super) fn status(url: &DatabaseUrl) -> Result<Vec<MigrationState>, PrepareError> {
    if let DatabaseUrl::Sqlite(path) = url
        && !path.exists()
    {
        // Looking must not make the file.
        return Ok(embedded(url).into_iter().map(|name| MigrationState { name, applied: false }).collect());
    }
    let mut connection = connect(url)?;
    let applied =
        applied(&mut connection).map_err(|error| PrepareError::Migration(one_line(error.as_ref())))?;
    let is_applied =
        |name: &str| applied.iter().any(|version| name.replace('-', "").starts_with(&version.to_string()));
    Ok(embedded(url).into_iter().map(|name| MigrationState { applied: is_applied(&name), name }).collect())
}

pub(super) fn has_pending(connection: &mut AnyConnection) -> Result<bool, StoreError> {
    let pending = match connection {
        AnyConnection::Postgres(connection) => connection.has_pending_migration(POSTGRES),
        AnyConnection::Sqlite(connection) => connection.has_pending_migration(SQLITE),
    };
    pending.map_err(|error| StoreError::new(StoreErrorKind::Unavailable, error))
}

fn connect(url: &DatabaseUrl) -> Result<AnyConnection, PrepareError> {
    AnyConnection::connect(url).map_err(|error: ConnectError| match url {
        DatabaseUrl::Postgres(_) => PrepareError::Unreachable(error.to_string()),
        DatabaseUrl::Sqlite(path) => PrepareError::Unwritable(format!("{}: {error}", path.display())),
    })
}

fn applied(
    connection: &mut AnyConnection,
) -> Result<Vec<MigrationVersion<'static>>, Box<dyn Error + Send + Sync>> {
    match connection {
        AnyConnection::Postgres(connection) => connection.applied_migrations(),
        AnyConnection::Sqlite(connection) => connection.applied_migrations(),
    }
}

/// The names of this build's migrations, oldest first.
fn embedded(url: &DatabaseUrl) -> Vec<String> {
    fn names<DB: diesel::backend::Backend>(source: &EmbeddedMigrations) -> Vec<String> {
        let migrations = MigrationSource::<DB>::migrations(source).unwrap_or_default();
        let mut names: Vec<_> = migrations.iter().map(|migration| migration.name().to_string()).collect();
        names.sort();
        names
    }
    match url {
        DatabaseUrl::Postgres(_) => names::<Pg>(&POSTGRES),
        DatabaseUrl::Sqlite(_) => names::<Sqlite>(&SQLITE),
    }
}

/// Held while migrating; the end of the process frees it too.
enum Lock {
    /// An advisory lock of the connection.
    Postgres,
    /// A locked file beside the database.
    Sqlite { _file: File },
}

/// Connects and takes the lock. On SQLite the lock comes first: the first connection of all turns the file to WAL,
/// which fails at once where another does the same.
fn connect_alone(url: &DatabaseUrl) -> Result<(AnyConnection, Lock), PrepareError> {
    match url {
        DatabaseUrl::Sqlite(path) => {
            let lock = Lock::Sqlite { _file: lock_file(path)? };
            Ok((connect(url)?, lock))
        }
        DatabaseUrl::Postgres(_) => {
            let mut connection = connect(url)?;
            // This connection only migrates: its waits are bounded by the lock timeout, its statements are not.
            let patience = MIGRATION_PATIENCE.as_millis();
            let lock = format!(
                "SET statement_timeout TO 0; SET lock_timeout TO {patience}; SELECT pg_advisory_lock({ADVISORY_LOCK});"
            );
            let locked = connection.batch_execute(&lock);
            locked.map_err(|error| PrepareError::Unreachable(one_line(&error)))?;
            Ok((connection, Lock::Postgres))
        }
    }
}

fn lock_file(database: &Path) -> Result<File, PrepareError> {
    let mut name = database.as_os_str().to_owned();
    name.push(".migrate.lock");
    let path = PathBuf::from(name);
    let unwritable = |error: std::io::Error| PrepareError::Unwritable(format!("{}: {error}", path.display()));
    make_parent(database).map_err(unwritable)?;
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(unwritable)?;
    let deadline = Instant::now() + MIGRATION_PATIENCE;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(std::fs::TryLockError::WouldBlock) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(std::fs::TryLockError::WouldBlock) => {
                return Err(PrepareError::Unreachable(format!("{} stays locked", path.display())));
            }
            Err(std::fs::TryLockError::Error(error)) => return Err(unwritable(error)),
        }
    }
}

fn one_line(error: &(dyn Error + Send + Sync)) -> String {
    error.to_string().trim().replace('\n', "; ")
}

/// How long an instance waits for another to finish migrating.
const MIGRATION_PATIENCE: Duration = Duration::from_mins(1);

/// The advisory lock's key: "portcull" in ASCII.
const ADVISORY_LOCK: i64 = 0x706f_7274_6375_6c6c;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_databases_have_the_same_history() {
        let sqlite = embedded(&DatabaseUrl::parse("sqlite://x").unwrap());
        let postgres = embedded(&DatabaseUrl::parse("postgres://localhost/x").unwrap());
        assert_eq!(sqlite, postgres);
        assert!(!sqlite.is_empty());
    }
}
