//! Recognises a database that was restored from a backup or copied, so that nothing that had ended is valid again.

use std::time::Duration;

use diesel::dsl::sql;
use diesel::expression::SqlLiteral;
use diesel::prelude::*;
use diesel::sql_types::BigInt;
use portcullis_domain::audit::{EventKind, SecurityEvent};
use portcullis_domain::maintenance::MAX_SKEW;
use portcullis_domain::ports::StoreError;
use portcullis_domain::time::{StoreTime, UnixTime};

use super::place::Place;
use super::{invalidate_all, read_shared};
use crate::db::connection::AnyConnection;
use crate::db::error::store_error;
use crate::db::schema::{deployment, security_events, sessions};
use crate::db::stores::audit_log::insert_event;
use crate::db::types::DbTime;
use crate::db::{DatabaseUrl, PrepareError};

/// Makes the security event of a change to the deployment, from its kind and its time.
pub(in crate::db) type EventAt<'a> = &'a dyn Fn(EventKind, UnixTime) -> SecurityEvent;

/// Where a database is, and where it was when an instance prepared it last.
pub(in crate::db) struct Home {
    /// The stored value: empty if no instance stored one yet, `None` in a backup.
    stored: Option<Vec<u8>>,
    present: Place,
    moved_at: Option<UnixTime>,
}

impl Home {
    /// Reads the stored home and compares nothing yet. Changes nothing.
    pub(in crate::db) fn read(
        url: &DatabaseUrl,
        connection: &mut AnyConnection,
    ) -> Result<Self, PrepareError> {
        let row = deployment::table.select((deployment::home, deployment::moved_at)).first(connection);
        let (stored, moved_at): (_, Option<DbTime>) =
            row.map_err(|error| PrepareError::of(url, error.into()))?;
        let present = Place::of(url, connection)?;
        Ok(Self { stored, present, moved_at: moved_at.map(|DbTime(at)| at) })
    }

    /// Fails if no instance may serve the database: its contents were copied elsewhere, or a copy into it was interrupted.
    pub(in crate::db) fn check_served(&self) -> Result<(), PrepareError> {
        if self.is_unfinished() {
            return Err(PrepareError::UnfinishedCopy);
        }
        self.moved_at.map_or(Ok(()), |at| Err(PrepareError::Moved(at)))
    }

    /// Whether the database is where an instance prepared it last, so that preparing changes nothing.
    pub(in crate::db) fn is_present(&self) -> bool {
        self.stored.as_deref() == Some(self.present.as_bytes())
    }

    /// Whether the database is a restored backup or a copy. One that never had a home is neither.
    pub(in crate::db) fn is_elsewhere(&self) -> bool {
        !self.is_present() && self.stored.as_deref() != Some(&[])
    }

    /// Whether a copy into the database began and did not finish.
    pub(in crate::db) fn is_unfinished(&self) -> bool {
        self.stored.as_deref() == Some(UNFINISHED)
    }

    /// When the contents of the database were copied elsewhere, if they were.
    pub(in crate::db) fn moved_at(&self) -> Option<UnixTime> {
        self.moved_at
    }

    /// Makes the present place the home. Ends every session if the database is a restored backup or a copy.
    pub(in crate::db) fn settle(
        &self,
        connection: &mut AnyConnection,
        event: EventAt<'_>,
    ) -> Result<(), StoreError> {
        if self.is_elsewhere() {
            let time = read_shared(connection).map_err(store_error)?.time;
            let at = newest_time(connection, time).map_err(store_error)?;
            invalidate_all(connection, at).map_err(store_error)?;
            reset_transactions(connection).map_err(store_error)?;
            insert_event(connection, &event(EventKind::DatabaseRestored, at))?;
        }
        self.store(connection).map_err(store_error)
    }

    /// Makes the present place the home and keeps the sessions, since an operator knows that no other copy is in use.
    pub(in crate::db) fn settle_moved(
        &self,
        connection: &mut AnyConnection,
        event: EventAt<'_>,
    ) -> Result<(), StoreError> {
        let time = read_shared(connection).map_err(store_error)?.time;
        reset_transactions(connection).map_err(store_error)?;
        insert_event(connection, &event(EventKind::DatabaseMoved, time.now.max(time.high_water_mark)))?;
        self.store(connection).map_err(store_error)
    }

    fn store(&self, connection: &mut AnyConnection) -> QueryResult<()> {
        diesel::update(deployment::table)
            .set((deployment::home.eq(self.present.as_bytes()), deployment::moved_at.eq(None::<DbTime>)))
            .execute(connection)?;
        Ok(())
    }
}

/// Marks a database as one that a copy is being made into.
pub(in crate::db) fn mark_unfinished(connection: &mut AnyConnection) -> QueryResult<()> {
    diesel::update(deployment::table).set(deployment::home.eq(UNFINISHED)).execute(connection)?;
    Ok(())
}

/// Marks a database as one whose contents were copied elsewhere.
pub(in crate::db) fn mark_moved(connection: &mut AnyConnection, at: UnixTime) -> QueryResult<()> {
    diesel::update(deployment::table).set(deployment::moved_at.eq(DbTime(at))).execute(connection)?;
    Ok(())
}

/// Returns the latest time that a restored database shows: that of its clock and its high-water mark, and what instances
/// wrote after the mark. The clock matters most, because tokens of sessions that the backup does not know may still be
/// valid.
///
/// Times far beyond the mark are ignored. They are left from a clock that was wrong and was put right, and a mark in the
/// future would keep every instance from issuing tokens until then.
fn newest_time(connection: &mut AnyConnection, time: StoreTime) -> QueryResult<UnixTime> {
    let known = time.now.max(time.high_water_mark);
    let latest = DbTime(known + BEYOND_MARK);
    let opened = sessions::table
        .filter(sessions::opened_at.le(latest))
        .order(sessions::opened_at.desc())
        .select(sessions::opened_at)
        .first(connection)
        .optional()?;
    let rotated = sessions::table
        .filter(sessions::rotated_at.le(latest))
        .order(sessions::rotated_at.desc())
        .select(sessions::rotated_at)
        .first(connection)
        .optional()?;
    let ended = sessions::table
        .filter(sessions::ended_at.le(latest))
        .order(sessions::ended_at.desc())
        .select(sessions::ended_at.assume_not_null())
        .first(connection)
        .optional()?;
    let recorded = security_events::table
        .filter(security_events::at.le(latest))
        .order(security_events::at.desc())
        .select(security_events::at)
        .first(connection)
        .optional()?;
    let written = [opened, rotated, ended, recorded].into_iter().flatten();
    Ok(written.map(|DbTime(at)| at).fold(known, UnixTime::max))
}

/// Takes back the numbers of transactions that PostgreSQL assigned in another cluster, which mean nothing in this one.
/// Sessions without one are found by their time. A number of an event only matters if this cluster has not assigned it yet:
/// every walk would begin before it. SQLite keeps its counter in the file.
///
/// A role that may only insert events leaves theirs as they are, so that they are read again until the cluster reaches them.
fn reset_transactions(connection: &mut AnyConnection) -> QueryResult<()> {
    if let AnyConnection::Sqlite(_) = connection {
        return Ok(());
    }
    diesel::sql_query("UPDATE sessions SET ended_xid = NULL WHERE ended_xid IS NOT NULL")
        .execute(connection)?;
    let may_change: SqlLiteral<BigInt> =
        sql("has_column_privilege('security_events', 'recorded_xid', 'UPDATE')::integer::bigint");
    if diesel::select(may_change).get_result::<i64>(connection)? == 1 {
        diesel::sql_query(
            "UPDATE security_events SET recorded_xid = pg_current_xact_id() WHERE recorded_xid > pg_current_xact_id()",
        )
        .execute(connection)?;
    }
    Ok(())
}

/// The home of a database that a copy is being made into; no place has this value.
const UNFINISHED: &[u8] = b"unfinished copy";

/// How far beyond the high-water mark an instance may have written a time: marks are seconds apart, and the clocks of
/// instances that issue tokens differ by [`MAX_SKEW`] at most.
const BEYOND_MARK: Duration = Duration::from_secs(2 * MAX_SKEW.as_secs());

#[cfg(test)]
mod tests {
    use portcullis_testkit::SeededRandom;
    use portcullis_testkit::fixtures::event;
    use portcullis_testkit::postgres::ThrowawayPostgres;
    use uuid::Uuid;

    use super::*;
    use crate::db::migrations;
    use crate::db::types::DbId;

    fn at(seconds: i64) -> UnixTime {
        UnixTime::from_secs(seconds)
    }

    fn insert_session(connection: &mut AnyConnection, id: u128, rotated: i64, ended: i64) {
        let row = (
            sessions::id.eq(DbId(Uuid::from_u128(id))),
            sessions::user_id.eq(DbId(Uuid::from_u128(1))),
            sessions::generation.eq(0_i64),
            sessions::opened_at.eq(DbTime(at(1_000))),
            sessions::rotated_at.eq(DbTime(at(rotated))),
            sessions::expires_at.eq(DbTime(at(9_000))),
            sessions::absolute_expires_at.eq(DbTime(at(9_000))),
            sessions::ended_at.eq(DbTime(at(ended))),
        );
        diesel::insert_into(sessions::table).values(row).execute(connection).unwrap();
    }

    /// What instances wrote after the last mark counts, and what a clock wrote that was far ahead does not.
    fn finds_the_newest_time(url: &DatabaseUrl) {
        let mut connection = AnyConnection::connect(url).unwrap();
        migrations::run(url, &mut connection).unwrap();
        let random = SeededRandom::new(1);
        let mark = StoreTime { now: at(500), high_water_mark: at(1_030) };
        let newest = |connection: &mut AnyConnection, time| newest_time(connection, time).unwrap();
        assert_eq!(newest(&mut connection, mark), at(1_030));
        let record = |connection: &mut AnyConnection, seconds| {
            insert_event(connection, &event(EventKind::UserRegistered, at(seconds), &random)).unwrap();
        };
        record(&mut connection, 1_040);
        assert_eq!(newest(&mut connection, mark), at(1_040));
        record(&mut connection, 5_000);
        assert_eq!(newest(&mut connection, mark), at(1_040));
        insert_session(&mut connection, 1, 1_050, 1_001);
        assert_eq!(newest(&mut connection, mark), at(1_050));
        insert_session(&mut connection, 2, 1_001, 1_060);
        insert_session(&mut connection, 3, 6_000, 6_000);
        assert_eq!(newest(&mut connection, mark), at(1_060));
        assert_eq!(newest(&mut connection, StoreTime { now: at(2_000), ..mark }), at(2_000));
    }

    #[test]
    fn newest_time_of_sqlite_ignores_a_wrong_clock() {
        let folder = tempfile::tempdir().unwrap();
        finds_the_newest_time(&DatabaseUrl::Sqlite(folder.path().join("x.db")));
    }

    #[test]
    fn newest_time_of_postgres_ignores_a_wrong_clock() {
        let url = ThrowawayPostgres::shared().create_database();
        finds_the_newest_time(&DatabaseUrl::parse(&url).unwrap());
    }

    /// A value of another length than a hash, so no database has it as its place.
    #[test]
    fn unfinished_copy_is_no_place() {
        let folder = tempfile::tempdir().unwrap();
        let url = DatabaseUrl::Sqlite(folder.path().join("x.db"));
        let mut connection = AnyConnection::connect(&url).unwrap();
        assert_ne!(Place::of(&url, &mut connection).unwrap().as_bytes().len(), UNFINISHED.len());
    }
}
