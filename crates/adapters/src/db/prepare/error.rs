use std::path::{Path, PathBuf};

use portcullis_domain::time::UnixTime;

use crate::db::failure::DatabaseFailure;
use crate::db::postgres::server::{Denial, OLDEST_POSTGRES};
use crate::db::{DatabaseUrl, InvalidDatabaseUrl, sqlite};
use crate::files::absolute;

/// The database could not be made ready.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// It does not answer, or another instance or process holds it for too long; trying again may help.
    #[error("cannot reach the database: {0}")]
    Unreachable(DatabaseFailure),
    /// The server answers, but refuses a statement that the service needs.
    #[error("the database does not allow what the service needs: {0}; {1}")]
    Denied(DatabaseFailure, Denial),
    /// libpq refuses the URL, a variable or a file. Trying again does not help.
    #[error("libpq cannot use the settings: {0}")]
    Refused(DatabaseFailure),
    /// The URL names a file that cannot be read.
    #[error("{0}")]
    Url(InvalidDatabaseUrl),
    /// A pooler in front of the database shares server processes among clients.
    #[error(
        "a pooler in transaction or statement mode (such as PgBouncer with pool_mode = transaction) stands before the \
         database; it would mix up the sessions of its clients: connect to PostgreSQL directly, or set the pooler to \
         session mode"
    )]
    Pooler,
    /// A pooler in transaction mode is expected, and this one is in statement mode.
    #[error("the pooler is in statement mode, which allows no transactions: set it to transaction mode")]
    StatementPooler,
    /// Behind a pooler in transaction mode, the role lacks settings. Contains the statements that add them.
    #[error(
        "sessions cannot be set through a pooler in transaction mode, so the role must bring the settings. Run `{0}`, then \
         let the pooler reconnect (PgBouncer: RECONNECT)"
    )]
    RoleSettings(String),
    /// The database must be prepared, which a pooler in transaction mode does not allow: the lock and the settings belong
    /// to a session.
    #[error("the database must be prepared or migrated, which a pooler in transaction mode does not allow")]
    NoDirectUrl,
    /// The URL and the direct URL lead to different databases or schemas.
    #[error("leads to another database or schema than the URL for requests")]
    OtherDatabase,
    /// The database cannot be used by its direct URL.
    #[error(transparent)]
    Direct(Box<PrepareError>),
    /// The PostgreSQL server is older than the statements allow.
    #[error("the server is PostgreSQL {is}: version {needed} or later is needed", is = .0 / 10_000, needed = OLDEST_POSTGRES / 10_000)]
    TooOld(i32),
    /// The SQLite file or its folder cannot be made, read or written, or the file is no database.
    #[error("cannot use the database file {path}: {1}", path = absolute(.0))]
    Unusable(PathBuf, DatabaseFailure),
    /// There is no database, or none of this service's tables in it, and the call must not create them.
    #[error("there is no database of Portcullis: {0}")]
    Absent(String),
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
    /// The contents of the database were copied elsewhere, where they are in use since.
    #[error("the contents of the database were copied to another one, which replaced it")]
    Moved(UnixTime),
    /// A copy into the database was interrupted.
    #[error("a copy into the database did not finish")]
    UnfinishedCopy,
    /// The schema is older than this build, and the call only reads.
    #[error("the database's schema is older than this build")]
    Outdated,
    /// A newer build has changed the schema in a way that this build cannot work with.
    #[error(
        "the database needs a binary that knows migration {needed}; this one knows migrations up to {newest}"
    )]
    BinaryTooOld {
        /// The version of the newest migration that a binary must know.
        needed: String,
        /// The version of this build's newest migration.
        newest: String,
    },
    /// A migration failed. It was rolled back.
    #[error("a migration failed: {0}")]
    Migration(DatabaseFailure),
}

impl PrepareError {
    /// There is nothing at a database's path.
    pub(in crate::db) fn missing(path: &Path) -> Self {
        Self::Absent(format!("{} does not exist", absolute(path)))
    }

    /// The database lacks every table of this service.
    pub(in crate::db) fn without_tables(url: &DatabaseUrl) -> Self {
        Self::Absent(match url {
            DatabaseUrl::Sqlite(path) => format!("{} has none of its tables", absolute(path)),
            url @ DatabaseUrl::Postgres(_) => format!("{url} has none of its tables"),
        })
    }

    /// Sorts a failure to connect, or to read or write when connected.
    pub(in crate::db) fn of(url: &DatabaseUrl, failure: DatabaseFailure) -> Self {
        match url {
            DatabaseUrl::Sqlite(path) if failure.may_be_the_file_system() => {
                let failure =
                    format!("{failure}; if the disk is sound, {}", sqlite::file::FILE_SYSTEM_ADVICE);
                Self::Unusable(path.clone(), DatabaseFailure::new(failure))
            }
            DatabaseUrl::Sqlite(path) if !failure.is_busy_file() => Self::Unusable(path.clone(), failure),
            DatabaseUrl::Postgres(_) if failure.is_refused_by_libpq() => Self::Refused(failure),
            _ => Self::Unreachable(failure),
        }
    }
}
