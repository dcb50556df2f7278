mod changes;
mod rotation;

use std::time::Instant;

use diesel::prelude::*;
use diesel::sql_types::Bool;
use portcullis_domain::audit::{EventsOf, SecurityEvent};
use portcullis_domain::client::ClientInfo;
use portcullis_domain::id::{SessionId, UserId};
use portcullis_domain::maintenance::{PurgeOutcome, PurgeRequest};
use portcullis_domain::ports::StoreError;
use portcullis_domain::session::{
    CurrentGeneration, Cursor, EndOutcome, Generation, NewSession, OpenSessionError, RotateOutcome,
    RotateRequest, Session, SessionChanges, SessionOpened, SessionStore,
};
use portcullis_domain::time::UnixTime;
use uuid::Uuid;

use self::changes::{ended_after, ended_since, of_connection};
use self::rotation::{end_reused, succeed};
use super::attempt::consume;
use super::audit_log::{insert_event, insert_events};
use super::user::is_enabled_at;
use crate::db::connection::AnyConnection;
use crate::db::error::{CorruptRow, store_error};
use crate::db::schema::sql_types::Moment;
use crate::db::schema::{deployment, sessions, users};
use crate::db::types::{DbId, DbTime};
use crate::db::{Database, deployment as shared};

impl SessionStore for Database {
    fn open_session(
        &self,
        session: &NewSession,
        events: &dyn EventsOf<SessionOpened>,
    ) -> Result<SessionOpened, OpenSessionError> {
        self.transaction(|connection| {
            if !lock_unchanged_user(connection, session).map_err(store_error)? {
                return Err(OpenSessionError::UserChanged);
            }
            let ended = evict(connection, session)?;
            insert_session(connection, session)?;
            let consumed = consume(connection, &session.proof, session.user, session.opened_at)?;
            let opened = SessionOpened { grant: session.grant(), ended, consumed };
            insert_events(connection, &events.of(&opened))?;
            Ok(opened)
        })
    }

    /// The good cases are one statement and one round trip. What it does not match is looked at again by
    /// `end_reused`, one statement under the same lock too; a rotation in between only makes an old token older.
    fn rotate(
        &self,
        request: &RotateRequest,
        on_reuse: &dyn EventsOf<UserId>,
    ) -> Result<RotateOutcome, StoreError> {
        let begun = Instant::now();
        let of_statement = *request;
        match self.statement(move |connection| succeed(connection, &of_statement))? {
            Some(row) => row.into_outcome(request.session),
            None => self.transaction_since(begun, |connection| match end_reused(connection, request)? {
                Some(user) => {
                    insert_events(connection, &on_reuse.of(&user))?;
                    Ok(RotateOutcome::Reused)
                }
                None => match find_live(connection, request.session, request.now)? {
                    Some(_live) => Ok(RotateOutcome::Ahead),
                    None => Ok(RotateOutcome::Gone),
                },
            }),
        }
    }

    fn end_session(
        &self,
        session: SessionId,
        owner: Option<UserId>,
        at: UnixTime,
        events: &dyn EventsOf<UserId>,
    ) -> Result<EndOutcome, StoreError> {
        self.transaction(|connection| {
            let is_theirs = || {
                let owner = owner.map(|owner| DbId(owner.as_uuid()));
                owner.is_none().into_sql::<Bool>().or(sessions::user_id.nullable().eq(owner))
            };
            let theirs = || sessions::table.find(DbId(session.as_uuid())).filter(is_theirs());
            let ended: Option<DbId> = diesel::update(theirs().filter(can_end()))
                .set(sessions::ended_at.eq(DbTime(at)))
                .returning(sessions::user_id)
                .get_result(connection)
                .optional()
                .map_err(store_error)?;
            if let Some(DbId(user)) = ended {
                insert_events(connection, &events.of(&UserId::from_uuid(user)))?;
                return Ok(EndOutcome::Ended);
            }
            let over: Option<DbId> =
                theirs().select(sessions::id).first(connection).optional().map_err(store_error)?;
            Ok(over.map_or(EndOutcome::Unknown, |_id| EndOutcome::AlreadyEnded))
        })
    }

    fn end_sessions(
        &self,
        user: UserId,
        except: Option<SessionId>,
        event: &SecurityEvent,
    ) -> Result<Vec<SessionId>, StoreError> {
        self.transaction(|connection| {
            lock_user(connection, user).map_err(store_error)?;
            let ended = end_sessions_of(connection, user, except, event.at)?;
            insert_event(connection, event)?;
            Ok(ended)
        })
    }

    fn end_again(
        &self,
        sessions: &[SessionId],
        at: UnixTime,
        valid_from: UnixTime,
    ) -> Result<Vec<SessionId>, StoreError> {
        self.transaction(|connection| {
            if valid_from > UnixTime::EPOCH {
                shared::raise_valid_from(connection, valid_from).map_err(store_error)?;
            }
            let ids = sessions.iter().map(|session| DbId(session.as_uuid()));
            let ended: Vec<DbId> =
                diesel::update(sessions::table.filter(sessions::id.eq_any(ids)).filter(can_end()))
                    .set(sessions::ended_at.eq(DbTime(at)))
                    .returning(sessions::id)
                    .get_results(connection)
                    .map_err(store_error)?;
            Ok(session_ids(ended))
        })
    }

    fn invalidate_sessions(&self, event: &SecurityEvent) -> Result<UnixTime, StoreError> {
        self.transaction(|connection| {
            let valid_from = shared::invalidate_all(connection, event.at).map_err(store_error)?;
            insert_event(connection, event)?;
            Ok(valid_from)
        })
    }

    fn find_session(&self, session: SessionId, now: UnixTime) -> Result<Option<Session>, StoreError> {
        self.read(|connection| find_live(connection, session, now)?.map(Session::try_from).transpose())
    }

    fn list_sessions(&self, user: UserId, now: UnixTime) -> Result<Vec<Session>, StoreError> {
        self.read(|connection| {
            let live: Vec<SessionRow> = sessions::table
                .filter(sessions::user_id.eq(DbId(user.as_uuid())))
                .filter(is_live(now))
                .order((sessions::opened_at.desc(), sessions::id.desc()))
                .select(SessionRow::as_select())
                .load(connection)
                .map_err(store_error)?;
            live.into_iter().map(Session::try_from).collect()
        })
    }

    /// Two statements: the first reads where changes stand, which becomes the next cursor, and the second, which sees all
    /// that the first saw finished and possibly more, reads the ends. An end that the second does not see has a number from
    /// the next cursor on, so the next call asks for it. No time decides what is read, so neither commits that hang nor
    /// clocks that are set matter.
    fn session_changes(
        &self,
        after: Option<Cursor>,
        since: UnixTime,
        most: u32,
    ) -> Result<SessionChanges, StoreError> {
        self.watch(|connection, seen, number| {
            let next = seen.cursor.map(|next| of_connection(number, next));
            let after = after.filter(|after| after.can_continue_to(next));
            let ended = match after {
                Some(after) => ended_after(connection, after, most),
                None => ended_since(connection, since, most),
            }
            .map_err(store_error)?;
            let ended =
                ended.into_iter().filter_map(|(DbId(id), at)| Some((SessionId::from_uuid(id), at?.0)));
            Ok(SessionChanges {
                ended: ended.collect(),
                continues: after.is_some(),
                next,
                valid_from: seen.valid_from,
                time: Some(seen.time),
            })
        })
    }

    fn purge_sessions(&self, request: &PurgeRequest) -> Result<PurgeOutcome, StoreError> {
        self.transaction(|connection| {
            let is_our_turn = shared::take_turn(connection, request).map_err(store_error)?;
            shared::raise_high_water_mark(connection, request.now).map_err(store_error)?;
            if !is_our_turn {
                return Ok(PurgeOutcome::NotThisInstance);
            }
            // In SQL what `StoredSession::is_over` decides.
            let valid_from = shared::valid_from(connection).map_err(store_error)?;
            let valid_from = if valid_from < request.over_before { valid_from } else { UnixTime::EPOCH };
            // No session has the nil id.
            let after = DbId(request.after.map_or(Uuid::nil(), SessionId::as_uuid));
            let step: Vec<DbId> = sessions::table
                .filter(sessions::id.gt(after))
                .order(sessions::id)
                .limit(request.batch.into())
                .select(sessions::id)
                .load(connection)
                .map_err(store_error)?;
            let Some(&last) = step.last() else {
                return Ok(PurgeOutcome::Step { deleted: 0, next: None });
            };
            let over = sessions::table.filter(sessions::id.gt(after)).filter(sessions::id.le(last)).filter(
                coalesce(sessions::ended_at, sessions::expires_at)
                    .lt(DbTime(request.over_before))
                    .or(sessions::opened_at.lt(DbTime(valid_from))),
            );
            let deleted = diesel::delete(over).execute(connection).map_err(store_error)?;
            let is_full = step.len() == request.batch as usize;
            Ok(PurgeOutcome::Step { deleted, next: is_full.then_some(SessionId::from_uuid(last.0)) })
        })
    }
}

/// Locks the session's user against change, and returns what `User::is_enabled_at` decides. On SQLite the transaction
/// holds the only lock there is.
fn lock_unchanged_user(connection: &mut AnyConnection, session: &NewSession) -> QueryResult<bool> {
    let unchanged = users::table
        .find(DbId(session.user.as_uuid()))
        .filter(is_enabled_at(session.credential_version))
        .select(users::credential_version);
    let found: Option<i64> = match connection {
        AnyConnection::Postgres(connection) => unchanged.for_update().first(connection).optional()?,
        AnyConnection::Sqlite(connection) => unchanged.first(connection).optional()?,
    };
    Ok(found.is_some())
}

/// Locks a user, if there is one, so that logins and other ends of the user's sessions go before or after.
fn lock_user(connection: &mut AnyConnection, user: UserId) -> QueryResult<()> {
    if let AnyConnection::Postgres(connection) = connection {
        let user = users::table.find(DbId(user.as_uuid())).select(users::id).for_update();
        let _none_where_the_user_is_deleted: Option<DbId> = user.first(connection).optional()?;
    }
    Ok(())
}

/// Ends the sessions that make room for the new one: in SQL what `StoredSession::evicted` decides. The caller has locked
/// the user, so that no other login counts meanwhile.
fn evict(connection: &mut AnyConnection, session: &NewSession) -> Result<Vec<SessionId>, StoreError> {
    let now = session.opened_at;
    let live = diesel::alias!(sessions as live);
    let valid_from = deployment::table.select(deployment::session_floor).single_value();
    let user = DbId(session.user.as_uuid());
    let others = session.max_per_user.get() - 1;
    let beyond_the_newest = live
        .filter(live.field(sessions::user_id).eq(user))
        .filter(live.field(sessions::ended_at).is_null())
        .filter(live.field(sessions::expires_at).gt(DbTime(now)))
        .filter(live.field(sessions::opened_at).nullable().ge(valid_from))
        .order((live.field(sessions::opened_at).desc(), live.field(sessions::id).desc()))
        .limit(i64::MAX)
        .offset(others.into())
        .select(live.field(sessions::id));
    // Checked again under the rows' locks: a session that ends meanwhile is not ended twice.
    let too_many = sessions::table.filter(is_live(now)).filter(sessions::id.eq_any(beyond_the_newest));
    let evicted: Vec<DbId> = diesel::update(too_many)
        .set(sessions::ended_at.eq(DbTime(now)))
        .returning(sessions::id)
        .get_results(connection)
        .map_err(store_error)?;
    Ok(session_ids(evicted))
}

/// Inserts a session, unless it is not [valid](NewSession::check_valid).
pub(super) fn insert_session(connection: &mut AnyConnection, session: &NewSession) -> Result<(), StoreError> {
    session.check_valid(shared::valid_from(connection).map_err(store_error)?)?;
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
    Ok(())
}

/// Ends the sessions of a user that can end, except one. The caller has locked the user, so that no login is in flight.
pub(super) fn end_sessions_of(
    connection: &mut AnyConnection,
    user: UserId,
    except: Option<SessionId>,
    at: UnixTime,
) -> Result<Vec<SessionId>, StoreError> {
    let except = except.map(|session| DbId(session.as_uuid()));
    let is_other = except.is_none().into_sql::<Bool>().or(sessions::id.nullable().ne(except));
    let others =
        sessions::table.filter(sessions::user_id.eq(DbId(user.as_uuid()))).filter(can_end()).filter(is_other);
    let ended: Vec<DbId> = diesel::update(others)
        .set(sessions::ended_at.eq(DbTime(at)))
        .returning(sessions::id)
        .get_results(connection)
        .map_err(store_error)?;
    Ok(session_ids(ended))
}

fn session_ids(ids: Vec<DbId>) -> Vec<SessionId> {
    ids.into_iter().map(|DbId(id)| SessionId::from_uuid(id)).collect()
}

fn find_live(
    connection: &mut AnyConnection,
    session: SessionId,
    now: UnixTime,
) -> Result<Option<SessionRow>, StoreError> {
    let live = sessions::table.find(DbId(session.as_uuid())).filter(is_live(now));
    live.select(SessionRow::as_select()).first(connection).optional().map_err(store_error)
}

/// In SQL what `StoredSession::is_live` decides.
#[diesel::dsl::auto_type(no_type_alias)]
fn is_live(now: UnixTime) -> _ {
    let valid_from = deployment::table.select(deployment::session_floor).single_value();
    let now: DbTime = DbTime(now);
    sessions::ended_at
        .is_null()
        .and(sessions::expires_at.gt(now))
        .and(sessions::opened_at.nullable().ge(valid_from))
}

/// In SQL what `StoredSession::can_end` decides.
#[diesel::dsl::auto_type(no_type_alias)]
fn can_end() -> _ {
    let valid_from = deployment::table.select(deployment::session_floor).single_value();
    sessions::ended_at.is_null().and(sessions::opened_at.nullable().ge(valid_from))
}

#[diesel::declare_sql_function]
extern "SQL" {
    /// The first that is there.
    fn coalesce(first: diesel::sql_types::Nullable<Moment>, second: Moment) -> Moment;
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = sessions)]
struct SessionRow {
    id: DbId,
    user_id: DbId,
    generation: i64,
    opened_at: DbTime,
    rotated_at: DbTime,
    expires_at: DbTime,
    address: Option<String>,
    agent: Option<String>,
}

impl TryFrom<SessionRow> for Session {
    type Error = StoreError;

    fn try_from(row: SessionRow) -> Result<Self, StoreError> {
        let DbId(id) = row.id;
        let address = row.address.map(|address| address.parse()).transpose();
        let address = address.map_err(|_unparsed| CorruptRow { table: "sessions", column: "address", id })?;
        Ok(Self {
            id: SessionId::from_uuid(id),
            user: UserId::from_uuid(row.user_id.0),
            opened_at: row.opened_at.0,
            newest: CurrentGeneration { generation: generation(row.generation, id)?, at: row.rotated_at.0 },
            expires_at: row.expires_at.0,
            client: ClientInfo::new(address, row.agent.as_deref()),
        })
    }
}

fn generation(stored: i64, id: Uuid) -> Result<Generation, CorruptRow> {
    let generation = u32::try_from(stored);
    let generation =
        generation.map_err(|_too_large| CorruptRow { table: "sessions", column: "generation", id })?;
    Ok(Generation::new(generation))
}
