//! How the stores' calls run: reads, transactions and single statements, each bounded in time and repeated where that helps.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis_domain::maintenance::MAX_SKEW;
use portcullis_domain::ports::StoreError;
use portcullis_domain::session::MAX_ACCESS_LIFETIME;
use portcullis_domain::session::revocation::REVOCATION_RETENTION;

use super::Database;
use super::access::read_access;
use super::connection::AnyConnection;
use super::error::{self, is_conflict, is_connection_loss, is_read_only, store_error, took_too_long};
use super::write_record::UnderWay;

impl Database {
    /// Runs queries that only read. Repeats them once if their connection is broken, and a few times after a conflict with
    /// another transaction.
    pub(super) fn read<T>(
        &self,
        work: impl Fn(&mut AnyConnection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
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
    pub(super) fn transaction<T, E: StdError + From<StoreError> + 'static>(
        &self,
        work: impl Fn(&mut AnyConnection) -> Result<T, E>,
    ) -> Result<T, E> {
        self.transaction_since(Instant::now(), work)
    }

    /// The same as a part of a call that began before. What takes longer than [`LONGEST_TRANSACTION`] from then on is
    /// rolled back.
    pub(super) fn transaction_since<T, E: StdError + From<StoreError> + 'static>(
        &self,
        begun: Instant,
        work: impl Fn(&mut AnyConnection) -> Result<T, E>,
    ) -> Result<T, E> {
        self.may_be_changed()?;
        self.writes.keep(|under_way| match &self.writers {
            Some(writers) => {
                under_way.commits();
                writers.write(begun, self.connect(), |connection| {
                    self.may_be_used()?;
                    work(connection)
                })
            }
            None => self.repeating(|| self.transaction_alone(begun, under_way, &work)),
        })
    }

    /// Makes the connection that SQLite's writers share.
    fn connect(&self) -> impl FnOnce() -> Result<AnyConnection, StoreError> {
        || AnyConnection::connect(&self.url).map_err(error::unavailable)
    }

    fn transaction_alone<T, E: StdError + From<StoreError> + 'static>(
        &self,
        begun: Instant,
        under_way: &UnderWay<'_>,
        work: impl Fn(&mut AnyConnection) -> Result<T, E>,
    ) -> Result<T, Failed<E>> {
        let undone = |error: E| Failed { error, is_undone: true };
        let mut connection = self.checkout().map_err(|error| undone(error.into()))?;
        let begins = connection.begin().map_err(store_error);
        begins.inspect_err(|error| connection.distrust(error)).map_err(|error| undone(error.into()))?;
        match work(&mut connection).and_then(|value| in_time(begun, value)) {
            Ok(value) => {
                under_way.commits();
                match connection.commit().map_err(store_error) {
                    Ok(()) => Ok(value),
                    Err(error) => {
                        connection.discard(&error);
                        // Without an answer, the transaction may or may not be committed.
                        Err(Failed { is_undone: is_conflict(&error), error: error.into() })
                    }
                }
            }
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
    pub(super) fn statement<T: Send + 'static>(
        &self,
        work: impl Fn(&mut AnyConnection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.may_be_changed()?;
        self.writes.keep(|under_way| match &self.writers {
            Some(writers) => {
                under_way.commits();
                let access = Arc::clone(&self.access);
                writers.statement(Instant::now(), self.connect(), move |connection| {
                    read_access(&access).may_be_used()?;
                    work(connection)
                })
            }
            None => self.repeating(|| {
                let statement = |connection: &mut AnyConnection| {
                    under_way.commits();
                    work(connection)
                };
                self.run_alone(statement).map_err(|error| {
                    // The statement may have been executed before the connection broke.
                    Failed { is_undone: !is_connection_loss(&error), error }
                })
            }),
        })
    }
}

/// An attempt that failed.
struct Failed<E> {
    error: E,
    /// Whether certainly nothing of it was committed.
    is_undone: bool,
}

/// Nothing of a call may be committed that began too long ago.
pub(super) fn in_time<T, E: From<StoreError>>(begun: Instant, value: T) -> Result<T, E> {
    match begun.elapsed() > LONGEST_TRANSACTION {
        true => Err(took_too_long().into()),
        false => Ok(value),
    }
}

/// How long after a call began its transaction may still commit, however many statements it has.
pub(super) const LONGEST_TRANSACTION: Duration = Duration::from_secs(30);

// An instance that starts loads the ends of sessions by their time. A token may be issued after that time, until the
// statement that ends the session has the lock of its row, by a clock that is ahead.
const _: () = assert!(
    LONGEST_TRANSACTION.as_secs() + MAX_SKEW.as_secs()
        < REVOCATION_RETENTION.as_secs() - MAX_ACCESS_LIFETIME.as_secs(),
    "an instance that starts would miss the end of a session whose access token is valid"
);

/// How often a call runs again after a conflict with another transaction. Each conflict means that another transaction
/// got through, so three in a row are rare.
const MOST_CONFLICTS: u32 = 3;

/// How long after its begin a call may still run again: clients wait, and slow failures mean that the database is in trouble.
const REPEAT_WITHIN: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use portcullis_domain::audit::{AuditLog, EventKind};
    use portcullis_domain::ports::StoreErrorKind;
    use portcullis_testkit::fixtures::{NOW, event};
    use portcullis_testkit::{SeededRandom, postgres::ThrowawayPostgres};

    use super::*;
    use crate::db::{DatabaseUrl, PoolConfig, stores};
    use crate::keys::SecretFingerprint;

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
