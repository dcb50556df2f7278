use std::time::Instant;

use diesel::backend::Backend;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::serialize::ToSql;
use diesel::sql_types::{BigInt, Binary, HasSqlType};
use portcullis_domain::audit::EventsOf;
use portcullis_domain::id::UserId;
use portcullis_domain::ports::StoreError;
use portcullis_domain::session::{ConsumedProof, Proof};
use portcullis_domain::throttle::{
    AccountKey, AttemptCounter, AttemptDecision, AttemptStore, FORGOTTEN_AFTER, LoginAttempt, PurgedCounter,
    SCHEDULE,
};
use portcullis_domain::time::UnixTime;

use super::audit_log::{insert_event, insert_events};
use crate::db::Database;
use crate::db::connection::AnyConnection;
use crate::db::error::store_error;
use crate::db::schema::attempt_counters;
use crate::db::schema::sql_types::{Id, Moment};
use crate::db::types::{DbId, DbTime};

impl AttemptStore for Database {
    fn find_counter(&self, counter: AccountKey) -> Result<Option<AttemptCounter>, StoreError> {
        self.read(|connection| find(connection, counter))
    }

    /// Most attempts are one statement and one round trip. A transaction handles those that the statement leaves out: the
    /// attempt that records its event, and attempts that have to wait.
    fn begin_attempt(&self, attempt: &LoginAttempt) -> Result<AttemptDecision, StoreError> {
        let begun = Instant::now();
        // The statement inserts the first attempt of a row unconditionally.
        if attempt.event.ordinal > 1 {
            let attempt = attempt.clone();
            let left_out = Some(attempt.event.ordinal);
            let counted = self.statement(move |connection| begin(connection, &attempt, left_out))?;
            if let Some(attempts) = counted {
                return Ok(AttemptDecision::Granted { attempts });
            }
        }
        self.transaction_since(begun, |connection| match begin(connection, attempt, None)? {
            Some(attempts) => {
                if let Some(event) = attempt.event.of(attempts) {
                    insert_event(connection, event)?;
                }
                Ok(AttemptDecision::Granted { attempts })
            }
            None => {
                let counter = find(connection, attempt.counter)?;
                // If the counter was reset meanwhile, the next attempt may come at once.
                let until = counter.map_or(attempt.now, |counter| counter.next_at.max(attempt.now));
                Ok(AttemptDecision::Refused { until })
            }
        })
    }

    fn purge_counters(
        &self,
        now: UnixTime,
        most: u32,
        events: &dyn EventsOf<PurgedCounter>,
    ) -> Result<usize, StoreError> {
        self.transaction(|connection| {
            let mut over = lock_forgotten(connection, now, most.into()).map_err(store_error)?;
            let room = i64::from(most).saturating_sub_unsigned(over.len() as u64);
            over.extend(lock_unknown(connection, now, room).map_err(store_error)?);
            let account_keys = over.iter().map(|row| row.pseudonym.as_slice());
            diesel::delete(attempt_counters::table.filter(attempt_counters::pseudonym.eq_any(account_keys)))
                .execute(connection)
                .map_err(store_error)?;
            for purged in over.iter().filter_map(OverRow::to_purged) {
                insert_events(connection, &events.of(&purged))?;
            }
            Ok(over.len())
        })
    }
}

/// Consumes the proof of a client of `user`, in the transaction of the change that it allows.
pub(super) fn consume(
    connection: &mut AnyConnection,
    proof: &Proof,
    user: UserId,
    at: UnixTime,
) -> Result<ConsumedProof, StoreError> {
    let Proof::Password(attempt) = proof else {
        return Err(StoreError::unknown_proof());
    };
    let counter = attempt_counters::table.find(attempt.counter.as_bytes().as_slice());
    let attempts: Option<i64> = diesel::delete(counter)
        .returning(attempt_counters::attempts)
        .get_result(connection)
        .optional()
        .map_err(store_error)?;
    if let Some(known) = &attempt.known {
        let counter = AttemptCounter::of_known_network(known, at);
        know(connection, known.counter, user, counter).map_err(store_error)?;
    }
    Ok(ConsumedProof::Password { attempts: attempts.map_or(0, number) })
}

fn find(connection: &mut AnyConnection, counter: AccountKey) -> Result<Option<AttemptCounter>, StoreError> {
    let row: Option<(i64, DbTime, Option<DbTime>)> = attempt_counters::table
        .find(counter.as_bytes().as_slice())
        .select((attempt_counters::attempts, attempt_counters::next_at, attempt_counters::known_until))
        .first(connection)
        .optional()
        .map_err(store_error)?;
    Ok(row.map(|(attempts, DbTime(next_at), known_until)| AttemptCounter {
        attempts: number(attempts),
        next_at,
        known_until: known_until.map(|DbTime(until)| until),
    }))
}

/// A number of attempts as the domain counts them. The table holds no negative ones.
fn number(stored: i64) -> u32 {
    u32::try_from(stored).unwrap_or(u32::MAX)
}

/// A counter that is over.
#[derive(Queryable)]
struct OverRow {
    pseudonym: Vec<u8>,
    user_id: Option<DbId>,
    attempts: i64,
}

impl OverRow {
    /// Returns `None` for a key that no version of this service stored.
    fn to_purged(&self) -> Option<PurgedCounter> {
        Some(PurgedCounter {
            counter: AccountKey::from_bytes(self.pseudonym.as_slice().try_into().ok()?),
            user: self.user_id.map(|DbId(user)| UserId::from_uuid(user)),
            attempts: number(self.attempts),
        })
    }
}

/// Locks counters of unknown networks that are over: in SQL the half of what [`AttemptCounter::is_over`] decides that
/// concerns them. Skips locked rows, so that it does not wait.
fn lock_forgotten(connection: &mut AnyConnection, now: UnixTime, most: i64) -> QueryResult<Vec<OverRow>> {
    use attempt_counters::{attempts, known_until, next_at, pseudonym, user_id};
    let over = attempt_counters::table
        .filter(known_until.is_null())
        .filter(next_at.le(DbTime(now - FORGOTTEN_AFTER)))
        .order(next_at)
        .limit(most)
        .select((pseudonym, user_id, attempts));
    match connection {
        AnyConnection::Postgres(connection) => over.for_update().skip_locked().load(connection),
        AnyConnection::Sqlite(connection) => over.load(connection),
    }
}

/// Locks counters of networks that are no longer known: the other half of [`AttemptCounter::is_over`].
fn lock_unknown(connection: &mut AnyConnection, now: UnixTime, most: i64) -> QueryResult<Vec<OverRow>> {
    use attempt_counters::{attempts, known_until, pseudonym, user_id};
    let over = attempt_counters::table
        .filter(known_until.le(DbTime(now)))
        .order(known_until)
        .limit(most)
        .select((pseudonym, user_id, attempts));
    match connection {
        AnyConnection::Postgres(connection) => over.for_update().skip_locked().load(connection),
        AnyConnection::Sqlite(connection) => over.load(connection),
    }
}

/// Counts an attempt under the row's lock and returns its ordinal: in SQL what [`AttemptCounter::after_an_attempt`]
/// decides. Returns `None` if the attempt has to wait, or may have the ordinal that is left out.
fn begin(
    connection: &mut AnyConnection,
    attempt: &LoginAttempt,
    left_out: Option<u32>,
) -> Result<Option<u32>, StoreError> {
    let reserve = Reserve {
        left_out: left_out.map(i64::from),
        counter: attempt.counter,
        user: attempt.user.map(|user| DbId(user.as_uuid())),
        now: DbTime(attempt.now),
        forgotten: DbTime(attempt.now - FORGOTTEN_AFTER),
        first: DbTime(attempt.now + SCHEDULE.wait_after(1)),
        later: SCHEDULE.steps().map(|(attempts, wait)| (attempts, DbTime(attempt.now + wait))).collect(),
    };
    let attempts: QueryResult<i64> = match connection {
        AnyConnection::Postgres(connection) => reserve.get_result(connection),
        AnyConnection::Sqlite(connection) => reserve.get_result(connection),
    };
    Ok(attempts.optional().map_err(store_error)?.map(number))
}

/// One statement. Diesel has no `ON CONFLICT` for both databases at once, and would prepare it anew every time.
struct Reserve {
    /// The ordinal of the attempt that is left out.
    left_out: Option<i64>,
    counter: AccountKey,
    user: Option<DbId>,
    now: DbTime,
    /// What was allowed then is forgotten now.
    forgotten: DbTime,
    /// When the attempt after the first one is allowed.
    first: DbTime,
    /// From how many attempts on the next one is allowed when.
    later: Vec<(u32, DbTime)>,
}

impl<DB> QueryFragment<DB> for Reserve
where
    DB: Backend + HasSqlType<Id> + HasSqlType<Moment>,
    [u8]: ToSql<Binary, DB>,
    DbId: ToSql<Id, DB>,
    DbTime: ToSql<Moment, DB>,
    i64: ToSql<BigInt, DB>,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        out.push_sql(
            "INSERT INTO attempt_counters AS stored (pseudonym, user_id, attempts, next_at) VALUES (",
        );
        out.push_bind_param::<Binary, [u8]>(self.counter.as_bytes())?;
        out.push_sql(", ");
        out.push_bind_param::<diesel::sql_types::Nullable<Id>, _>(&self.user)?;
        out.push_sql(", 1, ");
        out.push_bind_param::<Moment, _>(&self.first)?;
        out.push_sql(") ON CONFLICT (pseudonym) DO UPDATE SET user_id = excluded.user_id, attempts = CASE");
        out.push_sql(" WHEN stored.next_at <= ");
        out.push_bind_param::<Moment, _>(&self.forgotten)?;
        out.push_sql(" THEN excluded.attempts ELSE stored.attempts + 1 END, next_at = CASE");
        out.push_sql(" WHEN stored.next_at <= ");
        out.push_bind_param::<Moment, _>(&self.forgotten)?;
        out.push_sql(" THEN excluded.next_at");
        for (attempts, next_at) in self.later.iter().rev() {
            out.push_sql(&format!(" WHEN stored.attempts + 1 >= {attempts} THEN "));
            out.push_bind_param::<Moment, _>(next_at)?;
        }
        out.push_sql(" ELSE excluded.next_at END");
        out.push_sql(&format!(" WHERE (stored.attempts < {} OR stored.next_at <= ", SCHEDULE.free));
        out.push_bind_param::<Moment, _>(&self.now)?;
        out.push_sql(")");
        if let Some(ordinal) = &self.left_out {
            // Leaves out a few attempts that begin a new row too, which the transaction counts as well.
            out.push_sql(" AND stored.attempts + 1 <> ");
            out.push_bind_param::<BigInt, _>(ordinal)?;
        }
        out.push_sql(" RETURNING attempts");
        Ok(())
    }
}

impl Query for Reserve {
    type SqlType = BigInt;
}

/// The prepared statement is found by its SQL.
impl QueryId for Reserve {
    type QueryId = ();

    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<Connection> RunQueryDsl<Connection> for Reserve {}

/// Stores the counter of a known network in the place of what was counted there.
fn know(
    connection: &mut AnyConnection,
    key: AccountKey,
    user: UserId,
    counter: AttemptCounter,
) -> QueryResult<()> {
    let know = Know {
        key,
        user: DbId(user.as_uuid()),
        attempts: counter.attempts.into(),
        next_at: DbTime(counter.next_at),
        known_until: counter.known_until.map(DbTime),
    };
    match connection {
        AnyConnection::Postgres(connection) => know.execute(connection)?,
        AnyConnection::Sqlite(connection) => know.execute(connection)?,
    };
    Ok(())
}

/// One statement, as [`Reserve`] is.
struct Know {
    key: AccountKey,
    user: DbId,
    attempts: i64,
    next_at: DbTime,
    known_until: Option<DbTime>,
}

impl<DB> QueryFragment<DB> for Know
where
    DB: Backend + HasSqlType<Id> + HasSqlType<Moment>,
    [u8]: ToSql<Binary, DB>,
    DbId: ToSql<Id, DB>,
    DbTime: ToSql<Moment, DB>,
    i64: ToSql<BigInt, DB>,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        out.push_sql(
            "INSERT INTO attempt_counters (pseudonym, user_id, attempts, next_at, known_until) VALUES (",
        );
        out.push_bind_param::<Binary, [u8]>(self.key.as_bytes())?;
        out.push_sql(", ");
        out.push_bind_param::<Id, _>(&self.user)?;
        out.push_sql(", ");
        out.push_bind_param::<BigInt, _>(&self.attempts)?;
        out.push_sql(", ");
        out.push_bind_param::<Moment, _>(&self.next_at)?;
        out.push_sql(", ");
        out.push_bind_param::<diesel::sql_types::Nullable<Moment>, _>(&self.known_until)?;
        out.push_sql(") ON CONFLICT (pseudonym) DO UPDATE SET user_id = excluded.user_id,");
        out.push_sql(" attempts = excluded.attempts, next_at = excluded.next_at,");
        out.push_sql(" known_until = excluded.known_until");
        Ok(())
    }
}

impl QueryId for Know {
    type QueryId = ();

    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<Connection> RunQueryDsl<Connection> for Know {}
