//! Makes a database ready for use, under a lock that lets one instance at a time do so.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::sql_types::{Bool, Integer, Nullable, Text};
use diesel::{Connection as _, PgConnection, QueryableByName, RunQueryDsl};
use portcullis_domain::audit::SecurityEvent;
use portcullis_domain::ports::StoreError;
use portcullis_domain::time::UnixTime;

use super::access::Access;
use super::audit::chain;
use super::connection::AnyConnection;
use super::error::{DatabaseFailure, store_error};
use super::postgres::pooler;
use super::secrets::{self, Fingerprints, Known};
use super::stores::audit_log::insert_event;
use super::{Database, DatabaseUrl, InvalidDatabaseUrl, deployment, migrations, sqlite};
use crate::audit::{AuditKey, AuditKeys};
use crate::files::{absolute, create_folder, folder_of};
use crate::keys::SecretFingerprint;

impl Database {
    /// Connects and, under a lock, brings the schema up to date and holds this instance's secrets against the one the
    /// database is used with: `current` is the fingerprint of the secret in use, `accepted` those of the others it
    /// takes. Then opens the stores for use. Blocks while another instance prepares, for a minute at most.
    ///
    /// The first instance of a database sets its secret; one that accepts the database's moves it to its own current
    /// one. So a secret is replaced in two steps: first every instance accepts the new one, then every instance has
    /// the new one and accepts the old. A secret that was refused when another was adopted
    /// ([`Database::replace_compromised`]) opens nothing any more, nor does it as an accepted one.
    ///
    /// # Errors
    /// [`PrepareError`].
    pub fn prepare(
        &self,
        current: SecretFingerprint,
        accepted: &[SecretFingerprint],
    ) -> Result<(), PrepareError> {
        self.open(Missing::Create, Fingerprints { current, accepted: accepted.to_vec() }, None)
    }

    /// Checks that the database exists, is up to date and was used with this instance's secrets. Then opens the stores
    /// for reading. Changes nothing.
    ///
    /// # Errors
    /// [`PrepareError`], among them [`PrepareError::Absent`].
    pub fn prepare_to_read(&self, keys: &AuditKeys) -> Result<(), PrepareError> {
        let secrets = Fingerprints::of(keys);
        let adoptions = prepare_to_read(&self.url, &secrets)?;
        *self.access_mut() = Access::Open { secrets, adoptions };
        Ok(())
    }

    /// Checks that the database exists and has this service's tables. Changes nothing.
    ///
    /// # Errors
    /// [`PrepareError`], among them [`PrepareError::Absent`].
    pub fn check_exists(&self) -> Result<(), PrepareError> {
        check_exists(&self.url)
    }

    /// Whether the database exists and an instance has used it with a secret. Changes nothing.
    ///
    /// # Errors
    /// [`PrepareError`].
    pub fn is_used(&self) -> Result<bool, PrepareError> {
        is_used(&self.url)
    }

    /// The same for who keeps an audit log: where an accepted secret is replaced, a hand-over from its audit key to the
    /// new one's is left in the same transaction, with `event`, which is told the time as that of
    /// [`Database::replace_compromised`] is.
    ///
    /// # Errors
    /// [`PrepareError`].
    pub fn prepare_with(
        &self,
        keys: &AuditKeys,
        event: impl Fn(UnixTime) -> SecurityEvent,
    ) -> Result<(), PrepareError> {
        self.open(Missing::Create, Fingerprints::of(keys), Some(Replacing { keys, event: &event }))
    }

    /// The same for a database that must exist: an empty one is refused, and nothing is created.
    ///
    /// # Errors
    /// [`PrepareError`], among them [`PrepareError::Absent`].
    pub fn prepare_existing(
        &self,
        keys: &AuditKeys,
        event: impl Fn(UnixTime) -> SecurityEvent,
    ) -> Result<(), PrepareError> {
        self.open(Missing::Refuse, Fingerprints::of(keys), Some(Replacing { keys, event: &event }))
    }

    fn open(
        &self,
        missing: Missing,
        secrets: Fingerprints,
        replacing: Option<Replacing<'_>>,
    ) -> Result<(), PrepareError> {
        let adoptions = prepare(&self.url, missing, &secrets, replacing)?;
        if let DatabaseUrl::Sqlite(path) = &self.url {
            let file =
                sqlite::file::file_id(path).map_err(|error| PrepareError::of(&self.url, error.into()))?;
            self.file.get_or_init(|| file);
        }
        *self.access_mut() = Access::Open { secrets, adoptions };
        Ok(())
    }

    /// Replaces the secret that the database is used with, for example after a leak. Connects to a database that must
    /// exist, brings the schema up to date and, in one transaction, replaces the fingerprint, refuses from now on every
    /// other secret that an instance ever had or accepted here, ends every session and records the event. `key`, the
    /// adopted secret's, signs in the audit log that older keys prove nothing any more. Does not open the stores.
    ///
    /// No clock of the caller's is aligned yet, so `event` is told what one would show: the database's time, or the
    /// newest mark in it if that is later. No clock shows an earlier time from then on, since new sessions would be
    /// taken for old ones. Every instance that runs sees it with its next look
    /// and is over ([`Database::is_foreign`]).
    ///
    /// # Errors
    /// [`PrepareError`], also where this secret is refused already; nothing was changed then but the schema.
    pub fn replace_compromised(
        &self,
        adopted: SecretFingerprint,
        key: &AuditKey,
        event: impl FnOnce(UnixTime) -> SecurityEvent,
    ) -> Result<(), PrepareError> {
        replace_compromised(&self.url, adopted, key, event)
    }

    /// Connects and brings the schema up to date under the same lock. Does not open the stores.
    ///
    /// # Errors
    /// [`PrepareError`].
    pub fn migrate(&self) -> Result<(), PrepareError> {
        migrate(&self.url)
    }
}

/// The database could not be made ready.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// It does not answer, or another instance or process holds it for too long; trying again may help.
    #[error("cannot reach the database: {0}{advice}", advice = .0.advice())]
    Unreachable(DatabaseFailure),
    /// The server answers, but refuses a statement that the service needs. The text is advice for its administrator.
    #[error("the database does not allow what the service needs: {0}; {1}")]
    Denied(DatabaseFailure, String),
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
         session mode with database.pool_size + 3 server connections for each instance"
    )]
    Pooler,
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
    /// The schema is older than this build, and the call only reads.
    #[error("the database's schema is older than this build: bring it up to date with `portcullis migrate`")]
    Outdated,
    /// A migration failed. It was rolled back.
    #[error("a migration failed: {0}")]
    Migration(DatabaseFailure),
}

impl PrepareError {
    /// There is nothing at a database's path.
    pub(super) fn missing(path: &Path) -> Self {
        Self::Absent(format!("{} does not exist", absolute(path)))
    }

    /// The database lacks every table of this service.
    fn without_tables(url: &DatabaseUrl) -> Self {
        Self::Absent(match url {
            DatabaseUrl::Sqlite(path) => format!("{} has none of its tables", absolute(path)),
            url @ DatabaseUrl::Postgres(_) => format!("{url} has none of its tables"),
        })
    }

    /// Sorts a failure to connect, or to read or write when connected.
    pub(super) fn of(url: &DatabaseUrl, failure: DatabaseFailure) -> Self {
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

/// Brings the schema up to date, and creates what is missing.
pub(super) fn migrate(url: &DatabaseUrl) -> Result<(), PrepareError> {
    Alone::with(url, Missing::Create)?.migrate()
}

/// Whether a call may create the database and its tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    Create,
    Refuse,
}

/// Connects to a database that exists and is up to date, to read it.
pub(super) fn connect_to_look(url: &DatabaseUrl) -> Result<AnyConnection, PrepareError> {
    if let DatabaseUrl::Sqlite(path) = url {
        let is_there = sqlite::file::is_there(path);
        if !is_there.map_err(|error| PrepareError::of(url, error.into()))? {
            return Err(PrepareError::missing(path));
        }
    }
    check_existing_server(url)?;
    let connected = AnyConnection::connect_to_look(url);
    let mut connection = connected.map_err(|failure| PrepareError::of(url, failure))?;
    let states = migrations::states(url, &mut connection)?;
    match states.iter().filter(|state| state.applied).count() {
        0 => Err(PrepareError::without_tables(url)),
        applied if applied < states.len() => Err(PrepareError::Outdated),
        _ => Ok(connection),
    }
}

/// Checks that the database exists and has this service's tables.
pub(super) fn check_exists(url: &DatabaseUrl) -> Result<(), PrepareError> {
    match connect_to_look(url) {
        Ok(_) | Err(PrepareError::Outdated) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Compares an instance's secrets with the database's and changes nothing. Returns how often a secret was adopted so far.
pub(super) fn prepare_to_read(url: &DatabaseUrl, fingerprints: &Fingerprints) -> Result<i64, PrepareError> {
    let mut connection = connect_to_look(url)?;
    let known = Known::read(&mut connection).map_err(|error| PrepareError::of(url, error.into()))?;
    known.admit(fingerprints)?;
    Ok(known.adoptions)
}

/// Whether the database exists and an instance has used it with a secret.
pub(super) fn is_used(url: &DatabaseUrl) -> Result<bool, PrepareError> {
    match connect_to_look(url) {
        Ok(mut connection) => {
            let known = Known::read(&mut connection).map_err(|error| PrepareError::of(url, error.into()))?;
            Ok(known.is_any_in_use())
        }
        // Tables of an older build were used by it.
        Err(PrepareError::Outdated) => Ok(true),
        Err(PrepareError::Absent(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// What is left behind where an instance's secret takes the place of another: a hand-over of the audit log, and the event
/// of the time that an aligned clock would show.
pub(super) struct Replacing<'a> {
    pub(super) keys: &'a AuditKeys,
    pub(super) event: &'a dyn Fn(UnixTime) -> SecurityEvent,
}

/// Brings the schema up to date and holds an instance's secrets against the database's. Returns how often a secret was
/// adopted so far.
pub(super) fn prepare(
    url: &DatabaseUrl,
    missing: Missing,
    fingerprints: &Fingerprints,
    replacing: Option<Replacing<'_>>,
) -> Result<i64, PrepareError> {
    let mut alone = Alone::with(url, missing)?;
    alone.migrate()?;
    let known = alone.known_secrets()?;
    known.admit(fingerprints)?;
    // Where nothing is new, it only reads.
    if !known.says_it_all(fingerprints) {
        alone.transaction(|connection| {
            known.learn(connection, fingerprints).map_err(store_error)?;
            match (replacing, known.replaced_by(fingerprints)) {
                (Some(replacing), Some(old)) => hand_over(connection, &replacing, old),
                _ => Ok(()),
            }
        })?;
    }
    Ok(known.adoptions)
}

fn hand_over(
    connection: &mut AnyConnection,
    replacing: &Replacing<'_>,
    old: &[u8],
) -> Result<(), StoreError> {
    let time = deployment::look(connection).map_err(store_error)?.time;
    let event = (replacing.event)(time.now.max(time.high_water_mark));
    if let Some(old) = replacing.keys.accepted(old) {
        chain::hand_over(connection, &replacing.keys.current, old, event.at)?;
    }
    insert_event(connection, &event)
}

/// Brings the schema up to date, puts another secret in the place of the database's, refuses all others that it knows
/// and ends all sessions. `event` is told the time that an aligned clock would show.
pub(super) fn replace_compromised(
    url: &DatabaseUrl,
    adopted: SecretFingerprint,
    key: &AuditKey,
    event: impl FnOnce(UnixTime) -> SecurityEvent,
) -> Result<(), PrepareError> {
    let mut alone = Alone::with(url, Missing::Refuse)?;
    alone.migrate()?;
    let known = alone.known_secrets()?;
    known.admit_new(adopted)?;
    alone.transaction(|connection| {
        let fingerprints = Fingerprints { current: adopted, accepted: Vec::new() };
        known.learn(connection, &fingerprints).map_err(store_error)?;
        secrets::refuse_all_but(connection, adopted).map_err(store_error)?;
        let time = deployment::look(connection).map_err(store_error)?.time;
        let event = event(time.now.max(time.high_water_mark));
        deployment::invalidate_all(connection, event.at).map_err(store_error)?;
        chain::adoption(connection, key, event.at)?;
        insert_event(connection, &event)
    })
}

/// Takes the lock of a SQLite database, and creates the file if there is none.
fn lock_file(path: &Path, failed: impl Fn(DatabaseFailure) -> PrepareError) -> Result<File, PrepareError> {
    let failed = |error: io::Error| failed(error.into());
    create_folder(folder_of(path)).map_err(failed)?;
    sqlite::file::is_there(path).map_err(failed)?;
    sqlite::file::check_writable(path).map_err(failed)?;
    let lock = sqlite::file::lock(path, PATIENCE).map_err(failed)?;
    let stays_locked = || DatabaseFailure::new("another instance stays at preparing it");
    let lock = lock.ok_or_else(|| PrepareError::Unreachable(stays_locked()))?;
    if sqlite::file::make_file(path).map_err(failed)? {
        log::info!(path = absolute(path); "created the database");
    }
    Ok(lock)
}

/// A connection outside the pool, whose owner alone prepares the database. The fields are dropped in this order.
struct Alone<'a> {
    url: &'a DatabaseUrl,
    connection: AnyConnection,
    /// The lock of a SQLite database. PostgreSQL's is the connection's.
    _lock: Option<File>,
}

impl Drop for Alone<'_> {
    /// Releases PostgreSQL's lock: a pooler may keep the session after this connection is closed.
    fn drop(&mut self) {
        if let AnyConnection::Postgres(connection) = &mut self.connection {
            // If the session is broken, its end releases the lock.
            let _released = connection.batch_execute("SELECT pg_advisory_unlock_all()");
        }
    }
}

impl<'a> Alone<'a> {
    /// Connects and takes the lock. On SQLite the lock comes first: under it the file is made, and the first
    /// connection of all turns it to WAL, which fails at once where another does the same.
    fn with(url: &'a DatabaseUrl, missing: Missing) -> Result<Self, PrepareError> {
        let failed = |failure| PrepareError::of(url, failure);
        match missing {
            Missing::Create => check_server(url)?,
            Missing::Refuse => check_exists(url)?,
        }
        let lock = match url {
            DatabaseUrl::Postgres(_) => None,
            DatabaseUrl::Sqlite(path) => Some(lock_file(path, failed)?),
        };
        let mut connection = AnyConnection::connect(url).map_err(failed)?;
        connection.check_write_ahead_log().map_err(failed)?;
        if let AnyConnection::Postgres(connection) = &mut connection {
            // This connection only prepares: its waits are bounded by the lock timeout, its statements are not.
            let patience = PATIENCE.as_millis();
            let lock = format!(
                "SET statement_timeout TO 0; SET lock_timeout TO {patience}; SELECT pg_advisory_lock({ADVISORY_LOCK});"
            );
            connection.batch_execute(&lock).map_err(|error| failed(error.into()))?;
        }
        Ok(Self { url, connection, _lock: lock })
    }

    /// Applies what is pending. Where nothing is, it only reads: a role that may not change the schema can start.
    fn migrate(&mut self) -> Result<(), PrepareError> {
        let states =
            migrations::states(self.url, &mut self.connection).map_err(|error| self.explain(error))?;
        if states.iter().all(|state| state.applied) {
            return Ok(());
        }
        let applied = migrations::run(&mut self.connection).map_err(|failure| {
            let error = match failure.is_busy_file() {
                true => PrepareError::Unreachable(failure),
                false => PrepareError::Migration(failure),
            };
            self.explain(error)
        })?;
        log::info!(applied; "migrated the database");
        Ok(())
    }

    fn known_secrets(&mut self) -> Result<Known, PrepareError> {
        let known = Known::read(&mut self.connection);
        known.map_err(|error| self.explain(PrepareError::of(self.url, error.into())))
    }

    /// Adds what an administrator can do, if the role or the server is the cause of a failure.
    fn explain(&mut self, error: PrepareError) -> PrepareError {
        let AnyConnection::Postgres(connection) = &mut self.connection else { return error };
        let (failure, is_migration) = match error {
            PrepareError::Migration(failure) => (failure, true),
            PrepareError::Unreachable(failure) => (failure, false),
            other => return other,
        };
        match remedy(connection, is_migration) {
            Some(remedy) => PrepareError::Denied(failure, remedy),
            None if is_migration => PrepareError::Migration(failure),
            None => PrepareError::Unreachable(failure),
        }
    }

    /// Runs `work` in a transaction, which is rolled back if `work` fails.
    fn transaction(
        mut self,
        work: impl FnOnce(&mut AnyConnection) -> Result<(), StoreError>,
    ) -> Result<(), PrepareError> {
        let connection = &mut self.connection;
        let done = connection.begin().map_err(store_error).and_then(|()| {
            work(connection)?;
            connection.commit().map_err(store_error)
        });
        done.map_err(|error| {
            // Only to ask the server why: the end of the connection rolls back too.
            let _ended = self.connection.rollback();
            self.explain(PrepareError::of(self.url, error.into()))
        })
    }
}

/// Like [`check_server`], for callers that create nothing: a database that the server does not have is absent. A service that
/// starts waits for it instead.
pub(super) fn check_existing_server(url: &DatabaseUrl) -> Result<(), PrepareError> {
    check_server(url).map_err(|error| match error {
        PrepareError::Unreachable(failure) if failure.is_missing_database() => {
            PrepareError::Absent(format!("{url} does not exist"))
        }
        error => error,
    })
}

/// Checks that the service can use the PostgreSQL server, before anything is set or locked there. Does nothing for SQLite.
fn check_server(url: &DatabaseUrl) -> Result<(), PrepareError> {
    let DatabaseUrl::Postgres(to) = url else { return Ok(()) };
    let failed = |failure| PrepareError::of(url, failure);
    url.check_files().map_err(PrepareError::Url)?;
    let mut connection = PgConnection::establish(to).map_err(|error| failed(error.into()))?;
    if pooler::stands_between(&mut connection, to).map_err(failed)? {
        return Err(PrepareError::Pooler);
    }
    let server: Server = diesel::sql_query(
        "SELECT current_setting('server_encoding') AS encoding,
                current_setting('server_version_num')::integer AS version",
    )
    .get_result(&mut connection)
    .map_err(|error| failed(error.into()))?;
    if server.version < OLDEST_POSTGRES {
        return Err(PrepareError::TooOld(server.version));
    }
    match server.encoding.as_str() {
        "UTF8" => Ok(()),
        _ => Err(PrepareError::Encoding(server.encoding)),
    }
}

/// Returns advice for the administrator, from the state of the server instead of its messages, whose language varies.
fn remedy(connection: &mut PgConnection, is_migration: bool) -> Option<String> {
    let rights: Rights = diesel::sql_query(RIGHTS).get_result(connection).ok()?;
    let Rights { role, schema, may_create, is_standby, is_read_only, tables } = rights;
    if is_standby {
        return Some("the server is a standby: set database.url to the primary".to_owned());
    }
    if is_read_only {
        return Some(
            "the server, the database or the role has default_transaction_read_only = on: switch it off"
                .to_owned(),
        );
    }
    let Some(schema) = schema else {
        return Some(format!(
            "no schema of the search_path exists or may be used: GRANT USAGE, CREATE ON SCHEMA public TO {role}, or \
             choose another with options=-csearch_path%3DNAME in database.url"
        ));
    };
    if is_migration && !may_create {
        return Some(format!(
            "GRANT CREATE ON SCHEMA {schema} TO {role}, or run `portcullis migrate` as the owner of the tables"
        ));
    }
    let tables = tables.filter(|_| !is_migration)?;
    Some(format!(
        "GRANT SELECT, INSERT, UPDATE, DELETE ON {tables} TO {role} (docs/audit.md lists the rights one by one)"
    ))
}

/// Reasons that may keep a role from preparing the database.
#[derive(QueryableByName)]
struct Rights {
    #[diesel(sql_type = Text)]
    role: String,
    /// The schema in which new tables are created.
    #[diesel(sql_type = Nullable<Text>)]
    schema: Option<String>,
    #[diesel(sql_type = Bool)]
    may_create: bool,
    #[diesel(sql_type = Bool)]
    is_standby: bool,
    #[diesel(sql_type = Bool)]
    is_read_only: bool,
    /// The service's tables that the role may not read.
    #[diesel(sql_type = Nullable<Text>)]
    tables: Option<String>,
}

const RIGHTS: &str = "
    SELECT quote_ident(current_user) AS role,
           quote_ident(current_schema()) AS schema,
           coalesce(has_schema_privilege(current_schema(), 'CREATE'), false) AS may_create,
           pg_is_in_recovery() AS is_standby,
           current_setting('transaction_read_only')::boolean AS is_read_only,
           (SELECT string_agg(relation::text, ', ')
              FROM unnest(ARRAY['__diesel_schema_migrations', 'users', 'sessions', 'attempt_counters', 'known_secrets',
                                'deployment', 'security_events', 'audit_chain', 'audit_heads']) AS name,
                   to_regclass(name) AS relation
             WHERE NOT has_table_privilege(relation, 'SELECT')
                OR name IN ('known_secrets', 'security_events') AND NOT has_table_privilege(relation, 'INSERT')
                OR name = 'deployment' AND NOT has_table_privilege(relation, 'UPDATE')) AS tables
";

#[derive(QueryableByName)]
struct Server {
    #[diesel(sql_type = Text)]
    encoding: String,
    /// Such as `150004` for version 15.4.
    #[diesel(sql_type = Integer)]
    version: i32,
}

/// The oldest server that is used, as `server_version_num`. The PostgreSQL project maintains no older version, and
/// the service sets only session settings that exist since this version.
const OLDEST_POSTGRES: i32 = 140_000;

/// How long an instance waits for another to finish preparing.
const PATIENCE: Duration = Duration::from_mins(1);

/// The advisory lock's key: "portcull" in ASCII.
const ADVISORY_LOCK: i64 = 0x706f_7274_6375_6c6c;
