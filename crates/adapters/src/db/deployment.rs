use diesel::prelude::*;

use super::connection::AnyConnection;
use super::schema::deployment;
use crate::keys::KeyCheck;

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
    diesel::update(deployment::table)
        .set(deployment::key_check.eq(current.as_bytes().as_slice()))
        .execute(connection)?;
    Ok(true)
}
