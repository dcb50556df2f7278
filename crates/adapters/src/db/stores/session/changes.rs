//! The queries for the sessions that ended.

use diesel::prelude::*;
use portcullis_domain::session::Cursor;
use portcullis_domain::time::UnixTime;

use crate::db::connection::AnyConnection;
use crate::db::schema::sessions;
use crate::db::types::{DbId, DbTime, DbTransaction};

/// Gives each connection epochs of its own: behind another one there may be a database that was put back to an earlier state.
pub(super) fn of_connection(number: u32, cursor: Cursor) -> Cursor {
    // A timeline has 32 bits.
    Cursor::new(u64::from(number) << 32 | cursor.epoch(), cursor.position())
}

pub(super) type EndedRows = Vec<(DbId, Option<DbTime>)>;

/// The order is that of the index, as below.
pub(super) fn ended_after(
    connection: &mut AnyConnection,
    after: Cursor,
    most: u32,
) -> QueryResult<EndedRows> {
    sessions::table
        .filter(sessions::ended_xid.ge(DbTransaction(after.position())))
        .order(sessions::ended_xid)
        .limit(most.into())
        .select((sessions::id, sessions::ended_at))
        .load(connection)
}

/// The order is that of the index. Without it PostgreSQL, which takes a third of all sessions for ended since a time it does
/// not know yet, hopes to find as many sooner by reading the table.
pub(super) fn ended_since(
    connection: &mut AnyConnection,
    since: UnixTime,
    most: u32,
) -> QueryResult<EndedRows> {
    sessions::table
        .filter(sessions::ended_at.ge(DbTime(since)))
        .order(sessions::ended_at)
        .limit(most.into())
        .select((sessions::id, sessions::ended_at))
        .load(connection)
}
