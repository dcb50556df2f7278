//! The statements of `SessionStore::rotate`.

use diesel::dsl::case_when;
use diesel::prelude::*;
use portcullis_domain::id::{SessionId, UserId};
use portcullis_domain::ports::StoreError;
use portcullis_domain::session::{CLOCK_TOLERANCE, RotateOutcome, RotateRequest, SessionGrant};

use super::{generation, is_live};
use crate::db::cached_update::CachedUpdate;
use crate::db::connection::AnyConnection;
use crate::db::error::store_error;
use crate::db::schema::sessions;
use crate::db::schema::sql_types::Moment;
use crate::db::types::{DbId, DbTime};

/// The name of the statement of [`succeed`].
struct RotationStatement;

/// Rotates the session if the presented generation is current, or repeats the rotation if it is the one before within the
/// grace: in SQL what `StoredSession::rotate` decides, under the row's lock. Either way the newest generation is then the
/// one after the presented one.
pub(super) fn succeed(
    connection: &mut AnyConnection,
    presented: &RotateRequest,
) -> Result<Option<RotatedRow>, StoreError> {
    let (current, successor) = generations(presented);
    let is_current = || sessions::generation.eq(current);
    let new_end = presented.now + presented.idle;
    let expires_at =
        case_when(sessions::absolute_expires_at.gt(DbTime(new_end)), DbTime(new_end).into_sql::<Moment>())
            .otherwise(sessions::absolute_expires_at);
    let is_good = sessions::id
        .eq(DbId(presented.session.as_uuid()))
        .and(is_live(presented.now))
        .and(is_current().or(sessions::generation.eq(successor).and(in_grace(presented))));
    let changes = (
        sessions::generation.eq(successor),
        sessions::rotated_at.eq(case_when(is_current(), DbTime(presented.now).into_sql::<Moment>())
            .otherwise(sessions::rotated_at)),
        sessions::expires_at.eq(case_when(is_current(), expires_at).otherwise(sessions::expires_at)),
    );
    let seen = (sessions::user_id, sessions::generation, sessions::opened_at, sessions::expires_at);
    let rotation = CachedUpdate::new(RotationStatement, &sessions::table, is_good, changes, seen);
    let rotated = match connection {
        AnyConnection::Postgres(connection) => rotation.get_result(connection),
        AnyConnection::Sqlite(connection) => rotation.get_result(connection),
    };
    rotated.optional().map_err(store_error)
}

/// Ends the session if the presented generation was reused: the other half of what `StoredSession::rotate` decides.
pub(super) fn end_reused(
    connection: &mut AnyConnection,
    presented: &RotateRequest,
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

fn generations(presented: &RotateRequest) -> (i64, i64) {
    let current = i64::from(presented.generation.get());
    (current, current + 1)
}

/// In SQL what `ReuseCheck::of` decides of the generation before the newest.
#[diesel::dsl::auto_type(no_type_alias)]
fn in_grace(presented: &RotateRequest) -> _ {
    let earliest: DbTime = DbTime(presented.now - presented.grace);
    let latest: DbTime = DbTime(presented.now + CLOCK_TOLERANCE);
    sessions::rotated_at.between(earliest, latest)
}

#[derive(Queryable)]
pub(super) struct RotatedRow {
    user_id: DbId,
    generation: i64,
    opened_at: DbTime,
    expires_at: DbTime,
}

impl RotatedRow {
    pub(super) fn into_outcome(self, session: SessionId) -> Result<RotateOutcome, StoreError> {
        Ok(RotateOutcome::Rotated(SessionGrant {
            session,
            user: UserId::from_uuid(self.user_id.0),
            generation: generation(self.generation, session.as_uuid())?,
            opened_at: self.opened_at.0,
            expires_at: self.expires_at.0,
        }))
    }
}
