//! The place where a database lives, as a one-way value that a copy elsewhere does not share.

use std::io;
use std::path::Path;
use std::time::UNIX_EPOCH;

use aws_lc_rs::digest::{Context, SHA256};
use diesel::prelude::*;
use diesel::sql_types::BigInt;

use crate::db::connection::AnyConnection;
use crate::db::failure::DatabaseFailure;
use crate::db::sqlite::file::identity;
use crate::db::{DatabaseUrl, PrepareError};

/// SHA-256 over what identifies the place of a database.
///
/// On PostgreSQL that is the cluster (`system_identifier`), the database and the table `deployment`: a dump gets new
/// numbers wherever it is restored, even in place of the tables it was made of. A standby that is promoted, and tables
/// that are rewritten or vacuumed, keep theirs. On SQLite it is the file: its inode and the time of its creation, so that
/// a renamed file stays and a copied one does not. The device is left out because its number changes with each boot, and
/// a file system without creation times is identified by the inode only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::db) struct Place([u8; 32]);

impl Place {
    /// Returns the place of a database that has this service's tables.
    pub(in crate::db) fn of(url: &DatabaseUrl, connection: &mut AnyConnection) -> Result<Self, PrepareError> {
        let place = match (url, connection) {
            (DatabaseUrl::Sqlite(path), _) => Self::of_file(path).map_err(DatabaseFailure::from),
            (DatabaseUrl::Postgres(_), connection) => Self::on_server(connection).map_err(Into::into),
        };
        place.map_err(|failure| PrepareError::of(url, failure))
    }

    pub(in crate::db) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn of_file(path: &Path) -> io::Result<Self> {
        let (inode, created) = identity(path)?;
        let created = created.and_then(|created| created.duration_since(UNIX_EPOCH).ok());
        let created = created.map(|created| created.as_nanos().to_be_bytes().to_vec());
        Ok(Self::hash(&[b"sqlite", &inode.unwrap_or_default().to_be_bytes(), &created.unwrap_or_default()]))
    }

    fn on_server(connection: &mut AnyConnection) -> QueryResult<Self> {
        #[derive(QueryableByName)]
        struct Numbers {
            #[diesel(sql_type = BigInt)]
            system: i64,
            #[diesel(sql_type = BigInt)]
            database: i64,
            #[diesel(sql_type = BigInt)]
            relation: i64,
        }
        let query = diesel::sql_query(
            "SELECT (SELECT system_identifier FROM pg_control_system()) AS system,
                    (SELECT oid::bigint FROM pg_database WHERE datname = current_database()) AS database,
                    'deployment'::regclass::oid::bigint AS relation",
        );
        let Numbers { system, database, relation } = query.get_result(connection)?;
        let numbers = [system, database, relation].map(i64::to_be_bytes);
        Ok(Self::hash(&[b"postgres", &numbers.concat()]))
    }

    fn hash(parts: &[&[u8]]) -> Self {
        let mut hash = Context::new(&SHA256);
        hash.update(b"portcullis home v1\n");
        for part in parts {
            hash.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(part);
        }
        let mut place = [0; 32];
        place.copy_from_slice(hash.finish().as_ref());
        Self(place)
    }
}
