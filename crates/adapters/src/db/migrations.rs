//! The schema's history, embedded in the binary.

use std::collections::HashSet;

use diesel::backend::Backend;
use diesel::migration::MigrationSource;
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::sql_types::BigInt;
use diesel::sqlite::Sqlite;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use super::connection::AnyConnection;
use super::failure::DatabaseFailure;
use super::postgres::server::check_existing_server;
use super::prepare::{ExclusiveConnection, Missing};
use super::schema::__diesel_schema_migrations;
use super::{DatabaseUrl, PrepareError, sqlite};

const POSTGRES: EmbeddedMigrations = embed_migrations!("migrations/postgres");
pub(super) const SQLITE: EmbeddedMigrations = embed_migrations!("migrations/sqlite");

/// The migrations of this build, and those that a database has. Every method connects by itself.
#[derive(Clone, Copy, Debug)]
pub struct Migrations<'a> {
    url: &'a DatabaseUrl,
}

impl<'a> Migrations<'a> {
    /// The migrations of the database at `url`. Does not connect.
    pub fn of(url: &'a DatabaseUrl) -> Self {
        Self { url }
    }

    /// Applies what is pending, and creates the database if it is missing, under the lock that preparing it takes.
    ///
    /// # Errors
    /// [`PrepareError`].
    pub fn run(self) -> Result<(), PrepareError> {
        ExclusiveConnection::open(self.url, Missing::Create)?.migrate()
    }

    /// Every migration of this build and whether the database has it, oldest first. Changes nothing.
    ///
    /// # Errors
    /// [`PrepareError`]; [`PrepareError::Absent`] if a SQLite file does not exist.
    pub fn states(self) -> Result<Vec<MigrationState>, PrepareError> {
        if let DatabaseUrl::Sqlite(path) = self.url
            && !sqlite::file::is_there(path).map_err(|error| PrepareError::of(self.url, error.into()))?
        {
            return Err(PrepareError::missing(path));
        }
        check_existing_server(self.url)?;
        let mut connection = AnyConnection::connect_read_only(self.url)
            .map_err(|failure| PrepareError::of(self.url, failure))?;
        states(self.url, &mut connection)
    }
}

/// One migration of this build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MigrationState {
    /// Its version and name.
    pub name: String,
    /// Whether the database has it.
    pub applied: bool,
}

/// Every migration of this build and whether the database has it, over a connection.
pub(super) fn states(
    url: &DatabaseUrl,
    connection: &mut AnyConnection,
) -> Result<Vec<MigrationState>, PrepareError> {
    let applied = applied(connection).map_err(|error| PrepareError::of(url, error.into()))?;
    states_of(url, &applied)
}

/// Applies what is pending and says how many that were. The caller holds the lock: Diesel takes none, it lists what is
/// pending, then runs it.
pub(super) fn run(connection: &mut AnyConnection) -> Result<usize, DatabaseFailure> {
    let applied = match connection {
        AnyConnection::Postgres(connection) => {
            connection.run_pending_migrations(POSTGRES).map(|applied| applied.len())
        }
        AnyConnection::Sqlite(connection) => {
            connection.run_pending_migrations(SQLITE).map(|applied| applied.len())
        }
    };
    applied.map_err(DatabaseFailure::new)
}

/// The versions that the database has. (Diesel's own look makes its table where there is none.)
fn applied(connection: &mut AnyConnection) -> QueryResult<HashSet<String>> {
    let count = match connection {
        AnyConnection::Postgres(_) => "SELECT count(to_regclass('__diesel_schema_migrations')) AS tables",
        AnyConnection::Sqlite(_) => {
            "SELECT count(*) AS tables FROM sqlite_schema
              WHERE type = 'table' AND name = '__diesel_schema_migrations'"
        }
    };
    let Count { tables } = diesel::sql_query(count).get_result(connection)?;
    if tables == 0 {
        return Ok(HashSet::new());
    }
    let versions: Vec<String> =
        __diesel_schema_migrations::table.select(__diesel_schema_migrations::version).load(connection)?;
    Ok(versions.into_iter().collect())
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    tables: i64,
}

/// This build's migrations against the versions of a database.
fn states_of(url: &DatabaseUrl, applied: &HashSet<String>) -> Result<Vec<MigrationState>, PrepareError> {
    let embedded = embedded(url).map_err(PrepareError::Migration)?;
    let state = |Embedded { version, name }| MigrationState { applied: applied.contains(&version), name };
    Ok(embedded.into_iter().map(state).collect())
}

/// A migration of this build.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Embedded {
    version: String,
    name: String,
}

/// This build's migrations, oldest first.
fn embedded(url: &DatabaseUrl) -> Result<Vec<Embedded>, DatabaseFailure> {
    fn sorted<DB: Backend>(source: &EmbeddedMigrations) -> Result<Vec<Embedded>, DatabaseFailure> {
        let migrations = MigrationSource::<DB>::migrations(source).map_err(DatabaseFailure::new)?;
        let mut embedded: Vec<_> = migrations
            .iter()
            .map(|migration| migration.name())
            .map(|name| Embedded { version: name.version().to_string(), name: name.to_string() })
            .collect();
        embedded.sort();
        Ok(embedded)
    }
    match url {
        DatabaseUrl::Postgres(_) => sorted::<Pg>(&POSTGRES),
        DatabaseUrl::Sqlite(_) => sorted::<Sqlite>(&SQLITE),
    }
}

#[cfg(test)]
mod tests {
    use portcullis_domain::time::UnixTime;
    use portcullis_testkit::postgres::ThrowawayPostgres;

    use super::super::schema::deployment;
    use super::super::secrets::{Known, refuse_all_but};
    use super::*;
    use crate::keys::SecretFingerprint;

    #[test]
    fn both_databases_have_the_same_history() {
        let sqlite = embedded(&DatabaseUrl::parse("sqlite://x").unwrap()).unwrap();
        let postgres = embedded(&DatabaseUrl::parse("postgres://localhost/x").unwrap()).unwrap();
        assert_eq!(sqlite, postgres);
        assert!(!sqlite.is_empty());
    }

    /// Down to nothing and up again.
    fn can_be_undone(url: &DatabaseUrl) {
        let mut connection = AnyConnection::connect(url).unwrap();
        assert!(run(&mut connection).unwrap() > 0);
        let undone = match &mut connection {
            AnyConnection::Postgres(connection) => connection.revert_all_migrations(POSTGRES).map(|_| ()),
            AnyConnection::Sqlite(connection) => connection.revert_all_migrations(SQLITE).map(|_| ()),
        };
        undone.unwrap();
        assert!(states(url, &mut connection).unwrap().iter().all(|state| !state.applied));
        run(&mut connection).unwrap();
        let shared = super::super::deployment::read_shared(&mut connection).unwrap();
        assert_eq!((shared.valid_from, shared.time.high_water_mark), (UnixTime::EPOCH, UnixTime::EPOCH));
    }

    /// A secret that a database had before it wrote down all of them can be refused like any other.
    fn knows_the_secret_from_before(url: &DatabaseUrl) {
        let mut connection = AnyConnection::connect(url).unwrap();
        let first = match &mut connection {
            AnyConnection::Postgres(connection) => connection.run_next_migration(POSTGRES).map(|_| ()),
            AnyConnection::Sqlite(connection) => connection.run_next_migration(SQLITE).map(|_| ()),
        };
        first.unwrap();
        let old = SecretFingerprint::from_bytes([1; 32]);
        diesel::update(deployment::table)
            .set(deployment::key_check.eq(old.as_bytes().as_slice()))
            .execute(&mut connection)
            .unwrap();
        run(&mut connection).unwrap();
        assert!(Known::read(&mut connection).unwrap().admit_new(old).is_ok());
        refuse_all_but(&mut connection, SecretFingerprint::from_bytes([2; 32])).unwrap();
        assert!(Known::read(&mut connection).unwrap().admit_new(old).is_err());
    }

    #[test]
    fn the_secret_of_an_older_sqlite_database_is_known() {
        let folder = tempfile::tempdir().unwrap();
        knows_the_secret_from_before(&DatabaseUrl::Sqlite(folder.path().join("x.db")));
    }

    #[test]
    fn the_secret_of_an_older_postgres_database_is_known() {
        let url = ThrowawayPostgres::shared().create_database();
        knows_the_secret_from_before(&DatabaseUrl::parse(&url).unwrap());
    }

    #[test]
    fn the_history_of_sqlite_can_be_undone() {
        let folder = tempfile::tempdir().unwrap();
        can_be_undone(&DatabaseUrl::Sqlite(folder.path().join("x.db")));
    }

    #[test]
    fn the_history_of_postgres_can_be_undone() {
        let url = ThrowawayPostgres::shared().create_database();
        can_be_undone(&DatabaseUrl::parse(&url).unwrap());
    }
}
