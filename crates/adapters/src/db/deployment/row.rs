//! What all instances over one database share: a table of one row.

use diesel::dsl::{case_when, sql};
use diesel::expression::SqlLiteral;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Integer};
use portcullis_domain::maintenance::PurgeRequest;
use portcullis_domain::session::{Cursor, next_valid_from};
use portcullis_domain::time::{StoreTime, UnixTime};

use crate::db::connection::AnyConnection;
use crate::db::schema::sql_types::{Moment, Transaction};
use crate::db::schema::{deployment, sessions};
use crate::db::types::{DbId, DbTime, DbTransaction};

/// What each instance reads of the row several times per second.
pub(in crate::db) struct Shared {
    /// Sessions opened before this are ended.
    pub(in crate::db) valid_from: UnixTime,
    /// The fingerprint of the secret in use, as it is stored.
    pub(in crate::db) key_check: Option<Vec<u8>>,
    /// How often a secret was adopted.
    pub(in crate::db) adoptions: i64,
    /// Whether the contents of the database were copied elsewhere.
    pub(in crate::db) is_moved: bool,
    pub(in crate::db) time: StoreTime,
    /// The server process that answered; zero for SQLite.
    pub(in crate::db) process: i32,
    /// Where changes stand that later statements see; `None` on a standby.
    pub(in crate::db) cursor: Option<Cursor>,
}

/// The database's clock: the moment itself, not that at which a transaction began. PostgreSQL's function is not named by
/// its schema, so that a test can put another clock before it.
pub(in crate::db) fn now(connection: &AnyConnection) -> SqlLiteral<Moment> {
    sql(match connection {
        AnyConnection::Postgres(_) => "clock_timestamp()",
        AnyConnection::Sqlite(_) => "CAST(unixepoch('subsec') * 1000000 AS INTEGER)",
    })
}

/// The timeline of the server's log, and the number of the first transaction that may not be finished: [`cursor`] makes a
/// cursor of them.
///
/// On PostgreSQL the number is that of the oldest transaction that is running; of those with earlier numbers, none is. A
/// commit that waits for a standby is running, however long that takes. A promoted standby begins another timeline: it may
/// have lost transactions, and uses their numbers again. On a standby, where the timeline cannot be read, it is -1.
///
/// On SQLite transactions commit one after the other, and each number is given in the transaction that commits it; the next
/// one is not given yet.
pub(in crate::db) fn position(connection: &AnyConnection) -> (SqlLiteral<BigInt>, SqlLiteral<Transaction>) {
    let (timeline, next) = match connection {
        AnyConnection::Postgres(_) => (
            "CASE WHEN pg_is_in_recovery() THEN -1
                  ELSE ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint END",
            "pg_snapshot_xmin(pg_current_snapshot())",
        ),
        AnyConnection::Sqlite(_) => ("0", "commits + 1"),
    };
    (sql(timeline), sql(next))
}

/// Makes a cursor whose epoch is the timeline. What has an earlier number is finished: either visible to every later
/// statement, or rolled back.
pub(in crate::db) fn cursor(timeline: i64, DbTransaction(next): DbTransaction) -> Option<Cursor> {
    u64::try_from(timeline).ok().map(|timeline| Cursor::new(timeline, next))
}

/// Reads the row, the database's clock, and where changes stand.
pub(in crate::db) fn read_shared(connection: &mut AnyConnection) -> QueryResult<Shared> {
    let now = now(connection);
    let process = sql::<Integer>(match connection {
        AnyConnection::Postgres(_) => "pg_backend_pid()",
        AnyConnection::Sqlite(_) => "0",
    });
    let (
        DbTime(valid_from),
        key_check,
        adoptions,
        is_moved,
        DbTime(newest),
        DbTime(now),
        process,
        (timeline, next),
    ) = deployment::table
        .select((
            deployment::session_floor,
            deployment::key_check,
            deployment::adoptions,
            deployment::moved_at.is_not_null(),
            deployment::newest_mark,
            now,
            process,
            position(connection),
        ))
        .first(connection)?;
    let time = StoreTime { now, high_water_mark: newest };
    let cursor = cursor(timeline, next);
    Ok(Shared { valid_from, key_check, adoptions, is_moved, time, process, cursor })
}

/// Sets the time that sessions are valid from as [`next_valid_from`] returns it, and raises the high-water mark to it: a
/// clock that shows an earlier time would open sessions that are invalid.
pub(in crate::db) fn invalidate_all(connection: &mut AnyConnection, at: UnixTime) -> QueryResult<UnixTime> {
    // Locks the row, so that the values read next stay valid.
    raise_high_water_mark(connection, at)?;
    // Ids are made of times, so the newest session has the last one.
    let newest: Option<DbTime> = sessions::table
        .order(sessions::id.desc())
        .select(sessions::opened_at)
        .first(connection)
        .optional()?;
    let newest = newest.map(|DbTime(opened_at)| opened_at);
    let raised = next_valid_from(valid_from(connection)?, at, newest);
    diesel::update(deployment::table)
        .set(deployment::session_floor.eq(DbTime(raised)))
        .execute(connection)?;
    raise_high_water_mark(connection, raised)?;
    Ok(raised)
}

/// Raises the time that sessions are valid from, and the high-water mark, unless they are later.
pub(in crate::db) fn raise_valid_from(connection: &mut AnyConnection, at: UnixTime) -> QueryResult<()> {
    raise_high_water_mark(connection, at)?;
    let earlier = deployment::table.filter(deployment::session_floor.lt(DbTime(at)));
    diesel::update(earlier).set(deployment::session_floor.eq(DbTime(at))).execute(connection)?;
    Ok(())
}

pub(in crate::db) fn valid_from(connection: &mut AnyConnection) -> QueryResult<UnixTime> {
    let DbTime(valid_from) = deployment::table.select(deployment::session_floor).first(connection)?;
    Ok(valid_from)
}

/// Takes or keeps the turn to purge, unless another instance has it: in SQL what [`PurgeRequest::take_turn`] decides.
pub(in crate::db) fn take_turn(connection: &mut AnyConnection, request: &PurgeRequest) -> QueryResult<bool> {
    let instance = DbId(request.instance);
    let is_free = deployment::sweeper_until.le(DbTime(request.now));
    let is_ours = deployment::sweeper.eq(instance).or(is_free.nullable());
    let taken = diesel::update(deployment::table.filter(is_ours))
        .set((
            deployment::sweeper.eq(instance),
            deployment::sweeper_until.eq(DbTime(request.now + request.turn)),
        ))
        .execute(connection)?;
    Ok(taken == 1)
}

/// Raises the high-water mark to a time, unless it is later. Locks the row in either case.
pub(in crate::db) fn raise_high_water_mark(connection: &mut AnyConnection, at: UnixTime) -> QueryResult<()> {
    let newest = case_when(deployment::newest_mark.lt(DbTime(at)), DbTime(at).into_sql::<Moment>())
        .otherwise(deployment::newest_mark);
    diesel::update(deployment::table).set(deployment::newest_mark.eq(newest)).execute(connection)?;
    Ok(())
}
