//! The schema's history: which migrations there are, which a database has, and how the others are applied.
//!
//! A database names the newest migration that a binary must know to use it (`deployment.oldest_binary`). A binary that
//! knows it works with the schemas of newer versions too, so that two versions can run side by side. Migrations that
//! break older binaries raise the name; all others leave it.

mod effect;
pub(super) mod embedded;
mod found_schema;
mod plan;
mod progress;
#[cfg(test)]
mod rules;
mod run;
mod sql;
mod statement;

pub use self::effect::{TableLock, TableWork};
pub(super) use self::found_schema::FoundSchema;
pub use self::plan::{MigrationPlan, PlannedMigration, PlannedStatement};
pub(super) use self::run::{Applied, run};
use super::connection::AnyConnection;
use super::postgres::server::check_existing_server;
use super::prepare::{ExclusiveConnection, Missing};
use super::{DatabaseUrl, PrepareError, sqlite};

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
        match ExclusiveConnection::open(self.url, Missing::Create) {
            Err(PrepareError::NoDirectUrl) if self.is_current()? => Ok(()),
            exclusive => exclusive?.migrate(),
        }
    }

    /// Every migration of this build and whether the database has it, oldest first. Migrations of newer builds that the
    /// database has follow. Changes nothing.
    ///
    /// # Errors
    /// [`PrepareError`]; [`PrepareError::Absent`] if a SQLite file does not exist.
    pub fn states(self) -> Result<Vec<MigrationState>, PrepareError> {
        let mut connection = self.connect_read_only()?;
        Ok(FoundSchema::read(self.url, &mut connection)?.states())
    }

    /// What [`Migrations::run`] would do, with the cost of each statement. Changes nothing.
    ///
    /// # Errors
    /// [`PrepareError`]; [`PrepareError::Absent`] if a SQLite file does not exist.
    pub fn plan(self) -> Result<MigrationPlan, PrepareError> {
        let mut connection = self.connect_read_only()?;
        let schema = FoundSchema::read(self.url, &mut connection)?;
        plan::plan(&schema, &mut connection).map_err(|error| PrepareError::of(self.url, error.into()))
    }

    /// Whether nothing is pending.
    fn is_current(self) -> Result<bool, PrepareError> {
        Ok(FoundSchema::read(self.url, &mut self.connect_read_only()?)?.is_current())
    }

    fn connect_read_only(self) -> Result<AnyConnection, PrepareError> {
        if let DatabaseUrl::Sqlite(path) = self.url
            && !sqlite::file::is_there(path).map_err(|error| PrepareError::of(self.url, error.into()))?
        {
            return Err(PrepareError::missing(path));
        }
        check_existing_server(self.url)?;
        AnyConnection::connect_read_only(self.url).map_err(|failure| PrepareError::of(self.url, failure))
    }
}

/// One migration of this build or of the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MigrationState {
    /// Its version and name; only the version if this build lacks it.
    pub name: String,
    /// Whether the database has it.
    pub status: MigrationStatus,
}

/// Whether a database has a migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MigrationStatus {
    /// The database has it.
    Applied,
    /// The database lacks it.
    Pending,
    /// The database has it and this build does not: a newer one applied it.
    Unknown,
}

#[cfg(test)]
mod tests {
    use diesel::prelude::*;
    use diesel_migrations::MigrationHarness as _;
    use portcullis_domain::time::UnixTime;
    use portcullis_testkit::postgres::ThrowawayPostgres;

    use super::super::schema::deployment;
    use super::super::secrets::{Known, refuse_all_but};
    use super::embedded::{POSTGRES, SQLITE, embedded};
    use super::*;
    use crate::keys::SecretFingerprint;

    #[test]
    fn both_databases_have_the_same_history() {
        let names = |url: &str| {
            let embedded = embedded(&DatabaseUrl::parse(url).unwrap()).unwrap();
            embedded.into_iter().map(|migration| (migration.version, migration.name)).collect::<Vec<_>>()
        };
        let sqlite = names("sqlite://x");
        assert_eq!(sqlite, names("postgres://localhost/x"));
        assert!(!sqlite.is_empty());
    }

    /// Down to nothing and up again.
    fn can_be_undone(url: &DatabaseUrl) {
        let mut connection = AnyConnection::connect(url).unwrap();
        assert!(run(url, &mut connection).unwrap().migrations > 0);
        let undone = match &mut connection {
            AnyConnection::Postgres(connection) => connection.revert_all_migrations(POSTGRES).map(|_| ()),
            AnyConnection::Sqlite(connection) => connection.revert_all_migrations(SQLITE).map(|_| ()),
        };
        undone.unwrap();
        assert!(FoundSchema::read(url, &mut connection).unwrap().is_absent());
        run(url, &mut connection).unwrap();
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
        run(url, &mut connection).unwrap();
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
