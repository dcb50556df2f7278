//! The schema that a database has, compared with that of this build.

use std::collections::HashSet;

use diesel::prelude::*;
use diesel::sql_types::BigInt;

use super::embedded::{Embedded, embedded};
use super::{MigrationState, MigrationStatus};
use crate::db::connection::AnyConnection;
use crate::db::schema::{__diesel_schema_migrations, deployment};
use crate::db::{DatabaseUrl, PrepareError};

/// What a database says of its schema.
pub(in crate::db) struct FoundSchema {
    embedded: Vec<Embedded>,
    applied: HashSet<String>,
    /// The newest migration that a binary must know to use the database. Empty if every binary may.
    pub(super) oldest_binary: String,
}

impl FoundSchema {
    /// Reads it over a connection to the database at `url`. Changes nothing.
    pub(in crate::db) fn read(
        url: &DatabaseUrl,
        connection: &mut AnyConnection,
    ) -> Result<Self, PrepareError> {
        let embedded = embedded(url).map_err(PrepareError::Migration)?;
        let read = applied(connection).and_then(|applied| {
            let oldest_binary = match applied.contains(HAS_OLDEST_BINARY) {
                true => deployment::table.select(deployment::oldest_binary).first(connection)?,
                false => String::new(),
            };
            Ok((applied, oldest_binary))
        });
        let (applied, oldest_binary) = read.map_err(|error| PrepareError::of(url, error.into()))?;
        Ok(Self { embedded, applied, oldest_binary })
    }

    /// Checks that this build may use the database: a migration that breaks older builds names the newest migration that a
    /// build must know.
    ///
    /// # Errors
    /// [`PrepareError::BinaryTooOld`].
    pub(in crate::db) fn admit_binary(&self) -> Result<(), PrepareError> {
        let newest = self.newest_embedded();
        // Versions are digits of one length, so their order is that of the text.
        if self.oldest_binary.as_str() > newest {
            return Err(PrepareError::BinaryTooOld {
                needed: self.oldest_binary.clone(),
                newest: newest.to_owned(),
            });
        }
        Ok(())
    }

    /// Whether the database has none of this build's migrations.
    pub(in crate::db) fn is_absent(&self) -> bool {
        !self.embedded.iter().any(|migration| self.applied.contains(&migration.version))
    }

    /// Whether the database has every migration of this build. It may have more.
    pub(in crate::db) fn is_current(&self) -> bool {
        self.pending().next().is_none()
    }

    /// This build's migrations that the database lacks, oldest first.
    pub(super) fn pending(&self) -> impl Iterator<Item = &Embedded> {
        self.embedded.iter().filter(|migration| !self.applied.contains(&migration.version))
    }

    /// The versions of applied migrations that this build lacks, oldest first.
    pub(super) fn unknown(&self) -> Vec<&str> {
        let is_known = |version: &str| self.embedded.iter().any(|migration| migration.version == version);
        let mut unknown: Vec<_> =
            self.applied.iter().map(String::as_str).filter(|version| !is_known(version)).collect();
        unknown.sort_unstable();
        unknown
    }

    /// The version of this build's newest migration.
    pub(super) fn newest_embedded(&self) -> &str {
        self.embedded.last().map_or("", |migration| &migration.version)
    }

    /// Logs that a newer build has changed the schema, if one has.
    pub(in crate::db) fn log_unknown(&self) {
        if let Some(newest) = self.unknown().last() {
            log::info!(
                newest_applied = *newest, newest_known = self.newest_embedded();
                "a newer version migrated the database; this version can use it"
            );
        }
    }

    /// Every migration of this build, then those that only the database knows.
    pub(super) fn states(&self) -> Vec<MigrationState> {
        let known = self.embedded.iter().map(|migration| MigrationState {
            name: migration.name.clone(),
            status: match self.applied.contains(&migration.version) {
                true => MigrationStatus::Applied,
                false => MigrationStatus::Pending,
            },
        });
        let unknown = self
            .unknown()
            .into_iter()
            .map(|version| MigrationState { name: version.to_owned(), status: MigrationStatus::Unknown });
        known.chain(unknown).collect()
    }
}

/// Returns the versions that the database has. (Diesel's own query creates its table if there is none.)
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

/// The migration that adds `deployment.oldest_binary`.
const HAS_OLDEST_BINARY: &str = "20261127030000";
