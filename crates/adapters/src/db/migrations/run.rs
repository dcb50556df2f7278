//! Applies migrations without stopping the service that uses the database meanwhile.
//!
//! A statement that waits for a strong lock makes every later statement on the table wait behind it. So a migration of
//! PostgreSQL waits a moment only, is rolled back and is tried again later, unless it waits for nothing that others
//! need: a migration outside of a transaction only builds or drops indexes concurrently.

use std::thread;
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection as _;
use diesel::migration::Migration;
use diesel::pg::Pg;
use diesel::sql_types::{Integer, Text};
use diesel::{PgConnection, QueryableByName, RunQueryDsl as _, SqliteConnection};
use diesel_migrations::MigrationHarness as _;
use portcullis_domain::ports::SecureRandom as _;

use super::embedded::{POSTGRES, SQLITE, sql_of};
use super::progress::{Blocked, Watched, watch};
use super::sql::{self, Statement};
use super::statement;
use crate::db::DatabaseUrl;
use crate::db::connection::AnyConnection;
use crate::db::failure::DatabaseFailure;
use crate::db::postgres::session::LOCK_TIMEOUT;
use crate::db::url::PostgresUrl;
use crate::system::OsRandom;

/// What a run did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::db) struct Applied {
    pub(in crate::db) migrations: usize,
    /// How often one was rolled back because it waited for a lock.
    pub(in crate::db) retries: usize,
}

/// Applies the pending migrations. The caller holds the lock: Diesel takes none, it lists what is pending, then runs it.
pub(in crate::db) fn run(
    url: &DatabaseUrl,
    connection: &mut AnyConnection,
) -> Result<Applied, DatabaseFailure> {
    match (url, connection) {
        (DatabaseUrl::Postgres(url), AnyConnection::Postgres(connection)) => run_on_postgres(url, connection),
        (_, AnyConnection::Sqlite(connection)) => run_on_sqlite(connection),
        (DatabaseUrl::Sqlite(_), AnyConnection::Postgres(_)) => {
            Err(DatabaseFailure::new("the connection leads to another kind of database"))
        }
    }
}

/// SQLite has one lock for the file, which the connection waits for as for any change.
fn run_on_sqlite(connection: &mut SqliteConnection) -> Result<Applied, DatabaseFailure> {
    let mut applied = Applied::default();
    for migration in connection.pending_migrations(SQLITE).map_err(DatabaseFailure::new)? {
        let name = migration.name().to_string();
        watch(&name, None, || connection.run_migration(&migration)).outcome.map_err(DatabaseFailure::new)?;
        applied.migrations += 1;
    }
    Ok(applied)
}

fn run_on_postgres(url: &PostgresUrl, connection: &mut PgConnection) -> Result<Applied, DatabaseFailure> {
    let process = process(connection)?;
    let mut applied = Applied::default();
    for migration in connection.pending_migrations(POSTGRES).map_err(DatabaseFailure::new)? {
        let name = migration.name().to_string();
        let statements = sql::statements(&sql_of(&*migration).map_err(DatabaseFailure::new)?);
        // Zero is no limit.
        let is_in_transaction = migration.metadata().run_in_transaction();
        let lock_timeout = if is_in_transaction { DDL_LOCK_TIMEOUT } else { Duration::ZERO };
        let begun = Instant::now();
        loop {
            let tried = watch(&name, Some((url, process)), || {
                run_once(connection, &migration, &statements, lock_timeout)
            });
            let Watched { outcome, took, blocked } = tried;
            let Err(failure) = outcome else { break };
            if begun.elapsed() > LOCK_PATIENCE || !is_lock_wait(&failure, blocked.as_ref(), took) {
                return Err(failure);
            }
            let pause = pause();
            let Blocked { waits_for, blocked_by } = blocked.unwrap_or_default();
            log::warn!(
                migration = name, waits_for, blocked_by, retry_in_ms = pause.as_millis();
                "a migration waited for a lock and was rolled back; it is tried again"
            );
            applied.retries += 1;
            thread::sleep(pause);
        }
        applied.migrations += 1;
    }
    Ok(applied)
}

fn run_once(
    connection: &mut PgConnection,
    migration: &dyn Migration<Pg>,
    statements: &[Statement],
    lock_timeout: Duration,
) -> Result<(), DatabaseFailure> {
    connection.batch_execute(&format!("SET lock_timeout TO {}", lock_timeout.as_millis()))?;
    drop_invalid_indexes(connection, statements)?;
    connection.run_migration(migration).map_err(DatabaseFailure::new)?;
    Ok(())
}

/// Drops the indexes that an earlier attempt at a migration left half-built: PostgreSQL maintains them and uses them for
/// no query, and a statement with `IF NOT EXISTS` would leave them as they are.
fn drop_invalid_indexes(
    connection: &mut PgConnection,
    statements: &[Statement],
) -> Result<(), DatabaseFailure> {
    #[derive(QueryableByName)]
    struct Invalid {
        #[diesel(sql_type = Text)]
        name: String,
    }
    for index in statements.iter().filter_map(statement::concurrent_index) {
        let query = diesel::sql_query(
            "SELECT indexrelid::regclass::text AS name FROM pg_index
              WHERE indexrelid = to_regclass($1) AND NOT indisvalid",
        );
        let invalid: Vec<Invalid> = query.bind::<Text, _>(index).load(connection)?;
        for Invalid { name } in invalid {
            log::warn!(index = name; "an index was not completed; it is dropped and built again");
            connection.batch_execute(&format!("DROP INDEX CONCURRENTLY {name}"))?;
        }
    }
    Ok(())
}

/// Whether a failure says no more than that a lock was held by others for too long. The texts are those of servers that
/// speak English; with any other, the lock that the migration was last seen to wait for is the evidence.
fn is_lock_wait(failure: &DatabaseFailure, blocked: Option<&Blocked>, took: Duration) -> bool {
    failure.is_lock_wait() || (blocked.is_some() && took >= DDL_LOCK_TIMEOUT)
}

/// Returns the process that serves a connection.
fn process(connection: &mut PgConnection) -> Result<i32, DatabaseFailure> {
    #[derive(QueryableByName)]
    struct Process {
        #[diesel(sql_type = Integer)]
        process: i32,
    }
    let query = diesel::sql_query("SELECT pg_backend_pid() AS process");
    Ok(query.get_result::<Process>(connection)?.process)
}

/// Returns a pause before the next attempt, at random: what holds the lock may come back at regular times.
fn pause() -> Duration {
    let mut bytes = [0; 4];
    OsRandom.fill(&mut bytes);
    let spread = u128::from(u32::from_be_bytes(bytes)) * (LONGEST_PAUSE - SHORTEST_PAUSE).as_millis();
    SHORTEST_PAUSE + Duration::from_millis(u64::try_from(spread >> 32).unwrap_or_default())
}

/// How long a migration in a transaction waits for each lock. Statements of the service on the same table wait behind it as
/// long. It is more than PostgreSQL's `deadlock_timeout` of one second, after which an autovacuum of the table gives way.
const DDL_LOCK_TIMEOUT: Duration = Duration::from_millis(1_400);

/// How many tables a migration may lock. While it waits for the second lock it holds the first.
pub(super) const MOST_LOCKED_TABLES: u32 = 2;

const _: () = assert!(
    DDL_LOCK_TIMEOUT.as_millis() * (MOST_LOCKED_TABLES as u128) < LOCK_TIMEOUT.as_millis(),
    "statements that wait behind a migration would fail before it gives way"
);

/// How long it takes until the next attempt.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// For how long a migration is tried again.
const LOCK_PATIENCE: Duration = Duration::from_mins(10);

#[cfg(test)]
mod tests;
