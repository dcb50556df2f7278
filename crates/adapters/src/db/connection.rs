use std::error::Error;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::time::{Duration, Instant};

use diesel::connection::{AnsiTransactionManager, SimpleConnection, TransactionManager};
use diesel::r2d2::ManageConnection;
use diesel::{Connection, PgConnection, QueryResult, RunQueryDsl, SqliteConnection};
use portcullis_domain::ports::{StoreError, StoreErrorKind};
use portcullis_domain::revocation::OVERLAP;

use super::DatabaseUrl;

/// A connection to either database. (SQLite comes last: its `establish` would take any text for a file name. It is
/// never called: [`ConnectionFactory`] goes by the scheme.)
#[derive(diesel::MultiConnection)]
pub(super) enum AnyConnection {
    Postgres(PgConnection),
    Sqlite(SqliteConnection),
}

impl AnyConnection {
    /// Connects and sets the session's limits.
    pub(super) fn connect(url: &DatabaseUrl) -> Result<Self, ConnectError> {
        match url {
            DatabaseUrl::Postgres(url) => {
                let mut connection = PgConnection::establish(url)?;
                connection.batch_execute(&postgres_session())?;
                Ok(Self::Postgres(connection))
            }
            DatabaseUrl::Sqlite(path) => {
                let mut connection = SqliteConnection::establish(&path.to_string_lossy())?;
                connection.batch_execute(SQLITE_SESSION)?;
                Ok(Self::Sqlite(connection))
            }
        }
    }

    /// Begins a transaction that writes. SQLite's default would take the lock at the first write and fail where a
    /// reader turned writer meets another.
    fn begin(&mut self) -> QueryResult<()> {
        match self {
            Self::Postgres(connection) => AnsiTransactionManager::begin_transaction(connection),
            Self::Sqlite(connection) => {
                AnsiTransactionManager::begin_transaction_sql(connection, "BEGIN IMMEDIATE")
            }
        }
    }

    fn commit(&mut self) -> QueryResult<()> {
        match self {
            Self::Postgres(connection) => AnsiTransactionManager::commit_transaction(connection),
            Self::Sqlite(connection) => AnsiTransactionManager::commit_transaction(connection),
        }
    }

    fn rollback(&mut self) -> QueryResult<()> {
        match self {
            Self::Postgres(connection) => AnsiTransactionManager::rollback_transaction(connection),
            Self::Sqlite(connection) => AnsiTransactionManager::rollback_transaction(connection),
        }
    }
}

/// A connection in the pool.
pub(super) struct Pooled {
    connection: AnyConnection,
    last_used: Instant,
    distrusted: bool,
}

impl Pooled {
    pub(super) fn begin(&mut self) -> QueryResult<()> {
        self.connection.begin()
    }

    pub(super) fn commit(&mut self) -> QueryResult<()> {
        self.connection.commit()
    }

    pub(super) fn rollback(&mut self) -> QueryResult<()> {
        self.connection.rollback()
    }

    /// Does not go back to the pool after an error that says something about the connection.
    pub(super) fn distrust(&mut self, error: &StoreError) {
        self.distrusted |= matches!(error.kind(), StoreErrorKind::Unavailable | StoreErrorKind::Internal);
    }
}

impl Deref for Pooled {
    type Target = AnyConnection;

    fn deref(&self) -> &AnyConnection {
        &self.connection
    }
}

impl DerefMut for Pooled {
    fn deref_mut(&mut self) -> &mut AnyConnection {
        &mut self.connection
    }
}

/// Makes the pool's connections.
#[derive(Debug)]
pub(super) struct ConnectionFactory {
    url: DatabaseUrl,
}

impl ConnectionFactory {
    pub(super) fn new(url: DatabaseUrl) -> Self {
        Self { url }
    }
}

impl ManageConnection for ConnectionFactory {
    type Connection = Pooled;
    type Error = ConnectError;

    fn connect(&self) -> Result<Pooled, ConnectError> {
        let connection = AnyConnection::connect(&self.url)?;
        Ok(Pooled { connection, last_used: Instant::now(), distrusted: false })
    }

    /// A connection that was idle for a while is asked first: its server may have restarted. Under load nothing is.
    fn is_valid(&self, pooled: &mut Pooled) -> Result<(), ConnectError> {
        if pooled.last_used.elapsed() > TRUSTED_IDLE {
            diesel::sql_query("SELECT 1").execute(&mut pooled.connection)?;
        }
        pooled.last_used = Instant::now();
        Ok(())
    }

    fn has_broken(&self, pooled: &mut Pooled) -> bool {
        std::thread::panicking() || pooled.distrusted
    }
}

/// No connection. The source is for the operator; it may name host and user, never a password.
#[derive(Debug)]
pub(super) struct ConnectError(Box<dyn Error + Send + Sync>);

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // libpq's messages end with a newline and span several.
        f.write_str(self.0.to_string().trim().replace('\n', "; ").as_str())
    }
}

impl Error for ConnectError {}

impl From<diesel::ConnectionError> for ConnectError {
    fn from(error: diesel::ConnectionError) -> Self {
        Self(error.into())
    }
}

impl From<diesel::result::Error> for ConnectError {
    fn from(error: diesel::result::Error) -> Self {
        Self(error.into())
    }
}

impl From<std::io::Error> for ConnectError {
    fn from(error: std::io::Error) -> Self {
        Self(error.into())
    }
}

/// After how long idle a connection is asked whether it still works.
const TRUSTED_IDLE: Duration = Duration::from_secs(1);

/// How long PostgreSQL works on one statement.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long it waits for a lock; shorter, so that the error says what it was.
const LOCK_TIMEOUT: Duration = Duration::from_secs(3);

/// How long a transaction may stand idle, should its instance freeze in the middle.
const IDLE_IN_TRANSACTION_TIMEOUT: Duration = Duration::from_secs(10);

// A transaction is over before the look at ended sessions that would miss it.
const _: () = assert!(
    3 * (STATEMENT_TIMEOUT.as_secs() + IDLE_IN_TRANSACTION_TIMEOUT.as_secs()) < OVERLAP.as_secs(),
    "a slow transaction would reach beyond the overlap of the looks at ended sessions"
);

/// `synchronous_commit` is raised where the server would acknowledge commits that a crash can lose; a stricter
/// setting of the server (`remote_apply`) stays.
fn postgres_session() -> String {
    format!(
        "SET timezone TO 'UTC';
         SET statement_timeout TO {};
         SET lock_timeout TO {};
         SET idle_in_transaction_session_timeout TO {};
         SELECT set_config('synchronous_commit', 'on', false)
          WHERE current_setting('synchronous_commit') IN ('off', 'local');",
        STATEMENT_TIMEOUT.as_millis(),
        LOCK_TIMEOUT.as_millis(),
        IDLE_IN_TRANSACTION_TIMEOUT.as_millis(),
    )
}

/// `busy_timeout` comes first: switching to WAL needs the lock. FULL: an acknowledged commit survives a power cut.
const SQLITE_SESSION: &str = "
    PRAGMA busy_timeout = 5000;
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    PRAGMA foreign_keys = ON;
    PRAGMA trusted_schema = OFF;
";

/// Makes the folder of a new database, for its owner alone.
pub(super) fn make_parent(path: &Path) -> std::io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() && !parent.exists() => make_private(parent),
        _ => Ok(()),
    }
}

#[cfg(unix)]
fn make_private(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

#[cfg(not(unix))]
fn make_private(folder: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)
}
