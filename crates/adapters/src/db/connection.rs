use std::error::Error as StdError;
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use diesel::connection::{AnsiTransactionManager, SimpleConnection, TransactionManager};
use diesel::r2d2::ManageConnection;
use diesel::sql_types::Text;
use diesel::{Connection, PgConnection, QueryResult, QueryableByName, RunQueryDsl, SqliteConnection};
use portcullis_domain::maintenance::MAX_SKEW;
use portcullis_domain::ports::{StoreError, StoreErrorKind};
use portcullis_domain::session::revocation::POLL_OVERLAP;

use super::error::{DatabaseFailure, is_connection_loss, is_read_only};
use super::sqlite::file::{FILE_SYSTEM_ADVICE, Opening};
use super::transaction::LONGEST_TRANSACTION;
use super::{DatabaseUrl, sqlite};
use crate::audit;

/// A connection to either database. (SQLite comes last: its `establish` would take any text for a file name. It is
/// never called: [`ConnectionFactory`] goes by the scheme.)
#[derive(diesel::MultiConnection)]
pub(super) enum AnyConnection {
    Postgres(PgConnection),
    Sqlite(SqliteConnection),
}

impl AnyConnection {
    /// Connects and sets the session's limits.
    pub(super) fn connect(url: &DatabaseUrl) -> Result<Self, DatabaseFailure> {
        match url {
            DatabaseUrl::Postgres(url) => connect_to_postgres(url, STATEMENT_TIMEOUT).map(Self::Postgres),
            DatabaseUrl::Sqlite(path) => {
                let mut connection = SqliteConnection::establish(&sqlite::file::uri(path, Opening::Create)?)?;
                connection.batch_execute(SQLITE_SESSION)?;
                Ok(Self::Sqlite(connection))
            }
        }
    }

    /// Fails if SQLite did not switch to its write-ahead log, which shows that the file system lacks shared memory or locks.
    pub(super) fn check_write_ahead_log(&mut self) -> Result<(), DatabaseFailure> {
        if matches!(self, Self::Postgres(_)) {
            return Ok(());
        }
        let mode = diesel::sql_query("SELECT journal_mode FROM pragma_journal_mode");
        match mode.get_result::<JournalMode>(self)?.journal_mode.as_str() {
            "wal" => Ok(()),
            mode => Err(DatabaseFailure::new(format!(
                "SQLite's write-ahead log cannot be used here (journal_mode is {mode}); {FILE_SYSTEM_ADVICE}"
            ))),
        }
    }

    /// Connects to an existing database to read it. Nothing is created or changed, so storage may be read-only.
    pub(super) fn connect_to_look(url: &DatabaseUrl) -> Result<Self, DatabaseFailure> {
        let mut connection = Self::connect_to_watch(url)?;
        if let Self::Postgres(connection) = &mut connection {
            let timeout = STATEMENT_TIMEOUT.as_millis();
            connection.batch_execute(&format!(
                "SET statement_timeout TO {timeout}; SET default_transaction_read_only TO on"
            ))?;
        }
        Ok(connection)
    }

    /// Connects to look at a database again and again, and to wait for nothing.
    pub(super) fn connect_to_watch(url: &DatabaseUrl) -> Result<Self, DatabaseFailure> {
        match url {
            DatabaseUrl::Postgres(url) => connect_to_postgres(url, WATCH_TIMEOUT).map(Self::Postgres),
            DatabaseUrl::Sqlite(path) => look_at_sqlite(path).map(Self::Sqlite),
        }
    }

    /// Begins a transaction that writes. SQLite's default would take the lock at the first write and fail where a
    /// reader turned writer meets another.
    pub(super) fn begin(&mut self) -> QueryResult<()> {
        match self {
            Self::Postgres(connection) => AnsiTransactionManager::begin_transaction(connection),
            Self::Sqlite(connection) => {
                AnsiTransactionManager::begin_transaction_sql(connection, "BEGIN IMMEDIATE")
            }
        }
    }

    /// Begins a part of a transaction that can be undone alone. The next commit or rollback ends the part.
    pub(super) fn savepoint(&mut self) -> QueryResult<()> {
        match self {
            Self::Postgres(connection) => AnsiTransactionManager::begin_transaction(connection),
            Self::Sqlite(connection) => AnsiTransactionManager::begin_transaction(connection),
        }
    }

    pub(super) fn commit(&mut self) -> QueryResult<()> {
        match self {
            Self::Postgres(connection) => AnsiTransactionManager::commit_transaction(connection),
            Self::Sqlite(connection) => AnsiTransactionManager::commit_transaction(connection),
        }
    }

    pub(super) fn rollback(&mut self) -> QueryResult<()> {
        match self {
            Self::Postgres(connection) => AnsiTransactionManager::rollback_transaction(connection),
            Self::Sqlite(connection) => AnsiTransactionManager::rollback_transaction(connection),
        }
    }
}

fn connect_to_postgres(url: &str, statement_timeout: Duration) -> Result<PgConnection, DatabaseFailure> {
    let mut connection = PgConnection::establish(url)?;
    connection.batch_execute(&postgres_session(statement_timeout))?;
    check_session(&mut connection)?;
    Ok(connection)
}

/// SQLite needs a log beside the file even to read it. If the log can neither be opened nor created, only the
/// file is read, provided that it contains all changes.
fn look_at_sqlite(path: &Path) -> Result<SqliteConnection, DatabaseFailure> {
    let open = |opening| -> Result<SqliteConnection, DatabaseFailure> {
        let mut connection = SqliteConnection::establish(&sqlite::file::uri(path, opening)?)?;
        connection.batch_execute(SQLITE_LOOK)?;
        Ok(connection)
    };
    sqlite::file::check_readable(path)?;
    let failure = match open(Opening::Existing) {
        Ok(connection) => return Ok(connection),
        Err(failure) => failure,
    };
    match sqlite::file::check_writable(path) {
        Ok(()) => Err(failure),
        Err(unwritable) if sqlite::file::has_log(path) => Err(DatabaseFailure::new(format!(
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

/// A connection in the pool.
pub(super) struct Pooled {
    connection: AnyConnection,
    opened: Instant,
    /// When it last worked.
    last_used: Instant,
    condition: Condition,
}

enum Condition {
    Sound,
    /// It does not go back to the pool.
    Suspect,
    /// It broke, and whatever cut it off may have cut off the others too.
    Lost,
}

impl Pooled {
    /// Wraps a connection that was opened at or after `opened`.
    fn new(connection: AnyConnection, opened: Instant) -> Self {
        Self { connection, opened, last_used: Instant::now(), condition: Condition::Sound }
    }

    /// Keeps it from the pool after an error that says something about the connection.
    pub(super) fn distrust(&mut self, error: &StoreError) {
        match error.kind() {
            StoreErrorKind::Unavailable | StoreErrorKind::Internal => self.discard(error),
            StoreErrorKind::Full | StoreErrorKind::Corrupt => {}
        }
    }

    /// Keeps it from the pool: nobody knows what state the error left it in.
    pub(super) fn discard(&mut self, error: &StoreError) {
        self.condition = if is_connection_loss(error) { Condition::Lost } else { Condition::Suspect };
    }

    /// Keeps the connection out of the pool after the error of a transaction, if another connection might succeed.
    pub(super) fn discard_if_stale(&mut self, error: &(dyn StdError + 'static)) {
        if is_connection_loss(error) {
            self.condition = Condition::Lost;
        } else if is_read_only(error) {
            self.condition = Condition::Suspect;
        }
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

/// The time since which a connection of the pool must have been opened to be used.
#[derive(Clone, Debug, Default)]
pub(super) struct Freshness(Arc<Mutex<Option<Instant>>>);

impl Freshness {
    /// Replaces every connection that was opened before `time`, at its next checkout or return.
    pub(super) fn replace_opened_before(&self, time: Instant) {
        let mut since = self.since();
        *since = Some(since.map_or(time, |since| since.max(time)));
    }

    fn is_fresh(&self, opened: Instant) -> bool {
        self.since().is_none_or(|since| opened >= since)
    }

    fn since(&self) -> MutexGuard<'_, Option<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes the pool's connections.
#[derive(Debug)]
pub(super) struct ConnectionFactory {
    url: DatabaseUrl,
    freshness: Freshness,
    /// Whether the connections only read.
    only_reads: bool,
    /// When a connection was last found broken. The pool asks one idle connection after the other, and a network that
    /// swallows packets lets each wait out its timeout: so only the first is asked, and what has not worked since is
    /// replaced.
    lost_at: Mutex<Option<Instant>>,
}

impl ConnectionFactory {
    pub(super) fn new(url: DatabaseUrl, freshness: Freshness, only_reads: bool) -> Self {
        Self { url, freshness, only_reads, lost_at: Mutex::default() }
    }

    fn note_loss(&self) {
        *self.lost_at() = Some(Instant::now());
    }

    fn lost_at(&self) -> MutexGuard<'_, Option<Instant>> {
        self.lost_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ManageConnection for ConnectionFactory {
    type Connection = Pooled;
    type Error = DatabaseFailure;

    fn connect(&self) -> Result<Pooled, DatabaseFailure> {
        let opened = Instant::now();
        let connection = match self.only_reads {
            true => AnyConnection::connect_to_look(&self.url),
            false => AnyConnection::connect(&self.url),
        };
        connection.map(|connection| Pooled::new(connection, opened))
    }

    /// A connection that was idle for a while is asked first: its server may have restarted. Under load nothing is.
    fn is_valid(&self, pooled: &mut Pooled) -> Result<(), DatabaseFailure> {
        if !self.freshness.is_fresh(pooled.opened) {
            return Err(DatabaseFailure::new("the connection is from before the database accepted changes"));
        }
        if self.lost_at().is_some_and(|lost_at| pooled.last_used <= lost_at) {
            return Err(DatabaseFailure::new("the connection to the database was lost"));
        }
        if pooled.last_used.elapsed() > TRUSTED_IDLE {
            let asked = diesel::sql_query("SELECT 1").execute(&mut pooled.connection);
            asked.inspect_err(|_error| self.note_loss())?;
            pooled.last_used = Instant::now();
        }
        Ok(())
    }

    fn has_broken(&self, pooled: &mut Pooled) -> bool {
        match pooled.condition {
            Condition::Sound => pooled.last_used = Instant::now(),
            Condition::Suspect => {}
            Condition::Lost => self.note_loss(),
        }
        std::thread::panicking()
            || !matches!(pooled.condition, Condition::Sound)
            || !self.freshness.is_fresh(pooled.opened)
    }
}

/// After how long idle a connection is asked whether it still works.
const TRUSTED_IDLE: Duration = Duration::from_secs(1);

/// How long PostgreSQL works on one statement.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long it waits for a lock; shorter, so that the error says what it was.
const LOCK_TIMEOUT: Duration = Duration::from_secs(3);

/// How long a transaction may stand idle, should its instance freeze in the middle.
const IDLE_IN_TRANSACTION_TIMEOUT: Duration = Duration::from_secs(3);

/// How long a look at what the others did may take; shorter, since the next one comes soon.
const WATCH_TIMEOUT: Duration = Duration::from_secs(4);

// A change is committed or rolled back before the look at ended sessions that would miss it: a transaction that began
// too long ago is not committed, and the last moment before the commit and the commit have bounds of their own.
const _: () = assert!(
    LONGEST_TRANSACTION.as_secs() + IDLE_IN_TRANSACTION_TIMEOUT.as_secs() + STATEMENT_TIMEOUT.as_secs()
        < POLL_OVERLAP.as_secs(),
    "a slow transaction would reach beyond the overlap of the looks at ended sessions"
);

// And before the audit log's next walk to the newest event begins behind it.
const _: () = assert!(
    LONGEST_TRANSACTION.as_secs()
        + IDLE_IN_TRANSACTION_TIMEOUT.as_secs()
        + STATEMENT_TIMEOUT.as_secs()
        + MAX_SKEW.as_secs()
        < audit::OVERLAP.as_secs(),
    "a slow transaction's event would be sealed late"
);

/// Sets what the statements rely on, regardless of the settings of server, database, role and URL. `read committed`: each
/// race is decided by one statement, which sees what was committed before it. `synchronous_commit` is raised if the
/// server would acknowledge commits that a crash can lose; a stricter setting of the server (`remote_apply`) stays. The
/// setting `default_transaction_read_only` stays, since operators use it to make a database read-only.
///
/// A pooler in session mode without `server_reset_query` hands on the session of its last client, such as an earlier
/// instance or a command that only reads. The first statements undo what such a client leaves.
fn postgres_session(statement_timeout: Duration) -> String {
    format!(
        "DEALLOCATE ALL;
         SELECT pg_advisory_unlock_all();
         RESET default_transaction_read_only;
         SET default_transaction_isolation TO 'read committed';
         SET default_transaction_deferrable TO off;
         SET timezone TO 'UTC';
         SET datestyle TO 'ISO, MDY';
         SET intervalstyle TO 'postgres';
         SET bytea_output TO 'hex';
         SET standard_conforming_strings TO on;
         SET transform_null_equals TO off;
         SET statement_timeout TO {};
         SET lock_timeout TO {};
         SET idle_in_transaction_session_timeout TO {};
         SELECT set_config(name, '0', false) FROM unnest(ARRAY['idle_session_timeout', 'transaction_timeout']) AS name
          WHERE current_setting(name, true) IS NOT NULL;
         SELECT set_config('synchronous_commit', 'on', false)
          WHERE current_setting('synchronous_commit') IN ('off', 'local');",
        statement_timeout.as_millis(),
        LOCK_TIMEOUT.as_millis(),
        IDLE_IN_TRANSACTION_TIMEOUT.as_millis(),
    )
}

/// Checks what a session cannot set for itself: a role or database with `session_replication_role = replica` checks no
/// foreign key and runs no trigger.
fn check_session(connection: &mut PgConnection) -> Result<(), DatabaseFailure> {
    #[derive(QueryableByName)]
    struct Role {
        #[diesel(sql_type = Text)]
        replication_role: String,
    }
    let query = diesel::sql_query("SELECT current_setting('session_replication_role') AS replication_role");
    let Role { replication_role } = query.get_result(connection)?;
    match replication_role.as_str() {
        "replica" => Err(DatabaseFailure::new(
            "session_replication_role is replica, so that the server checks no foreign keys; reset it for the role and \
             the database (ALTER ROLE .. RESET session_replication_role)",
        )),
        _ => Ok(()),
    }
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
const SQLITE_LOOK: &str = "
    PRAGMA busy_timeout = 5000;
    PRAGMA query_only = ON;
    PRAGMA trusted_schema = OFF;
    SELECT count(*) FROM sqlite_schema;
";

#[cfg(test)]
mod tests {
    use diesel::result::DatabaseErrorKind;
    use diesel::sql_types::BigInt;
    use portcullis_testkit::postgres::{PgBouncer, ThrowawayPostgres};

    use super::*;

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

    #[derive(Debug, PartialEq, QueryableByName)]
    struct Setting {
        #[diesel(sql_type = Text)]
        setting: String,
    }

    fn setting(connection: &mut AnyConnection, name: &str) -> String {
        let query = diesel::sql_query(format!("SELECT current_setting('{name}') AS setting"));
        query.get_result::<Setting>(connection).unwrap().setting
    }

    // ASVS 13.2.6
    #[test]
    fn a_postgres_connection_is_durable_and_its_waits_are_bounded() {
        let server = ThrowawayPostgres::shared();
        let url = server.create_database();
        let name = ThrowawayPostgres::database_name(&url);
        for (configured, expected) in
            [("off", "on"), ("local", "on"), ("on", "on"), ("remote_apply", "remote_apply")]
        {
            server.execute(&url, &format!("ALTER DATABASE {name} SET synchronous_commit TO {configured}"));
            let mut connection = AnyConnection::connect(&DatabaseUrl::parse(&url).unwrap()).unwrap();
            assert_eq!(setting(&mut connection, "synchronous_commit"), expected, "from {configured}");
            assert_eq!(setting(&mut connection, "statement_timeout"), "5s");
            assert_eq!(setting(&mut connection, "lock_timeout"), "3s");
            assert_eq!(setting(&mut connection, "idle_in_transaction_session_timeout"), "3s");
            assert_eq!(setting(&mut connection, "TimeZone"), "UTC");
        }
        let mut watch = AnyConnection::connect_to_watch(&DatabaseUrl::parse(&url).unwrap()).unwrap();
        assert_eq!(setting(&mut watch, "statement_timeout"), "4s");
        assert_eq!(setting(&mut watch, "TimeZone"), "UTC");
    }

    #[test]
    fn session_settings_of_a_database_are_overridden() {
        let server = ThrowawayPostgres::shared();
        let url = server.create_database();
        let name = ThrowawayPostgres::database_name(&url);
        let pinned = [
            ("default_transaction_isolation", "serializable", "read committed"),
            ("default_transaction_deferrable", "on", "off"),
            ("TimeZone", "'Asia/Kolkata'", "UTC"),
            ("DateStyle", "'SQL', 'DMY'", "ISO, MDY"),
            ("IntervalStyle", "iso_8601", "postgres"),
            ("bytea_output", "escape", "hex"),
            ("standard_conforming_strings", "off", "on"),
            ("transform_null_equals", "on", "off"),
            ("client_encoding", "LATIN1", "UTF8"),
            ("statement_timeout", "'77s'", "5s"),
            ("lock_timeout", "'77s'", "3s"),
            ("idle_in_transaction_session_timeout", "'77s'", "3s"),
            ("idle_session_timeout", "'77s'", "0"),
        ];
        for (setting, value, _) in pinned {
            server.execute(&url, &format!("ALTER DATABASE {name} SET {setting} TO {value}"));
        }
        let by_url = format!("{url}&options=-cdefault_transaction_isolation%3Dserializable");
        for url in [&url, &by_url] {
            let mut connection = AnyConnection::connect(&DatabaseUrl::parse(url).unwrap()).unwrap();
            for (name, _, expected) in pinned {
                assert_eq!(setting(&mut connection, name), expected, "{name}");
            }
            assert_eq!(setting(&mut connection, "transaction_isolation"), "read committed");
        }
    }

    #[test]
    fn session_state_of_the_last_pooler_client_is_undone() {
        let server = ThrowawayPostgres::shared();
        let bouncer = PgBouncer::start(server, "session\nserver_reset_query =", 1);
        let url = DatabaseUrl::parse(&bouncer.url(&server.create_database())).unwrap();
        let process = |connection: &mut AnyConnection| {
            let query = diesel::sql_query("SELECT pg_backend_pid()::text AS setting");
            query.get_result::<Setting>(connection).unwrap().setting
        };
        let mut last = AnyConnection::connect_to_look(&url).unwrap();
        let left = process(&mut last);
        let AnyConnection::Postgres(session) = &mut last else { unreachable!() };
        session.batch_execute("PREPARE __diesel_stmt_0 AS SELECT 1; SELECT pg_advisory_lock(1)").unwrap();
        drop(last);

        let mut next = AnyConnection::connect(&url).unwrap();
        assert_eq!(process(&mut next), left, "the pooler has one connection");
        assert_eq!(setting(&mut next, "default_transaction_read_only"), "off");
        let query = diesel::sql_query(
            "SELECT (SELECT count(*) FROM pg_prepared_statements WHERE name LIKE '__diesel%') || ' statements, ' ||
                    (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()) ||
                    ' locks' AS setting",
        );
        assert_eq!(query.get_result::<Setting>(&mut next).unwrap().setting, "0 statements, 0 locks");
    }

    #[test]
    fn a_session_without_foreign_keys_is_refused() {
        let server = ThrowawayPostgres::shared();
        let url = server.create_database();
        let name = ThrowawayPostgres::database_name(&url);
        server.execute(&url, &format!("ALTER DATABASE {name} SET session_replication_role TO replica"));
        let connected = AnyConnection::connect(&DatabaseUrl::parse(&url).unwrap());
        assert!(
            connected.is_err_and(|failure| failure.to_string().contains("RESET session_replication_role"))
        );
    }

    #[test]
    fn connections_from_before_are_replaced_also_when_they_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let freshness = Freshness::default();
        let factory =
            ConnectionFactory::new(DatabaseUrl::Sqlite(folder.path().join("x.db")), freshness.clone(), false);
        let [mut idle, mut busy] = [(); 2].map(|()| factory.connect().unwrap());
        factory.is_valid(&mut idle).unwrap();
        assert!(!factory.has_broken(&mut busy));
        freshness.replace_opened_before(Instant::now());
        factory.is_valid(&mut idle).unwrap_err();
        assert!(factory.has_broken(&mut busy));
        let mut new = factory.connect().unwrap();
        factory.is_valid(&mut new).unwrap();
        freshness.replace_opened_before(idle.opened);
        factory.is_valid(&mut idle).unwrap_err();
    }

    #[test]
    fn after_one_lost_connection_the_others_are_replaced_unasked() {
        let server = ThrowawayPostgres::shared();
        let url = server.create_database();
        let factory = ConnectionFactory::new(DatabaseUrl::parse(&url).unwrap(), Freshness::default(), false);
        let [mut cut, mut idle, mut busy] = [(); 3].map(|()| factory.connect().unwrap());
        factory.is_valid(&mut cut).unwrap();

        let pid = diesel::sql_query("SELECT pg_backend_pid()::text AS setting");
        let Setting { setting: pid } = pid.get_result(&mut *cut).unwrap();
        server.execute(&url, &format!("SELECT pg_terminate_backend({pid}, 10000)"));
        cut.last_used -= TRUSTED_IDLE * 2;
        factory.is_valid(&mut cut).unwrap_err();

        diesel::sql_query("SELECT 1").execute(&mut *idle).unwrap();
        factory.is_valid(&mut idle).unwrap_err();
        assert!(!factory.has_broken(&mut busy), "it worked after the loss");
        factory.is_valid(&mut busy).unwrap();
        factory.is_valid(&mut factory.connect().unwrap()).unwrap();
    }

    #[test]
    fn a_connection_that_breaks_in_use_is_a_loss_and_a_timeout_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let url = DatabaseUrl::Sqlite(folder.path().join("x.db"));
        let factory = ConnectionFactory::new(url, Freshness::default(), false);
        let [mut suspect, mut lost] = [(); 2].map(|()| factory.connect().unwrap());
        let said = |kind| {
            let message = Box::new("x".to_owned());
            super::super::error::store_error(diesel::result::Error::DatabaseError(kind, message))
        };
        suspect.distrust(&said(DatabaseErrorKind::Unknown));
        assert!(factory.has_broken(&mut suspect) && factory.lost_at().is_none());
        lost.distrust(&said(DatabaseErrorKind::ClosedConnection));
        assert!(factory.has_broken(&mut lost) && factory.lost_at().is_some());
    }
}
