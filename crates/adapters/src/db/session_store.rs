use diesel::dsl::case_when;
use diesel::prelude::*;
use portcullis_domain::event::SecurityEvent;
use portcullis_domain::id::{SessionId, UserId};
use portcullis_domain::ports::{OpenSessionError, SessionStore, StoreError};
use portcullis_domain::session::{
    CLOCK_TOLERANCE, EndedSessions, Generation, NewSession, Presentation, Rotation,
};
use portcullis_domain::time::UnixTime;

use super::Database;
use super::connection::AnyConnection;
use super::error::{CorruptRow, store_error};
use super::event_log::insert_event;
use super::schema::sql_types::Moment;
use super::schema::{deployment, sessions, users};
use super::types::{DbId, DbTime};

impl SessionStore for Database {
    fn open(&self, session: &NewSession, event: &SecurityEvent) -> Result<(), OpenSessionError> {
        self.transaction(|connection| {
            if !lock_unchanged_user(connection, session).map_err(store_error)? {
                return Err(OpenSessionError::UserChanged);
            }
            let row = (
                sessions::id.eq(DbId(session.id.as_uuid())),
                sessions::user_id.eq(DbId(session.user.as_uuid())),
                sessions::generation.eq(i64::from(Generation::FIRST.get())),
                sessions::opened_at.eq(DbTime(session.opened_at)),
                sessions::rotated_at.eq(DbTime(session.opened_at)),
                sessions::expires_at.eq(DbTime(session.expires_at)),
                sessions::absolute_expires_at.eq(DbTime(session.absolute_expires_at)),
                sessions::address.eq(session.client.address().map(|address| address.to_string())),
                sessions::agent.eq(session.client.agent()),
            );
            diesel::insert_into(sessions::table).values(row).execute(connection).map_err(store_error)?;
            Ok(insert_event(connection, event)?)
        })
    }

    /// The good cases are one statement and one round trip. What it does not match is looked at again by
    /// `end_reused`, one statement under the same lock too; a rotation in between only makes an old token older.
    fn rotate(&self, presented: &Presentation, on_reuse: &SecurityEvent) -> Result<Rotation, StoreError> {
        match self.statement(|connection| succeed(connection, presented))? {
            Some(row) => row.into_successor(presented.session),
            None => self.transaction(|connection| match end_reused(connection, presented)? {
                Some(user) => {
                    insert_event(connection, &on_reuse.clone().of_user(user))?;
                    Ok(Rotation::Reused)
                }
                None => match is_live_now(connection, presented.session, presented.now)? {
                    true => Ok(Rotation::Ahead),
                    false => Ok(Rotation::Gone),
                },
            }),
        }
    }

    fn end(&self, session: SessionId, event: &SecurityEvent) -> Result<bool, StoreError> {
        self.transaction(|connection| {
            let live = sessions::table.find(DbId(session.as_uuid())).filter(is_live(event.at));
            let ended: Option<DbId> = diesel::update(live)
                .set(sessions::ended_at.eq(DbTime(event.at)))
                .returning(sessions::user_id)
                .get_result(connection)
                .optional()
                .map_err(store_error)?;
            match ended {
                Some(DbId(user)) => {
                    insert_event(connection, &event.clone().of_user(UserId::from_uuid(user)))?;
                    Ok(true)
                }
                None => Ok(false),
            }
        })
    }

    fn raise_floor(&self, event: &SecurityEvent) -> Result<(), StoreError> {
        self.transaction(|connection| {
            diesel::update(deployment::table.filter(deployment::session_floor.lt(DbTime(event.at))))
                .set(deployment::session_floor.eq(DbTime(event.at)))
                .execute(connection)
                .map_err(store_error)?;
            insert_event(connection, event)
        })
    }

    fn is_live(&self, session: SessionId, now: UnixTime) -> Result<bool, StoreError> {
        self.read(|connection| is_live_now(connection, session, now))
    }

    fn ended_since(&self, since: UnixTime) -> Result<EndedSessions, StoreError> {
        self.read(|connection| {
            let DbTime(floor) =
                deployment::table.select(deployment::session_floor).first(connection).map_err(store_error)?;
            let ended: Vec<(DbId, Option<DbTime>)> = sessions::table
                .filter(sessions::ended_at.ge(DbTime(since)))
                .select((sessions::id, sessions::ended_at))
                .load(connection)
                .map_err(store_error)?;
            let ended =
                ended.into_iter().filter_map(|(DbId(id), at)| Some((SessionId::from_uuid(id), at?.0)));
            Ok(EndedSessions { ended: ended.collect(), floor })
        })
    }
}

/// Locks the session's user against change and says whether it is as the login saw it. On SQLite the transaction
/// holds the only lock there is.
fn lock_unchanged_user(connection: &mut AnyConnection, session: &NewSession) -> QueryResult<bool> {
    let unchanged = users::table
        .find(DbId(session.user.as_uuid()))
        .filter(users::credential_version.eq(session.credential_version.get()))
        .filter(users::disabled_at.is_null())
        .select(users::credential_version);
    let found: Option<i64> = match connection {
        AnyConnection::Postgres(connection) => unchanged.for_update().first(connection).optional()?,
        AnyConnection::Sqlite(connection) => unchanged.first(connection).optional()?,
    };
    Ok(found.is_some())
}

/// Gives the successor where the presented generation is current, or the one before within the grace: in SQL what
/// [`Presented::judge`](portcullis_domain::session::Presented::judge) says, decided under the row's lock. Either way
/// the newest generation is then the one after the presented one.
fn succeed(
    connection: &mut AnyConnection,
    presented: &Presentation,
) -> Result<Option<SuccessorRow>, StoreError> {
    let (current, successor) = generations(presented);
    let is_current = || sessions::generation.eq(current);
    let new_end = presented.now + presented.idle;
    let expires_at =
        case_when(sessions::absolute_expires_at.gt(DbTime(new_end)), DbTime(new_end).into_sql::<Moment>())
            .otherwise(sessions::absolute_expires_at);
    let good = sessions::table
        .find(DbId(presented.session.as_uuid()))
        .filter(is_live(presented.now))
        .filter(is_current().or(sessions::generation.eq(successor).and(in_grace(presented))));
    diesel::update(good)
        .set((
            sessions::generation.eq(successor),
            sessions::rotated_at.eq(case_when(is_current(), DbTime(presented.now).into_sql::<Moment>())
                .otherwise(sessions::rotated_at)),
            sessions::expires_at.eq(case_when(is_current(), expires_at).otherwise(sessions::expires_at)),
        ))
        .returning((sessions::user_id, sessions::generation, sessions::expires_at))
        .get_result(connection)
        .optional()
        .map_err(store_error)
}

/// Ends the session where the presented generation is a copy: older than the newest and not in the grace.
fn end_reused(
    connection: &mut AnyConnection,
    presented: &Presentation,
) -> Result<Option<UserId>, StoreError> {
    let (_, successor) = generations(presented);
    let reused = sessions::table
        .find(DbId(presented.session.as_uuid()))
        .filter(is_live(presented.now))
        .filter(sessions::generation.ge(successor))
        .filter(diesel::dsl::not(sessions::generation.eq(successor).and(in_grace(presented))));
    let user: Option<DbId> = diesel::update(reused)
        .set(sessions::ended_at.eq(DbTime(presented.now)))
        .returning(sessions::user_id)
        .get_result(connection)
        .optional()
        .map_err(store_error)?;
    Ok(user.map(|DbId(user)| UserId::from_uuid(user)))
}

fn is_live_now(
    connection: &mut AnyConnection,
    session: SessionId,
    now: UnixTime,
) -> Result<bool, StoreError> {
    let query = sessions::table.find(DbId(session.as_uuid())).filter(is_live(now)).select(sessions::id);
    Ok(query.first::<DbId>(connection).optional().map_err(store_error)?.is_some())
}

fn generations(presented: &Presentation) -> (i64, i64) {
    let current = i64::from(presented.generation.get());
    (current, current + 1)
}

/// A session that has not ended, has not expired, and was not opened before the floor.
#[diesel::dsl::auto_type(no_type_alias)]
pub(super) fn is_live(now: UnixTime) -> _ {
    let floor = deployment::table.select(deployment::session_floor).single_value();
    let now: DbTime = DbTime(now);
    sessions::ended_at
        .is_null()
        .and(sessions::expires_at.gt(now))
        .and(sessions::opened_at.nullable().ge(floor))
}

#[diesel::dsl::auto_type(no_type_alias)]
fn in_grace(presented: &Presentation) -> _ {
    let earliest: DbTime = DbTime(presented.now - presented.grace);
    let latest: DbTime = DbTime(presented.now + CLOCK_TOLERANCE);
    sessions::rotated_at.between(earliest, latest)
}

#[derive(Queryable)]
struct SuccessorRow {
    user_id: DbId,
    generation: i64,
    expires_at: DbTime,
}

impl SuccessorRow {
    fn into_successor(self, session: SessionId) -> Result<Rotation, StoreError> {
        let generation = u32::try_from(self.generation).map_err(|_too_large| {
            StoreError::from(CorruptRow { table: "sessions", column: "generation", id: session.as_uuid() })
        })?;
        Ok(Rotation::Successor {
            user: UserId::from_uuid(self.user_id.0),
            generation: Generation::new(generation),
            expires_at: self.expires_at.0,
        })
    }
}
