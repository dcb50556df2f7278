//! Connections to SQLite, and what every one is set to.

use std::path::Path;

use diesel::connection::SimpleConnection as _;
use diesel::sql_types::Text;
use diesel::{Connection as _, QueryableByName, RunQueryDsl as _, SqliteConnection};

use super::file::{self, FILE_SYSTEM_ADVICE, Opening};
use crate::db::failure::DatabaseFailure;

/// Connects, and creates the file if there is none.
pub(in crate::db) fn connect(path: &Path) -> Result<SqliteConnection, DatabaseFailure> {
    let mut connection = SqliteConnection::establish(&file::uri(path, Opening::Create)?)?;
    connection.batch_execute(SQLITE_SESSION)?;
    Ok(connection)
}

/// Fails if SQLite did not switch to its write-ahead log, which shows that the file system lacks shared memory or locks.
pub(in crate::db) fn check_write_ahead_log(connection: &mut SqliteConnection) -> Result<(), DatabaseFailure> {
    let mode = diesel::sql_query("SELECT journal_mode FROM pragma_journal_mode");
    match mode.get_result::<JournalMode>(connection)?.journal_mode.as_str() {
        "wal" => Ok(()),
        mode => Err(DatabaseFailure::new(format!(
            "SQLite's write-ahead log cannot be used here (journal_mode is {mode}); {FILE_SYSTEM_ADVICE}"
        ))),
    }
}

/// SQLite needs a log beside the file even to read it. If the log can neither be opened nor created, only the
/// file is read, provided that it contains all changes.
pub(in crate::db) fn connect_read_only(path: &Path) -> Result<SqliteConnection, DatabaseFailure> {
    let open = |opening| -> Result<SqliteConnection, DatabaseFailure> {
        let mut connection = SqliteConnection::establish(&file::uri(path, opening)?)?;
        connection.batch_execute(SQLITE_READ_ONLY)?;
        Ok(connection)
    };
    file::check_readable(path)?;
    let failure = match open(Opening::Existing) {
        Ok(connection) => return Ok(connection),
        Err(failure) => failure,
    };
    match file::check_writable(path) {
        Ok(()) => Err(failure),
        Err(unwritable) if file::has_log(path) => Err(DatabaseFailure::new(format!(
            "the newest changes are in the log beside the file (its name ends with -wal), which cannot be read here: \
             {unwritable}"
        ))),
        Err(_) => open(Opening::Immutable),
    }
}

#[derive(QueryableByName)]
struct JournalMode {
    #[diesel(sql_type = Text)]
    journal_mode: String,
}

/// `busy_timeout` comes first: switching to WAL needs the lock. FULL: an acknowledged commit survives a power cut.
const SQLITE_SESSION: &str = "
    PRAGMA busy_timeout = 5000;
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    PRAGMA foreign_keys = ON;
    PRAGMA trusted_schema = OFF;
";

/// The settings of a connection that only reads. The query makes SQLite open the file, which it does on first use.
const SQLITE_READ_ONLY: &str = "
    PRAGMA busy_timeout = 5000;
    PRAGMA query_only = ON;
    PRAGMA trusted_schema = OFF;
    SELECT count(*) FROM sqlite_schema;
";

#[cfg(test)]
mod tests {
    use diesel::sql_types::BigInt;

    use super::*;
    use crate::db::DatabaseUrl;
    use crate::db::connection::AnyConnection;

    #[test]
    fn a_sqlite_connection_is_durable_strict_and_patient() {
        #[derive(Debug, PartialEq, QueryableByName)]
        struct Pragmas {
            #[diesel(sql_type = Text)]
            journal_mode: String,
            #[diesel(sql_type = BigInt)]
            synchronous: i64,
            #[diesel(sql_type = BigInt)]
            foreign_keys: i64,
            #[diesel(sql_type = BigInt)]
            timeout: i64,
            #[diesel(sql_type = BigInt)]
            trusted_schema: i64,
        }
        let folder = tempfile::tempdir().unwrap();
        let url = DatabaseUrl::Sqlite(folder.path().join("x.db"));
        let pragmas: Pragmas = diesel::sql_query(
            "SELECT * FROM pragma_journal_mode, pragma_synchronous, pragma_foreign_keys, pragma_busy_timeout,
                           pragma_trusted_schema",
        )
        .get_result(&mut AnyConnection::connect(&url).unwrap())
        .unwrap();
        let expected = Pragmas {
            journal_mode: "wal".to_owned(),
            synchronous: 2,
            foreign_keys: 1,
            timeout: 5000,
            trusted_schema: 0,
        };
        assert_eq!(pragmas, expected, "2 is FULL: an acknowledged commit survives a power cut");
    }
}
