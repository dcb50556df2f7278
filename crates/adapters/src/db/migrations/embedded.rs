//! The migrations that this build contains.

use std::any::Any;

use diesel::QueryResult;
use diesel::backend::Backend;
use diesel::connection::{BoxableConnection, SimpleConnection};
use diesel::migration::{Migration, MigrationSource};
use diesel::pg::Pg;
use diesel::sqlite::Sqlite;
use diesel_migrations::{EmbeddedMigrations, embed_migrations};

use crate::db::DatabaseUrl;
use crate::db::failure::DatabaseFailure;

pub(super) const POSTGRES: EmbeddedMigrations = embed_migrations!("migrations/postgres");
pub(in crate::db) const SQLITE: EmbeddedMigrations = embed_migrations!("migrations/sqlite");

/// A migration of this build.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Embedded {
    /// Its name without the text, as Diesel stores it: `20261127000000`.
    pub(super) version: String,
    /// The name of its folder.
    pub(super) name: String,
    pub(super) is_in_transaction: bool,
    pub(super) up: String,
    /// Absent if the migration cannot be undone.
    pub(super) down: Option<String>,
}

/// Returns this build's migrations for a kind of database, oldest first.
pub(super) fn embedded(url: &DatabaseUrl) -> Result<Vec<Embedded>, DatabaseFailure> {
    match url {
        DatabaseUrl::Postgres(_) => sorted::<Pg>(&POSTGRES),
        DatabaseUrl::Sqlite(_) => sorted::<Sqlite>(&SQLITE),
    }
}

fn sorted<DB: Backend>(source: &EmbeddedMigrations) -> Result<Vec<Embedded>, DatabaseFailure> {
    let migrations = MigrationSource::<DB>::migrations(source).map_err(DatabaseFailure::new)?;
    let embedded: Result<Vec<_>, _> = migrations.iter().map(|migration| described(&**migration)).collect();
    let mut embedded = embedded.map_err(DatabaseFailure::new)?;
    embedded.sort();
    Ok(embedded)
}

/// Returns the SQL that a migration executes.
pub(super) fn sql_of<DB: Backend>(migration: &dyn Migration<DB>) -> diesel::migration::Result<String> {
    let mut up = Recorder::default();
    migration.run(&mut up)?;
    Ok(up.sql)
}

fn described<DB: Backend>(migration: &dyn Migration<DB>) -> diesel::migration::Result<Embedded> {
    let mut down = Recorder::default();
    Ok(Embedded {
        version: migration.name().version().to_string(),
        name: migration.name().to_string(),
        is_in_transaction: migration.metadata().run_in_transaction(),
        up: sql_of(migration)?,
        // Fails only if there is no `down.sql`.
        down: migration.revert(&mut down).ok().map(|()| down.sql),
    })
}

/// Records the SQL of a migration instead of executing it: Diesel offers no access to the text.
#[derive(Default)]
struct Recorder {
    sql: String,
}

impl SimpleConnection for Recorder {
    fn batch_execute(&mut self, query: &str) -> QueryResult<()> {
        self.sql.push_str(query);
        Ok(())
    }
}

impl<DB: Backend> BoxableConnection<DB> for Recorder {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}
