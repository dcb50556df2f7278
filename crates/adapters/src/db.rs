//! Users, sessions and events in SQLite or PostgreSQL, over one set of Diesel queries.

mod audit;
mod cached_update;
mod connection;
mod deployment;
mod error;
mod hash_check;
mod migrations;
mod postgres;
mod prepare;
mod schema;
mod secrets;
mod sqlite;
mod stores;
mod types;
mod url;
mod watch;
mod write_record;

use std::error::Error as StdError;
use std::num::NonZeroU32;
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use diesel::r2d2::{NopErrorHandler, Pool};
use portcullis_domain::audit::SecurityEvent;
use portcullis_domain::ports::StoreError;
use portcullis_domain::time::UnixTime;

pub(crate) use self::audit::chain::{ChainRow, SealTurn};
pub(crate) use self::audit::reader::AuditReader;
use self::connection::{AnyConnection, ConnectionFactory, Freshness};
use self::deployment::Shared;
pub use self::error::DatabaseFailure;
use self::error::{is_conflict, is_connection_loss, is_read_only, store_error, took_too_long};
pub use self::hash_check::UnusableHash;
pub use self::migrations::MigrationState;
pub use self::prepare::PrepareError;
use self::prepare::{Missing, Replacing};
use self::secrets::Fingerprints;
use self::sqlite::file::FileId;
use self::sqlite::group_commit::GroupCommit;
#[cfg(any(test, fuzzing))]
pub use self::url::invariants as url_invariants;
pub use self::url::{DatabaseUrl, InvalidDatabaseUrl};
use self::watch::{Pooled, Watch};
use self::write_record::WriteRecord;
use crate::audit::{AuditError, AuditKey, AuditKeys, Link, Verified};
use crate::keys::SecretFingerprint;

/// One database and the pool of connections to it. It is the adapter of every storage port.
///
/// What the other instances did is asked for over one more connection, which no other call keeps waiting. That look
/// also sees when the database's secret was replaced ([`Database::is_foreign`]).
///
/// Calls fail as unavailable rather than wait: for a connection, for PostgreSQL's locks and statements, for a server
/// that vanished from the network, for the turn to write to SQLite and for another process that writes to it. And what
/// took too long in all is rolled back rather than committed: no other instance would look for it any more. Two waits
/// have no bound of ours. A PostgreSQL server that stands still while its machine goes on (stopped by `SIGSTOP`, or
/// waiting for its disk) keeps a call until it moves again, since TCP acknowledges in its name and its own timeouts
/// stand still with it. And SQLite waits for its disk like any program.
#[derive(Debug)]
pub struct Database {
    url: DatabaseUrl,
    pool: Pool<ConnectionFactory>,
    freshness: Freshness,
    watch: Watch,
    /// How the changes of callers ended.
    writes: WriteRecord,
    /// The SQLite file that was prepared.
    file: OnceLock<FileId>,
    /// Where SQLite's writers queue and commit together; PostgreSQL needs none.
    writers: Option<GroupCommit>,
    access: Arc<RwLock<Access>>,
}

/// Whether the stores may be used.
#[derive(Debug)]
enum Access {
    /// Nobody knows yet whether the schema is the one these queries are made for, and the secret the database's.
    Unprepared,
    /// They may, as long as the database is used with one of these secrets and no further one is adopted.
    Open { secrets: Fingerprints, adoptions: i64 },
    /// Another secret took the place of the database's.
    Foreign,
    /// A pooler in front of the database shares server processes among clients.
    Pooled,
}

impl Access {
    fn may_be_used(&self) -> Result<(), StoreError> {
        match self {
            Self::Open { .. } => Ok(()),
            Self::Unprepared => Err(error::unavailable("the database is not prepared yet")),
            Self::Foreign => Err(error::unavailable("the secret of the database was replaced")),
            Self::Pooled => Err(error::unavailable(PrepareError::Pooler)),
        }
    }
}

/// How many connections there are and how long to wait for one.
#[derive(Clone, Copy, Debug)]
pub struct PoolConfig {
    /// The most connections that callers have open at once. One more is used to look at what other instances did, and
    /// to SQLite another one to write.
    pub size: u32,
    /// How many writes to SQLite one commit makes durable at most. PostgreSQL sees to that by itself.
    pub group_commit: NonZeroU32,
    /// How long a call waits for a free connection before it fails as unavailable.
    pub checkout_timeout: Duration,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self { size: 16, group_commit: GROUP_COMMIT, checkout_timeout: CHECKOUT_TIMEOUT }
    }
}

/// How many writes commit together, unless told otherwise: more than ever wait.
const GROUP_COMMIT: NonZeroU32 = NonZeroU32::new(64).unwrap();

/// How long a call waits for a connection, unless told otherwise.
const CHECKOUT_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a write to SQLite waits for the writes before it in this process.
const WRITER_TIMEOUT: Duration = Duration::from_secs(5);

/// How long after a call began its transaction may still commit, however many statements it has.
const LONGEST_TRANSACTION: Duration = Duration::from_secs(30);

/// How often a call runs again after a conflict with another transaction. Each conflict means that another transaction
/// got through, so three in a row are rare.
const MOST_CONFLICTS: u32 = 3;

/// How long after its begin a call may still run again: clients wait, and slow failures mean that the database is in trouble.
const REPEAT_WITHIN: Duration = Duration::from_secs(1);

impl Database {
    /// A database that is not looked at yet: connections are made when they are needed, and until
    /// [`Database::prepare`] has succeeded every call of a store fails as unavailable.
    pub fn new(url: DatabaseUrl, config: PoolConfig) -> Self {
        Self::with(url, config, false)
    }

    /// A database that is only read: nothing is created, locked or changed, so its storage may be read-only and a
    /// PostgreSQL server may be a standby. It is opened by [`Database::prepare_to_read`]; every change fails as
    /// unavailable.
    pub fn read_only(url: DatabaseUrl, config: PoolConfig) -> Self {
        Self::with(url, config, true)
    }

    fn with(url: DatabaseUrl, config: PoolConfig, only_reads: bool) -> Self {
        let freshness = Freshness::default();
        let factory = ConnectionFactory::new(url.clone(), freshness.clone(), only_reads);
        let pool = Pool::builder()
            .max_size(config.size)
            .min_idle(Some(0))
            .connection_timeout(config.checkout_timeout)
            // Calls that cannot get a connection say so; the pool's own complaints would say it again.
            .error_handler(Box::new(NopErrorHandler))
            .test_on_check_out(true)
            .build_unchecked(factory);
        let writers = match url {
            DatabaseUrl::Postgres(_) => None,
            DatabaseUrl::Sqlite(_) => Some(GroupCommit::new(config.group_commit)),
        };
        let access = Arc::new(RwLock::new(Access::Unprepared));
        Self {
            url,
            pool,
            freshness,
            watch: Watch::default(),
            writes: WriteRecord::default(),
            file: OnceLock::new(),
            writers,
            access,
        }
    }

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
        let adoptions = prepare::prepare_to_read(&self.url, &secrets)?;
        *self.access_mut() = Access::Open { secrets, adoptions };
        Ok(())
    }

    /// Checks that the database exists and has this service's tables. Changes nothing.
    ///
    /// # Errors
    /// [`PrepareError`], among them [`PrepareError::Absent`].
    pub fn check_exists(&self) -> Result<(), PrepareError> {
        prepare::check_exists(&self.url)
    }

    /// Whether the database exists and an instance has used it with a secret. Changes nothing.
    ///
    /// # Errors
    /// [`PrepareError`].
    pub fn is_used(&self) -> Result<bool, PrepareError> {
        prepare::is_used(&self.url)
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
        let adoptions = prepare::prepare(&self.url, missing, &secrets, replacing)?;
        if let DatabaseUrl::Sqlite(path) = &self.url {
            let file =
                sqlite::file::file_id(path).map_err(|error| PrepareError::of(&self.url, error.into()))?;
            self.file.get_or_init(|| file);
        }
        *self.access_mut() = Access::Open { secrets, adoptions };
        Ok(())
    }

    /// Whether, after this instance prepared, a secret was adopted ([`Database::replace_compromised`]), whichever that is,
    /// or the database's was replaced by one that this instance does not accept. No call of a store succeeds from then on:
    /// the process had better end.
    pub fn is_foreign(&self) -> bool {
        matches!(*self.access(), Access::Foreign)
    }

    /// Whether a pooler that shares server processes among clients was found after this instance prepared
    /// ([`PrepareError::Pooler`]). All later calls of the stores fail, so the process should end.
    pub fn is_pooled(&self) -> bool {
        matches!(*self.access(), Access::Pooled)
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
        prepare::replace_compromised(&self.url, adopted, key, event)
    }

    /// Verifies the audit log with the keys of the secrets at hand, and holds it against a head that was `kept`
    /// elsewhere. Connects, and only reads. `progress` is told the place that was come to, and that of the end.
    ///
    /// # Errors
    /// [`AuditError`], which names the first place where something is wrong.
    pub fn verify_audit(
        &self,
        keys: &AuditKeys,
        kept: Option<Link>,
        mut progress: impl FnMut(i64, i64),
    ) -> Result<Verified, AuditError> {
        let mut reader = AuditReader::connect(&self.url)?;
        crate::audit::verify(&mut reader, &keys.public(), kept, &mut progress)
    }

    /// Checks the stored password hash of every user and passes those that cannot be used to `found`. Returns how many
    /// users there are. Connects, and only reads.
    ///
    /// # Errors
    /// [`PrepareError`], among them [`PrepareError::Absent`].
    pub fn check_hashes(&self, found: impl FnMut(UnusableHash)) -> Result<usize, PrepareError> {
        hash_check::check(&self.url, found)
    }

    /// Connects and brings the schema up to date under the same lock. Does not open the stores.
    ///
    /// # Errors
    /// [`PrepareError`].
    pub fn migrate(&self) -> Result<(), PrepareError> {
        prepare::migrate(&self.url)
    }

    /// Where it is, without user name and password.
    pub fn url(&self) -> &DatabaseUrl {
        &self.url
    }

    /// Every migration of this build and whether the database has it, oldest first. Changes nothing.
    ///
    /// # Errors
    /// [`PrepareError`]; [`PrepareError::Absent`] if a SQLite file does not exist.
    pub fn migrations(&self) -> Result<Vec<MigrationState>, PrepareError> {
        migrations::status(&self.url)
    }

    /// Runs queries that only read. Repeats them once if their connection is broken, and a few times after a conflict with
    /// another transaction.
    fn read<T>(&self, work: impl Fn(&mut AnyConnection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.repeating(|| self.run_alone(&work).map_err(|error| Failed { error, is_undone: true }))
    }

    fn run_alone<T>(
        &self,
        work: impl Fn(&mut AnyConnection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut connection = self.checkout()?;
        work(&mut connection).inspect_err(|error| connection.distrust(error))
    }

    /// Runs `work` in a transaction: it commits if `work` succeeds, before the value is returned. On PostgreSQL
    /// `work` may run more than once; earlier runs are rolled back.
    fn transaction<T, E: StdError + From<StoreError> + 'static>(
        &self,
        work: impl Fn(&mut AnyConnection) -> Result<T, E>,
    ) -> Result<T, E> {
        self.transaction_since(Instant::now(), work)
    }

    /// The same as a part of a call that began before. What takes longer than [`LONGEST_TRANSACTION`] from then on is
    /// rolled back.
    fn transaction_since<T, E: StdError + From<StoreError> + 'static>(
        &self,
        begun: Instant,
        work: impl Fn(&mut AnyConnection) -> Result<T, E>,
    ) -> Result<T, E> {
        self.writes.keep(|| match &self.writers {
            Some(writers) => writers.write(begun, self.connect(), |connection| {
                self.may_be_used()?;
                work(connection)
            }),
            None => self.repeating(|| self.transaction_alone(begun, &work)),
        })
    }

    /// Makes the connection that SQLite's writers share.
    fn connect(&self) -> impl FnOnce() -> Result<AnyConnection, StoreError> {
        || AnyConnection::connect(&self.url).map_err(error::unavailable)
    }

    fn transaction_alone<T, E: StdError + From<StoreError> + 'static>(
        &self,
        begun: Instant,
        work: impl Fn(&mut AnyConnection) -> Result<T, E>,
    ) -> Result<T, Failed<E>> {
        let undone = |error: E| Failed { error, is_undone: true };
        let mut connection = self.checkout().map_err(|error| undone(error.into()))?;
        let begins = connection.begin().map_err(store_error);
        begins.inspect_err(|error| connection.distrust(error)).map_err(|error| undone(error.into()))?;
        match work(&mut connection).and_then(|value| in_time(begun, value)) {
            Ok(value) => match connection.commit().map_err(store_error) {
                Ok(()) => Ok(value),
                Err(error) => {
                    connection.discard(&error);
                    // Without an answer, the transaction may or may not be committed.
                    Err(Failed { is_undone: is_conflict(&error), error: error.into() })
                }
            },
            Err(error) => {
                if let Err(rollback) = connection.rollback().map_err(store_error) {
                    connection.discard(&rollback);
                }
                connection.discard_if_stale(&error);
                Err(undone(error))
            }
        }
    }

    /// Repeats a failed attempt of which nothing was committed, if a repetition may succeed: after a conflict with another
    /// transaction, and over a new connection after the old one broke or was read-only.
    fn repeating<T, E: StdError + 'static>(
        &self,
        attempt: impl Fn() -> Result<T, Failed<E>>,
    ) -> Result<T, E> {
        let begun = Instant::now();
        let (mut conflicts, mut is_reconnected) = (0, false);
        loop {
            let Failed { error, is_undone } = match attempt() {
                Ok(value) => return Ok(value),
                Err(failed) => failed,
            };
            if !is_undone || begun.elapsed() > REPEAT_WITHIN {
                return Err(error);
            }
            if is_conflict(&error) && conflicts < MOST_CONFLICTS {
                conflicts += 1;
            } else if is_read_only(&error) && !is_reconnected {
                is_reconnected = true;
                self.freshness.replace_opened_before(Instant::now());
            } else if is_connection_loss(&error) && !is_reconnected {
                // The pool replaces connections that fail.
                is_reconnected = true;
            } else {
                return Err(error);
            }
        }
    }

    /// Runs one statement that changes something, in a single round trip where the database allows. It is to be one that
    /// no client can make fail: on SQLite, others may fail with it.
    ///
    /// PostgreSQL commits it before the answer. SQLite would commit when the statement is reset, after its rows were
    /// read, where an error is lost: there it needs an explicit COMMIT.
    fn statement<T: Send + 'static>(
        &self,
        work: impl Fn(&mut AnyConnection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.writes.keep(|| match &self.writers {
            Some(writers) => {
                let access = Arc::clone(&self.access);
                writers.state(Instant::now(), self.connect(), move |connection| {
                    read_access(&access).may_be_used()?;
                    work(connection)
                })
            }
            None => self.repeating(|| {
                self.run_alone(&work).map_err(|error| {
                    // The statement may have been executed before the connection broke.
                    Failed { is_undone: !is_connection_loss(&error), error }
                })
            }),
        })
    }

    /// Runs queries that read over a connection outside the pool, which no other work keeps waiting, after a look at
    /// what all instances share.
    fn watch<T>(
        &self,
        work: impl FnOnce(&mut AnyConnection, &Shared) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.may_be_used()?;
        let looked = self.watch.look(
            &self.url,
            |(process, _)| *process,
            |connection| {
                let shared = deployment::look(connection).map_err(store_error)?;
                self.compare_secrets(&shared);
                self.may_be_used()?;
                Ok((shared.process, work(connection, &shared)?))
            },
        )?;
        match looked {
            Ok((_process, seen)) => Ok(seen),
            Err(Pooled) => {
                *self.access_mut() = Access::Pooled;
                Err(error::unavailable(PrepareError::Pooler))
            }
        }
    }

    /// Closes the stores when a secret was adopted, or the database's is one that this instance neither has nor accepts.
    fn compare_secrets(&self, shared: &Shared) {
        let is_stored =
            |fingerprint: &SecretFingerprint| shared.key_check.as_deref() == Some(fingerprint.as_bytes());
        let is_ours = match &*self.access() {
            Access::Open { secrets, adoptions } => {
                shared.adoptions == *adoptions && secrets.iter().any(is_stored)
            }
            Access::Unprepared | Access::Foreign | Access::Pooled => return,
        };
        if !is_ours {
            *self.access_mut() = Access::Foreign;
        }
    }

    /// Fails if the SQLite file was moved, deleted or replaced: changes would go to a file without a name, which is lost
    /// when the process ends.
    fn check_file(&self) -> Result<(), StoreError> {
        let (DatabaseUrl::Sqlite(path), Some(prepared)) = (&self.url, self.file.get()) else { return Ok(()) };
        let shown = path.display();
        match sqlite::file::file_id(path) {
            Ok(found) if found == *prepared => Ok(()),
            Ok(_) => Err(error::unavailable(format!(
                "the database file {shown} was replaced by another: stop the service, then start it with the right one"
            ))),
            Err(cause) => Err(error::unavailable(format!(
                "the database file {shown} does not exist any more ({cause}): put it back, or restart the service"
            ))),
        }
    }

    fn checkout(&self) -> Result<diesel::r2d2::PooledConnection<ConnectionFactory>, StoreError> {
        self.may_be_used()?;
        self.pool.get().map_err(error::unavailable)
    }

    fn may_be_used(&self) -> Result<(), StoreError> {
        self.access().may_be_used()
    }

    fn access(&self) -> RwLockReadGuard<'_, Access> {
        read_access(&self.access)
    }

    fn access_mut(&self) -> RwLockWriteGuard<'_, Access> {
        self.access.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An attempt that failed.
struct Failed<E> {
    error: E,
    /// Whether certainly nothing of it was committed.
    is_undone: bool,
}

fn read_access(access: &RwLock<Access>) -> RwLockReadGuard<'_, Access> {
    access.read().unwrap_or_else(PoisonError::into_inner)
}

/// Nothing of a call may be committed that began too long ago.
fn in_time<T, E: From<StoreError>>(begun: Instant, value: T) -> Result<T, E> {
    match begun.elapsed() > LONGEST_TRANSACTION {
        true => Err(took_too_long().into()),
        false => Ok(value),
    }
}

#[cfg(test)]
mod tests {
    use portcullis_domain::audit::{AuditLog, EventKind};
    use portcullis_domain::ports::StoreErrorKind;
    use portcullis_testkit::fixtures::{NOW, event};
    use portcullis_testkit::{SeededRandom, postgres::ThrowawayPostgres};

    use super::*;

    /// The only connection and the writers' turn come back, and what was begun is undone.
    fn survives_a_panic(url: DatabaseUrl) {
        let config = PoolConfig { size: 1, ..PoolConfig::default() };
        let database = Database::new(url, config);
        database.prepare(SecretFingerprint::from_bytes([1; 32]), &[]).unwrap();
        let event = event(EventKind::UserRegistered, NOW, &SeededRandom::new(1));
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            database.transaction(|connection| -> Result<(), StoreError> {
                stores::audit_log::insert_event(connection, &event)?;
                panic!("in the middle of a transaction");
            })
        }));
        assert!(panicked.is_err());
        database.record_event(&event).unwrap();
        assert_eq!(
            database.record_event(&event).unwrap_err().kind(),
            StoreErrorKind::Internal,
            "it is there now"
        );
    }

    #[test]
    fn what_took_too_long_is_rolled_back() {
        let folder = tempfile::tempdir().unwrap();
        let postgres = ThrowawayPostgres::shared().create_database();
        for url in [DatabaseUrl::Sqlite(folder.path().join("x.db")), DatabaseUrl::parse(&postgres).unwrap()] {
            let database = Database::new(url, PoolConfig::default());
            database.prepare(SecretFingerprint::from_bytes([1; 32]), &[]).unwrap();
            let event = event(EventKind::UserRegistered, NOW, &SeededRandom::new(1));
            let record = |begun| {
                database.transaction_since(begun, |connection| {
                    stores::audit_log::insert_event(connection, &event)
                })
            };
            let begun = |ago| Instant::now().checked_sub(ago).unwrap();
            let error = record(begun(LONGEST_TRANSACTION + Duration::from_millis(1))).unwrap_err();
            assert_eq!(error.kind(), StoreErrorKind::Unavailable);
            record(begun(LONGEST_TRANSACTION / 2)).unwrap();
        }
    }

    #[test]
    fn a_panic_inside_a_call_leaves_sqlite_usable() {
        let folder = tempfile::tempdir().unwrap();
        survives_a_panic(DatabaseUrl::Sqlite(folder.path().join("x.db")));
    }

    #[test]
    fn a_panic_inside_a_call_leaves_postgres_usable() {
        let url = ThrowawayPostgres::shared().create_database();
        survives_a_panic(DatabaseUrl::parse(&url).unwrap());
    }
}
