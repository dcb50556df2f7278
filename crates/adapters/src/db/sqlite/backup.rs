//! A verified copy of a SQLite database while it is in use.

mod part;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};

use self::part::{Part, PartError};
use super::file::{self, Opening, file_id};
use super::session;
use crate::db::deployment::Deployment;
use crate::db::failure::DatabaseFailure;
use crate::db::schema::{security_events, sessions, users};
use crate::db::{DatabaseUrl, PrepareError};
use crate::files::absolute;

/// Whether a backup may replace a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExistingFile {
    /// An existing file is an error.
    Keep,
    /// An existing file is replaced once the backup is complete and verified.
    Replace,
}

/// How far a backup has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackupProgress {
    /// This many bytes of the copy are written. The database has `of` bytes, of which unused ones are left out.
    Copying {
        /// The size of the copy.
        bytes: u64,
        /// The size of the database.
        of: u64,
    },
    /// The copy is complete, and its integrity is checked.
    Checking,
}

/// What a backup contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backup {
    /// The size of the file.
    pub bytes: u64,
    /// How many users there are.
    pub users: i64,
    /// How many sessions there are, ended ones included.
    pub sessions: i64,
    /// How many security events there are.
    pub events: i64,
}

/// No backup was made. The target is as it was before.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The database is not a SQLite file.
    #[error("only SQLite databases are backed up to a file")]
    NotSqlite,
    /// The database cannot be read.
    #[error(transparent)]
    Source(#[from] PrepareError),
    /// There is a file at the target.
    #[error("{path} exists", path = absolute(.0))]
    Exists(PathBuf),
    /// The target is the database itself.
    #[error("{path} is the database itself", path = absolute(.0))]
    IsDatabase(PathBuf),
    /// Another backup writes to the target.
    #[error("another backup to {path} is under way", path = absolute(.0))]
    UnderWay(PathBuf),
    /// The copy could not be written, for example because the disk is full.
    #[error("cannot write {path}: {1}", path = absolute(.0))]
    Target(PathBuf, DatabaseFailure),
    /// The copy is damaged, and so, presumably, is the database.
    #[error("the copy fails the integrity check, so the database may be damaged: {0}")]
    Damaged(String),
}

/// Copies a SQLite database to a file, verifies the copy and makes it durable. Writers go on meanwhile: the copy has
/// everything that was committed before the call, and may have more.
///
/// The copy is marked as a backup, so that an instance that starts on it ends every session: some may have ended since. It
/// is written under another name and renamed when it is complete. `progress` is called several times per second from
/// another thread.
///
/// # Errors
/// [`BackupError`].
pub fn backup(
    url: &DatabaseUrl,
    target: &Path,
    existing: ExistingFile,
    mut progress: impl FnMut(BackupProgress) + Send,
) -> Result<Backup, BackupError> {
    let DatabaseUrl::Sqlite(path) = url else { return Err(BackupError::NotSqlite) };
    Deployment::at(url).check_exists()?;
    let failed = |failure: DatabaseFailure| BackupError::Target(target.to_owned(), failure);
    check_target(path, target, existing)?;
    let part = Part::create(target).map_err(|error| match error {
        PartError::UnderWay => BackupError::UnderWay(target.to_owned()),
        PartError::Io(error) => failed(error.into()),
    })?;
    copy(url, path, &part, &mut progress)?;
    progress(BackupProgress::Checking);
    let backup = check_and_mark(&part).map_err(|error| match error {
        CheckError::Failed(failure) => failed(failure),
        CheckError::Damaged(findings) => BackupError::Damaged(findings),
    })?;
    check_target(path, target, existing)?;
    part.finish(target).map_err(|error| failed(error.into()))?;
    Ok(backup)
}

fn check_target(database: &Path, target: &Path, existing: ExistingFile) -> Result<(), BackupError> {
    let failed = |error: io::Error| BackupError::Target(target.to_owned(), error.into());
    if !file::is_there(target).map_err(failed)? {
        return Ok(());
    }
    let is_database = match (file_id(target), file_id(database)) {
        (Ok(Some(target)), Ok(Some(database))) => target == database,
        _ => target.canonicalize().ok() == database.canonicalize().ok(),
    };
    match existing {
        _ if is_database => Err(BackupError::IsDatabase(target.to_owned())),
        ExistingFile::Keep => Err(BackupError::Exists(target.to_owned())),
        ExistingFile::Replace => Ok(()),
    }
}

/// Copies what is committed, in one read transaction over a connection of its own.
fn copy(
    url: &DatabaseUrl,
    database: &Path,
    part: &Part,
    progress: &mut (impl FnMut(BackupProgress) + Send),
) -> Result<(), BackupError> {
    let source = |failure| BackupError::Source(PrepareError::of(url, failure));
    let mut connection = session::connect_read_only(database).map_err(source)?;
    let of = database_bytes(&mut connection).map_err(|error| source(error.into()))?;
    // SQLite takes writing another file for a change.
    connection.batch_execute("PRAGMA query_only = OFF").map_err(|error| source(error.into()))?;
    let path =
        part.sqlite_path().map_err(|error| BackupError::Target(part.path().to_owned(), error.into()))?;
    let (done, is_done) = mpsc::channel::<()>();
    let copied = thread::scope(|scope| {
        scope.spawn(move || {
            while is_done.recv_timeout(REPORT_EVERY) == Err(RecvTimeoutError::Timeout) {
                progress(BackupProgress::Copying { bytes: part.bytes(), of });
            }
        });
        let copied = diesel::sql_query("VACUUM INTO ?").bind::<Text, _>(path).execute(&mut connection);
        drop(done);
        copied
    });
    copied.map_err(|error| match error.to_string().contains("malformed") {
        true => source(error.into()),
        false => BackupError::Target(part.path().to_owned(), error.into()),
    })?;
    Ok(())
}

fn database_bytes(connection: &mut SqliteConnection) -> QueryResult<u64> {
    let query =
        diesel::sql_query("SELECT page_count * page_size AS number FROM pragma_page_count, pragma_page_size");
    let Number { number } = query.get_result(connection)?;
    Ok(u64::try_from(number).unwrap_or(0))
}

enum CheckError {
    Failed(DatabaseFailure),
    Damaged(String),
}

impl<E: Into<DatabaseFailure>> From<E> for CheckError {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// Checks a copy that is complete, counts its rows and marks it as a backup.
fn check_and_mark(part: &Part) -> Result<Backup, CheckError> {
    let mut connection = SqliteConnection::establish(&file::uri(part.path(), Opening::Existing)?)?;
    connection.batch_execute("PRAGMA trusted_schema = OFF; PRAGMA synchronous = FULL")?;
    let findings: Vec<Finding> =
        diesel::sql_query("SELECT integrity_check AS finding FROM pragma_integrity_check")
            .load(&mut connection)?;
    if findings.iter().any(|finding| finding.finding != "ok") {
        let findings: Vec<_> =
            findings.into_iter().take(MOST_FINDINGS).map(|finding| finding.finding).collect();
        return Err(CheckError::Damaged(findings.join("; ")));
    }
    let users = users::table.count().get_result(&mut connection)?;
    let sessions = sessions::table.count().get_result(&mut connection)?;
    let events = security_events::table.count().get_result(&mut connection)?;
    mark(&mut connection)?;
    drop(connection);
    Ok(Backup { bytes: part.bytes(), users, sessions, events })
}

/// Marks a copy, so that an instance that starts on it ends every session. In the schema of older versions, which has no
/// place for the mark, the sessions end at once.
fn mark(connection: &mut SqliteConnection) -> QueryResult<()> {
    let columns = "SELECT count(*) AS number FROM pragma_table_info('deployment') WHERE name = 'home'";
    let Number { number } = diesel::sql_query(columns).get_result(connection)?;
    let mark = match number {
        0 => {
            "UPDATE deployment SET session_floor =
                    max(session_floor, (unixepoch() + 1) * 1000000,
                        coalesce((SELECT max(opened_at) / 1000000 + 1 FROM sessions), 0) * 1000000)"
        }
        _ => "UPDATE deployment SET home = NULL",
    };
    diesel::sql_query(mark).execute(connection)?;
    Ok(())
}

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    number: i64,
}

#[derive(QueryableByName)]
struct Finding {
    #[diesel(sql_type = Text)]
    finding: String,
}

/// How often the size of the copy is reported.
const REPORT_EVERY: Duration = Duration::from_millis(250);

/// How many findings of the integrity check an error contains.
const MOST_FINDINGS: usize = 3;

#[cfg(test)]
mod tests {
    use diesel_migrations::MigrationHarness as _;

    use super::*;
    use crate::db::connection::AnyConnection;
    use crate::db::migrations;

    /// An operator backs up before an upgrade, with the new version.
    #[test]
    fn backup_of_an_older_schema_has_no_valid_session() {
        let folder = tempfile::tempdir().unwrap();
        let url = DatabaseUrl::Sqlite(folder.path().join("x.db"));
        let mut connection = AnyConnection::connect(&url).unwrap();
        migrations::run(&url, &mut connection).unwrap();
        let AnyConnection::Sqlite(connection) = &mut connection else { unreachable!() };
        // The migration that adds the home, and all later ones.
        while connection.revert_last_migration(migrations::embedded::SQLITE).unwrap().to_string()
            != "20261127030000"
        {}
        connection
            .batch_execute(
                "INSERT INTO sessions (id, user_id, generation, opened_at, rotated_at, expires_at, absolute_expires_at)
                 VALUES (zeroblob(16), zeroblob(16), 0, 5500000, 5500000, 9000000, 9000000)",
            )
            .unwrap();
        let target = folder.path().join("backup.db");
        let done = backup(&url, &target, ExistingFile::Keep, |_progress| {}).unwrap();
        assert_eq!((done.users, done.sessions, done.events), (0, 1, 0));
        assert_eq!(done.bytes, target.metadata().unwrap().len());

        let mut copy = SqliteConnection::establish(target.to_str().unwrap()).unwrap();
        let floor = diesel::sql_query("SELECT session_floor AS number FROM deployment");
        let Number { number: floor } = floor.get_result(&mut copy).unwrap();
        let Number { number: now } =
            diesel::sql_query("SELECT unixepoch() * 1000000 AS number").get_result(&mut copy).unwrap();
        assert!(floor % 1_000_000 == 0 && (now - 60_000_000..=now + 1_000_000).contains(&floor), "{floor}");
        let copy = DatabaseUrl::Sqlite(target);
        migrations::run(&copy, &mut AnyConnection::connect(&copy).unwrap()).unwrap();
    }
}
