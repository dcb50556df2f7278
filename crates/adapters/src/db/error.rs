//! What went wrong, in the domain's words. The database's own words stay in the source, for the operator.

use std::error::Error as StdError;
use std::fmt;

use diesel::result::{DatabaseErrorKind, Error};
use portcullis_domain::ports::{StoreError, StoreErrorKind};
use uuid::Uuid;

pub(super) fn unavailable(source: impl Into<Box<dyn StdError + Send + Sync>>) -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, source)
}

/// Sorts a Diesel error. (A plain function, not `From`: neither type is ours.)
pub(super) fn store_error(error: Error) -> StoreError {
    let kind = match &error {
        Error::DeserializationError(_) => StoreErrorKind::Corrupt,
        Error::BrokenTransactionManager
        | Error::DatabaseError(
            DatabaseErrorKind::ClosedConnection
            | DatabaseErrorKind::UnableToSendCommand
            | DatabaseErrorKind::SerializationFailure
            | DatabaseErrorKind::ReadOnlyTransaction,
            _,
        ) => StoreErrorKind::Unavailable,
        Error::DatabaseError(_, information) => by_message(information.message()),
        Error::RollbackErrorOnCommit { commit_error, .. } => match commit_error.as_ref() {
            Error::DatabaseError(_, information) => by_message(information.message()),
            _ => StoreErrorKind::Unavailable,
        },
        _ => StoreErrorKind::Internal,
    };
    StoreError::new(kind, error)
}

/// Whether the error is a unique constraint's. Each table has one besides its primary key, an id nobody repeats.
pub(super) fn is_unique_violation(error: &Error) -> bool {
    matches!(error, Error::DatabaseError(DatabaseErrorKind::UniqueViolation, _))
}

/// Diesel gives no error codes, so their texts tell the passing troubles from the faults of a query.
fn by_message(message: &str) -> StoreErrorKind {
    let has = |fragments: &[&str]| fragments.iter().any(|fragment| message.contains(fragment));
    if has(&["disk is full", "No space left on device", "disk I/O error"]) {
        return StoreErrorKind::Full;
    }
    let passing = [
        "database is locked",
        "database table is locked",
        "unable to open database file",
        "readonly database",
        "timeout",
        "deadlock detected",
        "connection",
        "shutting down",
        "starting up",
        "recovery",
        "SSL",
    ];
    if has(&passing) { StoreErrorKind::Unavailable } else { StoreErrorKind::Internal }
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
