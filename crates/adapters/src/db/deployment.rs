//! What all instances over one database share: a table of one row.

use diesel::dsl::sql;
use diesel::prelude::*;
use portcullis_domain::retention::Sweep;
use portcullis_domain::time::{StoreTime, UnixTime};

use super::connection::AnyConnection;
use super::schema::deployment;
use super::schema::sql_types::Moment;
use super::types::{DbId, DbTime};
use crate::keys::KeyCheck;

/// What an instance wants to know of it a few times a second.
pub(super) struct Shared {
    /// Sessions opened before this are ended.
    pub(super) floor: UnixTime,
    /// The check value of the secret in use, as it is stored.
    pub(super) key_check: Option<Vec<u8>>,
    pub(super) time: StoreTime,
}

/// Reads it, and the database's clock: the moment itself, not that at which a transaction began. PostgreSQL's function
/// is not named by its schema, so that a test can put another clock before it.
pub(super) fn look(connection: &mut AnyConnection) -> QueryResult<Shared> {
    let now = sql::<Moment>(match connection {
        AnyConnection::Postgres(_) => "clock_timestamp()",
        AnyConnection::Sqlite(_) => "CAST(unixepoch('subsec') * 1000000 AS INTEGER)",
    });
    let (DbTime(floor), key_check, DbTime(newest), DbTime(now)) = deployment::table
        .select((deployment::session_floor, deployment::key_check, deployment::newest_mark, now))
        .first(connection)?;
    Ok(Shared { floor, key_check, time: StoreTime { now, newest } })
}

/// Holds this instance's secrets against the one the database is used with, by their one-way check values: the
/// current secret's and each accepted one's. Says whether one of them is it. The first instance of a database sets
/// the value, and whoever accepts the stored one moves it to its own current one. The caller holds the lock under
/// which instances prepare, so they decide in turn.
///
/// While a secret is replaced, in two steps, a straggler of step one (old secret, accepts the new) that starts after
/// an instance of step two (new secret, accepts the old) moves the value back. That is harmless as long as everybody
/// who starts accepts both. Before the old secret is accepted no more, every instance must have started with step
/// two: the last of these starts leaves the new value.
pub(super) fn key_fits(
    connection: &mut AnyConnection,
    current: KeyCheck,
    accepted: &[KeyCheck],
) -> QueryResult<bool> {
    let stored: Option<Vec<u8>> = deployment::table.select(deployment::key_check).first(&mut *connection)?;
    let is_stored = |check: &KeyCheck| stored.as_deref() == Some(check.as_bytes());
    if is_stored(&current) {
        return Ok(true);
    }
    if stored.is_some() && !accepted.iter().any(is_stored) {
        return Ok(false);
    }
    set_key_check(connection, current)?;
    Ok(true)
}

pub(super) fn set_key_check(connection: &mut AnyConnection, current: KeyCheck) -> QueryResult<()> {
    diesel::update(deployment::table)
        .set(deployment::key_check.eq(current.as_bytes().as_slice()))
        .execute(connection)?;
    Ok(())
}

/// Raises the floor to the next whole second after `at`, unless it is as high, and leaves it as a mark: a clock that
/// stands before it would open sessions that are ended already.
pub(super) fn raise_floor(connection: &mut AnyConnection, at: UnixTime) -> QueryResult<()> {
    let floor = at.next_second();
    diesel::update(deployment::table.filter(deployment::session_floor.lt(DbTime(floor))))
        .set(deployment::session_floor.eq(DbTime(floor)))
        .execute(connection)?;
    leave_mark(connection, floor)
}

/// Takes or keeps the turn to sweep and leaves its time as a mark, unless another instance has the turn.
pub(super) fn take_turn(connection: &mut AnyConnection, sweep: &Sweep) -> QueryResult<bool> {
    let instance = DbId(sweep.instance);
    let is_free = deployment::sweeper_until.le(DbTime(sweep.now));
    let is_ours = deployment::sweeper.eq(instance).or(is_free.nullable());
    let taken = diesel::update(deployment::table.filter(is_ours))
        .set((deployment::sweeper.eq(instance), deployment::sweeper_until.eq(DbTime(sweep.now + sweep.turn))))
        .execute(connection)?;
    if taken == 1 {
        leave_mark(connection, sweep.now)?;
    }
    Ok(taken == 1)
}

fn leave_mark(connection: &mut AnyConnection, at: UnixTime) -> QueryResult<()> {
    diesel::update(deployment::table.filter(deployment::newest_mark.lt(DbTime(at))))
        .set(deployment::newest_mark.eq(DbTime(at)))
        .execute(connection)?;
    Ok(())
}
