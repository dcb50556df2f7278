use diesel::prelude::*;
use diesel::sql_types::Bool;
use portcullis_domain::account::{
    CanonicalName, ChangeUserError, CredentialVersion, InsertUserError, NewUser, Reauthentication, User,
    UserDeleted, UserStatus, UserStore, Username,
};
use portcullis_domain::audit::{EventsOf, SecurityEvent};
use portcullis_domain::id::{SessionId, UserId};
use portcullis_domain::password::PasswordHash;
use portcullis_domain::ports::StoreError;
use portcullis_domain::session::{NewSession, OpenSessionError, SessionOpened};
use portcullis_domain::time::UnixTime;

use super::attempt::consume;
use super::audit_log::{insert_event, insert_events};
use super::session::{end_sessions_of, insert_session};
use crate::db::Database;
use crate::db::connection::AnyConnection;
use crate::db::error::{CorruptRow, is_unique_violation, store_error};
use crate::db::schema::users;
use crate::db::types::{DbId, DbTime};

impl UserStore for Database {
    fn insert_user(&self, user: &NewUser, event: &SecurityEvent) -> Result<(), InsertUserError> {
        self.transaction(|connection| {
            let row = (
                users::id.eq(DbId(user.id.as_uuid())),
                users::username.eq(user.username.as_str()),
                users::canonical_name.eq(user.username.canonical().as_str()),
                users::password_hash.eq(user.password_hash.expose()),
                users::credential_version.eq(CredentialVersion::FIRST.get()),
                users::created_at.eq(DbTime(user.created_at)),
            );
            match diesel::insert_into(users::table).values(row).execute(connection) {
                Ok(_) => Ok(insert_event(connection, event)?),
                Err(error) if is_unique_violation(&error) => Err(InsertUserError::UsernameTaken),
                Err(error) => Err(store_error(error).into()),
            }
        })
    }

    fn find_user_by_name(&self, name: &CanonicalName) -> Result<Option<User>, StoreError> {
        self.read(|connection| {
            let query =
                users::table.filter(users::canonical_name.eq(name.as_str())).select(UserRow::as_select());
            query.first(connection).optional().map_err(store_error)?.map(User::try_from).transpose()
        })
    }

    fn find_user(&self, id: UserId) -> Result<Option<User>, StoreError> {
        self.read(|connection| {
            let query = users::table.find(DbId(id.as_uuid())).select(UserRow::as_select());
            query.first(connection).optional().map_err(store_error)?.map(User::try_from).transpose()
        })
    }

    fn upgrade_hash(
        &self,
        id: UserId,
        old: &PasswordHash,
        new: &PasswordHash,
        event: &SecurityEvent,
    ) -> Result<bool, StoreError> {
        self.transaction(|connection| {
            let unchanged =
                users::table.find(DbId(id.as_uuid())).filter(users::password_hash.eq(old.expose()));
            let upgraded = diesel::update(unchanged)
                .set(users::password_hash.eq(new.expose()))
                .execute(connection)
                .map_err(store_error)?;
            if upgraded == 1 {
                insert_event(connection, event)?;
            }
            Ok(upgraded == 1)
        })
    }

    fn change_password(
        &self,
        acting: SessionId,
        new: &PasswordHash,
        session: &NewSession,
        events: &dyn EventsOf<SessionOpened>,
    ) -> Result<SessionOpened, OpenSessionError> {
        self.transaction(|connection| {
            let unchanged = users::table
                .find(DbId(session.user.as_uuid()))
                .filter(is_enabled_at(session.credential_version));
            let changed = diesel::update(unchanged).set(new_password(new)).execute(connection);
            if changed.map_err(store_error)? == 0 {
                return Err(OpenSessionError::UserChanged);
            }
            let ended = end_sessions_of(connection, session.user, None, session.opened_at)?;
            if !ended.contains(&acting) {
                return Err(OpenSessionError::UserChanged);
            }
            insert_session(connection, session)?;
            let consumed = consume(connection, &session.proof, session.user, session.opened_at)?;
            let opened = SessionOpened { grant: session.grant(), ended, consumed };
            insert_events(connection, &events.of(&opened))?;
            Ok(opened)
        })
    }

    fn set_password(
        &self,
        id: UserId,
        new: &PasswordHash,
        event: &SecurityEvent,
    ) -> Result<Vec<SessionId>, ChangeUserError> {
        self.transaction(|connection| {
            let user = users::table.find(DbId(id.as_uuid()));
            let changed = diesel::update(user).set(new_password(new)).execute(connection);
            let ended = end_sessions_of_changed(connection, changed, id, event.at)?;
            insert_event(connection, event)?;
            Ok(ended)
        })
    }

    fn disable_user(&self, id: UserId, event: &SecurityEvent) -> Result<Vec<SessionId>, ChangeUserError> {
        self.transaction(|connection| {
            let changed = diesel::update(users::table.find(DbId(id.as_uuid())))
                .set(users::disabled_at.eq(DbTime(event.at)))
                .execute(connection);
            let ended = end_sessions_of_changed(connection, changed, id, event.at)?;
            insert_event(connection, event)?;
            Ok(ended)
        })
    }

    fn enable_user(&self, id: UserId, event: &SecurityEvent) -> Result<(), ChangeUserError> {
        self.transaction(|connection| {
            let changed = diesel::update(users::table.find(DbId(id.as_uuid())))
                .set(users::disabled_at.eq(None::<DbTime>))
                .execute(connection);
            if changed.map_err(store_error)? == 0 {
                return Err(ChangeUserError::NotFound);
            }
            Ok(insert_event(connection, event)?)
        })
    }

    fn delete_user(
        &self,
        id: UserId,
        reauthentication: Option<Reauthentication>,
        at: UnixTime,
        events: &dyn EventsOf<UserDeleted>,
    ) -> Result<UserDeleted, ChangeUserError> {
        self.transaction(|connection| {
            let version = reauthentication.as_ref().map(|by| by.credential_version);
            let is_by_an_administrator = version.is_none().into_sql::<Bool>();
            let may_delete =
                is_by_an_administrator.or(is_enabled_at(version.unwrap_or(CredentialVersion::FIRST)));
            let user = users::table.find(DbId(id.as_uuid())).filter(may_delete);
            let deleted = diesel::delete(user).execute(connection);
            let ended = end_sessions_of_changed(connection, deleted, id, at)?;
            let consumed = match &reauthentication {
                Some(by) if !ended.contains(&by.session) => return Err(ChangeUserError::NotFound),
                Some(by) => Some(consume(connection, &by.proof, id, at)?),
                None => None,
            };
            let deleted = UserDeleted { ended, consumed };
            insert_events(connection, &events.of(&deleted))?;
            Ok(deleted)
        })
    }
}

/// In SQL what `User::is_enabled_at` decides.
#[diesel::dsl::auto_type(no_type_alias)]
pub(super) fn is_enabled_at(version: CredentialVersion) -> _ {
    let version: i64 = version.get();
    users::credential_version.eq(version).and(users::disabled_at.is_null())
}

/// In SQL what `User::set_password` changes.
#[diesel::dsl::auto_type(no_type_alias)]
fn new_password(new: &PasswordHash) -> _ {
    let hash: String = new.expose().to_owned();
    (users::password_hash.eq(hash), users::credential_version.eq(users::credential_version + 1_i64))
}

/// Ends the sessions of a user whose row was just changed, and is thereby locked against logins in flight.
fn end_sessions_of_changed(
    connection: &mut AnyConnection,
    changed: QueryResult<usize>,
    id: UserId,
    at: UnixTime,
) -> Result<Vec<SessionId>, ChangeUserError> {
    if changed.map_err(store_error)? == 0 {
        return Err(ChangeUserError::NotFound);
    }
    Ok(end_sessions_of(connection, id, None, at)?)
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = users)]
struct UserRow {
    id: DbId,
    username: String,
    password_hash: String,
    credential_version: i64,
    disabled_at: Option<DbTime>,
    created_at: DbTime,
}

impl TryFrom<UserRow> for User {
    type Error = StoreError;

    fn try_from(row: UserRow) -> Result<Self, StoreError> {
        let DbId(id) = row.id;
        let username = Username::from_stored(row.username).ok_or(CorruptRow {
            table: "users",
            column: "username",
            id,
        })?;
        Ok(Self {
            id: UserId::from_uuid(id),
            username,
            password_hash: PasswordHash::new(row.password_hash),
            credential_version: CredentialVersion::new(row.credential_version),
            status: match row.disabled_at {
                None => UserStatus::Enabled,
                Some(_) => UserStatus::Disabled,
            },
            created_at: row.created_at.0,
        })
    }
}
