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
pub(super) fn is_connection_loss(error: &(dyn StdError + 'static)) -> bool {
    matches!(
        database_error(error),
        Some((DatabaseErrorKind::ClosedConnection | DatabaseErrorKind::UnableToSendCommand, _))
    )
}

/// Whether the session or the server accepts no changes. Another connection may lead to one that does.
pub(super) fn is_read_only(error: &(dyn StdError + 'static)) -> bool {
    database_error(error).is_some_and(|(kind, message)| {
        // SQLite's message for a file that was not writable when it was opened.
        matches!(kind, DatabaseErrorKind::ReadOnlyTransaction)
            || message.contains("attempt to write a readonly")
    })
}

/// Whether a transaction was rolled back because it conflicted with another one, so that it can be repeated.
///
/// Diesel has no kind for a deadlock (40P01). It is recognised only by the English message: with
/// another `lc_messages` the call fails.
pub(super) fn is_conflict(error: &(dyn StdError + 'static)) -> bool {
    database_error(error).is_some_and(|(kind, message)| {
        matches!(kind, DatabaseErrorKind::SerializationFailure) || message.contains("deadlock detected")
    })
}

/// Whether an error does not affect other changes: a refusal by the domain, a broken constraint or row, a conflict.
pub(super) fn concerns_one_request(error: &(dyn StdError + 'static)) -> bool {
    // Refusals have no cause.
    error.source().is_none()
        || is_conflict(error)
        || error_chain(error).any(|error| {
            let kind = error.downcast_ref::<Error>().map(kind_of);
            matches!(kind, Some(StoreErrorKind::Corrupt | StoreErrorKind::Internal))
                || error.is::<CorruptRow>()
        })
}

/// Returns the kind and the message of the database's error, if the database caused the failure.
fn database_error<'a>(error: &'a (dyn StdError + 'static)) -> Option<(&'a DatabaseErrorKind, &'a str)> {
    fn of(error: &Error) -> Option<(&DatabaseErrorKind, &str)> {
        match error {
            Error::DatabaseError(kind, information) => Some((kind, information.message())),
            Error::RollbackErrorOnCommit { commit_error, .. } => of(commit_error),
            _ => None,
        }
    }
    error_chain(error).find_map(|error| error.downcast_ref::<Error>()).and_then(of)
}

fn error_chain<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
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
    fn the_cause_is_found_behind_every_wrapping() {
        let read_only = || store_error(said(DatabaseErrorKind::ReadOnlyTransaction, "x"));
        let shared = StoreError::from(SharedFailure::from(read_only()));
        let wrapped = portcullis_domain::session::OpenSessionError::from(read_only());
        for error in [&read_only() as &(dyn StdError + 'static), &shared, &wrapped] {
            assert!(is_read_only(error) && !is_conflict(error) && !concerns_one_request(error), "{error:?}");
        }
        assert!(concerns_one_request(&portcullis_domain::session::OpenSessionError::UserChanged));
        let full = store_error(said(DatabaseErrorKind::Unknown, "database or disk is full"));
        assert!(!concerns_one_request(&full));
    }
}
