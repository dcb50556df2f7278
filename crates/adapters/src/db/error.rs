//! What went wrong, in the domain's words. The database's own words stay in the source, for the operator.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use diesel::result::{DatabaseErrorKind, Error};
use portcullis_domain::ports::{StoreError, StoreErrorKind};
use uuid::Uuid;

pub(super) fn unavailable(source: impl Into<Box<dyn StdError + Send + Sync>>) -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, source)
}

pub(super) fn took_too_long() -> StoreError {
    unavailable("the transaction took too long")
}

/// Sorts a Diesel error. (A plain function, not `From`: neither type is ours.)
pub(super) fn store_error(error: Error) -> StoreError {
    let kind = kind_of(&error);
    if kind == StoreErrorKind::Corrupt {
        // Logged here for the same reason as a `CorruptRow`. Diesel names the column, and nothing of what is in it.
        log::error!("a stored row cannot be read: {error}");
    }
    StoreError::new(kind, error)
}

fn kind_of(error: &Error) -> StoreErrorKind {
    match error {
        Error::DeserializationError(_) => StoreErrorKind::Corrupt,
        Error::RollbackErrorOnCommit { commit_error, .. } => kind_of(commit_error),
        Error::DatabaseError(
            DatabaseErrorKind::UniqueViolation
            | DatabaseErrorKind::ForeignKeyViolation
            | DatabaseErrorKind::NotNullViolation
            | DatabaseErrorKind::CheckViolation
            | DatabaseErrorKind::RestrictViolation
            | DatabaseErrorKind::ExclusionViolation,
            _,
        ) => StoreErrorKind::Internal,
        // Diesel gives no error codes, and there are more passing troubles than texts to know them by: locks,
        // timeouts, deadlocks, shutdowns, fail-overs, I/O errors. Only a full disk is told apart.
        Error::DatabaseError(_, information) if is_full(information.message()) => StoreErrorKind::Full,
        Error::DatabaseError(..) | Error::BrokenTransactionManager => StoreErrorKind::Unavailable,
        _ => StoreErrorKind::Internal,
    }
}

fn is_full(message: &str) -> bool {
    // SQLite's words, then those of the operating system, which PostgreSQL repeats.
    ["database or disk is full", "No space left on device", "quota exceeded"]
        .iter()
        .any(|words| message.contains(words))
}

/// Whether the connection broke, and with it perhaps every other.
pub(super) fn is_connection_loss(error: &StoreError) -> bool {
    let source = StdError::source(error).and_then(|source| source.downcast_ref::<Error>());
    matches!(
        source,
        Some(Error::DatabaseError(
            DatabaseErrorKind::ClosedConnection | DatabaseErrorKind::UnableToSendCommand,
            _
        ))
    )
}

/// Whether the error is a unique constraint's. Each table has one besides its primary key, an id nobody repeats.
pub(super) fn is_unique_violation(error: &Error) -> bool {
    matches!(error, Error::DatabaseError(DatabaseErrorKind::UniqueViolation, _))
}

/// A failure of many calls at once: each gets a copy.
#[derive(Clone, Debug)]
pub(super) struct SharedFailure {
    kind: StoreErrorKind,
    cause: Arc<StoreError>,
}

impl From<StoreError> for SharedFailure {
    fn from(error: StoreError) -> Self {
        Self { kind: error.kind(), cause: Arc::new(error) }
    }
}

impl From<SharedFailure> for StoreError {
    fn from(failure: SharedFailure) -> Self {
        Self::new(failure.kind, failure.cause)
    }
}

/// What the database or its library said, for the operator: one line. It may name host and user, never a password.
#[derive(Debug)]
pub struct DatabaseFailure(Box<dyn StdError + Send + Sync>);

impl DatabaseFailure {
    pub(super) fn new(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self(source.into())
    }

    /// Whether a SQLite file is only held by another process.
    pub(super) fn is_busy_file(&self) -> bool {
        self.0.to_string().contains("database is locked")
    }
}

impl fmt::Display for DatabaseFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // libpq's messages end with a newline and span several.
        f.write_str(&self.0.to_string().trim().replace('\n', "; "))
    }
}

impl StdError for DatabaseFailure {}

impl From<diesel::ConnectionError> for DatabaseFailure {
    fn from(error: diesel::ConnectionError) -> Self {
        Self::new(error)
    }
}

impl From<Error> for DatabaseFailure {
    fn from(error: Error) -> Self {
        Self::new(error)
    }
}

/// Keeps the cause alone, which says more than its kind.
impl From<StoreError> for DatabaseFailure {
    fn from(error: StoreError) -> Self {
        let cause = StdError::source(&error).map(ToString::to_string);
        Self::new(cause.unwrap_or_else(|| error.to_string()))
    }
}

impl From<std::io::Error> for DatabaseFailure {
    fn from(error: std::io::Error) -> Self {
        Self::new(error)
    }
}

/// A row that the database holds and the domain refuses.
#[derive(Debug)]
pub(super) struct CorruptRow {
    pub table: &'static str,
    pub column: &'static str,
    pub id: Uuid,
}

impl fmt::Display for CorruptRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{} of row {} does not parse", self.table, self.column, self.id)
    }
}

impl StdError for CorruptRow {}

impl From<CorruptRow> for StoreError {
    fn from(row: CorruptRow) -> Self {
        // Logged here because a login answers such a row like an unknown name, and says no more.
        log::error!(table = row.table, column = row.column, id:% = row.id; "a stored row does not parse");
        Self::new(StoreErrorKind::Corrupt, row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(kind: DatabaseErrorKind, message: &str) -> Error {
        Error::DatabaseError(kind, Box::new(message.to_owned()))
    }

    fn check(error: Error, expected: StoreErrorKind) {
        let text = format!("{error:?}");
        assert_eq!(store_error(error).kind(), expected, "{text}");
    }

    #[test]
    fn what_the_database_cannot_do_now_is_unavailable() {
        for message in [
            "database is locked",
            "disk I/O error",
            "attempt to write a readonly database",
            "canceling statement due to statement timeout",
            "deadlock detected",
            "terminating connection due to administrator command",
            "the database system is shutting down",
            "Verbindung beendet",
        ] {
            check(said(DatabaseErrorKind::Unknown, message), StoreErrorKind::Unavailable);
        }
        for kind in [
            DatabaseErrorKind::ClosedConnection,
            DatabaseErrorKind::UnableToSendCommand,
            DatabaseErrorKind::SerializationFailure,
            DatabaseErrorKind::ReadOnlyTransaction,
        ] {
            check(said(kind, "x"), StoreErrorKind::Unavailable);
        }
        check(Error::BrokenTransactionManager, StoreErrorKind::Unavailable);
    }

    #[test]
    fn a_full_disk_is_told_apart_also_at_the_commit() {
        let full = || said(DatabaseErrorKind::Unknown, "database or disk is full");
        check(full(), StoreErrorKind::Full);
        for message in [
            "could not extend file \"base/1/2\": No space left on device",
            "could not write to file: Disk quota exceeded",
        ] {
            check(said(DatabaseErrorKind::Unknown, message), StoreErrorKind::Full);
        }
        let rollback_error = Box::new(said(DatabaseErrorKind::Unknown, "cannot rollback"));
        let at_commit = Error::RollbackErrorOnCommit { rollback_error, commit_error: Box::new(full()) };
        check(at_commit, StoreErrorKind::Full);
    }

    #[test]
    fn faults_of_the_queries_are_internal_and_of_the_rows_corrupt() {
        for kind in [
            DatabaseErrorKind::UniqueViolation,
            DatabaseErrorKind::ForeignKeyViolation,
            DatabaseErrorKind::NotNullViolation,
            DatabaseErrorKind::CheckViolation,
            DatabaseErrorKind::RestrictViolation,
            DatabaseErrorKind::ExclusionViolation,
        ] {
            check(said(kind, "database or disk is full"), StoreErrorKind::Internal);
        }
        check(Error::QueryBuilderError("x".into()), StoreErrorKind::Internal);
        check(Error::AlreadyInTransaction, StoreErrorKind::Internal);
        check(Error::DeserializationError("x".into()), StoreErrorKind::Corrupt);
    }

    #[test]
    fn failures_are_told_in_one_line() {
        let failure = DatabaseFailure::new("connection failed\n\tIs it running?\n");
        assert_eq!(failure.to_string(), "connection failed; \tIs it running?");
    }
}
