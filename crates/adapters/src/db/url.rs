mod error;
mod hosts;
#[cfg(any(test, fuzzing))]
pub mod invariants;
mod options;
mod postgres;
mod target;

use std::fmt;
use std::path::{Path, PathBuf};

pub use self::error::InvalidDatabaseUrl;
pub(super) use self::hosts::Host;
use self::postgres::PostgresParts;
pub use self::target::{Pooler, PostgresUrl};
use super::PrepareError;

/// Where the database is. Its `Display` leaves out user name and password.
#[derive(Clone)]
pub enum DatabaseUrl {
    /// A PostgreSQL database, and how it is reached.
    Postgres(PostgresUrl),
    /// A SQLite file.
    Sqlite(PathBuf),
}

impl DatabaseUrl {
    /// Parses `sqlite://<path>` (relative to the working directory, or absolute with a third slash) or
    /// `postgres://[user[:password]@][host][:port]/database[?options]`.
    ///
    /// A PostgreSQL server on another machine is refused unless the URL says how the connection is encrypted
    /// (`sslmode=verify-full`, `verify-ca` or `require`, in a build with TLS) or that it is not (`disable`): libpq's default
    /// silently goes without where the server, or somebody on the way, wants that. The URL alone says where the server is;
    /// libpq's variables `PGHOST` and `PGHOSTADDR` are not heeded, nor is what a service of `PGSERVICE` says of it.
    /// An option or a value that libpq refuses is refused here.
    ///
    /// If the URL names several hosts, each connection leads to the primary among them.
    ///
    /// # Errors
    /// [`InvalidDatabaseUrl`]; any other scheme is refused, never taken for a file name.
    pub fn parse(url: &str) -> Result<Self, InvalidDatabaseUrl> {
        match url.split_once(':') {
            Some(("sqlite", rest)) => parse_sqlite(rest),
            Some(("postgres" | "postgresql", rest)) => postgres::parse(url, rest),
            _ => Err(InvalidDatabaseUrl::Scheme),
        }
    }

    /// Whether the URL contains a password.
    pub fn has_password(&self) -> bool {
        match self {
            Self::Postgres(url) => PostgresParts::of(url.as_str()).has_password(),
            Self::Sqlite(_) => false,
        }
    }

    /// Whether connections may share server processes: a pooler in transaction mode stands before the database.
    pub(super) fn shares_processes(&self) -> bool {
        matches!(self, Self::Postgres(url) if url.pooler() == Pooler::Transaction)
    }

    /// Returns the URL by which the database is prepared: the direct one if there is one.
    ///
    /// # Errors
    /// [`PrepareError::NoDirectUrl`] if there is none and a pooler in transaction mode stands before the database.
    pub(super) fn for_preparation(&self) -> Result<&Self, PrepareError> {
        match self {
            Self::Postgres(url) => match (url.direct(), url.pooler()) {
                (Some(direct), _) => Ok(direct),
                (None, Pooler::None) => Ok(self),
                (None, Pooler::Transaction) => Err(PrepareError::NoDirectUrl),
            },
            Self::Sqlite(_) => Ok(self),
        }
    }

    /// Checks that the files that the URL names by its options can be read. libpq ignores some of them if they are missing.
    pub(super) fn check_files(&self) -> Result<(), InvalidDatabaseUrl> {
        match self {
            Self::Postgres(url) => postgres::check_files(url.as_str()),
            Self::Sqlite(_) => Ok(()),
        }
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite://{}", path.display()),
            Self::Postgres(url) => {
                let parts = PostgresParts::of(url.as_str());
                write!(f, "postgres://{}/{}", parts.hosts, parts.database)
            }
        }
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatabaseUrl({self})")
    }
}

fn parse_sqlite(rest: &str) -> Result<DatabaseUrl, InvalidDatabaseUrl> {
    match rest.strip_prefix("//") {
        Some(path)
            if !path.is_empty()
                && !path.starts_with(':')
                && !path.ends_with('/')
                && !path.contains('?')
                && !path.contains(char::is_control) =>
        {
            Ok(DatabaseUrl::Sqlite(Path::new(path).to_owned()))
        }
        _ => Err(InvalidDatabaseUrl::SqlitePath),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_decides() {
        let path = |url: &str| match DatabaseUrl::parse(url) {
            Ok(DatabaseUrl::Sqlite(path)) => path.display().to_string(),
            other => format!("{other:?}"),
        };
        assert_eq!(path("sqlite://data/portcullis.db"), "data/portcullis.db");
        assert_eq!(path("sqlite:///var/lib/p.db"), "/var/lib/p.db");
        for (url, expected) in [
            ("mysql://localhost/x", InvalidDatabaseUrl::Scheme),
            ("data/portcullis.db", InvalidDatabaseUrl::Scheme),
            ("SQLITE://x", InvalidDatabaseUrl::Scheme),
            ("", InvalidDatabaseUrl::Scheme),
            ("postgres:x", InvalidDatabaseUrl::Scheme),
            ("sqlite:", InvalidDatabaseUrl::SqlitePath),
            ("sqlite://", InvalidDatabaseUrl::SqlitePath),
            ("sqlite:///var/lib/", InvalidDatabaseUrl::SqlitePath),
            ("sqlite::memory:", InvalidDatabaseUrl::SqlitePath),
            ("sqlite://:memory:", InvalidDatabaseUrl::SqlitePath),
            ("sqlite://x?mode=memory", InvalidDatabaseUrl::SqlitePath),
            ("sqlite://x\0", InvalidDatabaseUrl::SqlitePath),
            ("sqlite://x\n", InvalidDatabaseUrl::SqlitePath),
        ] {
            assert_eq!(DatabaseUrl::parse(url).err(), Some(expected), "{url}");
        }
    }
}
