use diesel::prelude::*;
use portcullis_domain::audit::{AuditLog, SecurityEvent, StoredEvent};
use portcullis_domain::client::ClientInfo;
use portcullis_domain::id::{EventId, SessionId, UserId};
use portcullis_domain::ports::StoreError;
use uuid::Uuid;

use crate::db::Database;
use crate::db::connection::AnyConnection;
use crate::db::error::{CorruptRow, store_error};
use crate::db::schema::security_events;
use crate::db::types::{DbId, DbTime};

impl AuditLog for Database {
    fn record_event(&self, event: &SecurityEvent) -> Result<(), StoreError> {
        let event = event.clone();
        self.statement(move |connection| insert_event(connection, &event))
    }

    fn list_events(
        &self,
        user: UserId,
        before: Option<EventId>,
        most: u32,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        // No id of an event is the last of all.
        let before = before.map_or(Uuid::max(), EventId::as_uuid);
        self.read(|connection| {
            let found: Vec<StoredEventRow> = security_events::table
                .filter(security_events::user_id.eq(DbId(user.as_uuid())))
                .filter(security_events::id.lt(DbId(before)))
                .order(security_events::id.desc())
                .limit(most.into())
                .select(StoredEventRow::as_select())
                .load(connection)
                .map_err(store_error)?;
            found.into_iter().map(StoredEvent::try_from).collect()
        })
    }
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = security_events)]
struct StoredEventRow {
    id: DbId,
    at: DbTime,
    kind: String,
    detail: Option<String>,
    session_id: Option<DbId>,
    address: Option<String>,
    agent: Option<String>,
}

impl TryFrom<StoredEventRow> for StoredEvent {
    type Error = StoreError;

    fn try_from(row: StoredEventRow) -> Result<Self, StoreError> {
        let DbId(id) = row.id;
        let address = row.address.map(|address| address.parse()).transpose();
        let address =
            address.map_err(|_unparsed| CorruptRow { table: "security_events", column: "address", id })?;
        Ok(Self {
            id: EventId::from_uuid(id),
            at: row.at.0,
            kind: row.kind,
            detail: row.detail,
            session: row.session_id.map(|DbId(session)| SessionId::from_uuid(session)),
            client: ClientInfo::new(address, row.agent.as_deref()),
        })
    }
}

/// Stores events in the transaction of the change that they describe.
pub(super) fn insert_events(
    connection: &mut AnyConnection,
    events: &[SecurityEvent],
) -> Result<(), StoreError> {
    events.iter().try_for_each(|event| insert_event(connection, event))
}

/// Stores an event in the transaction of the change it describes.
pub(in crate::db) fn insert_event(
    connection: &mut AnyConnection,
    event: &SecurityEvent,
) -> Result<(), StoreError> {
    let detail = event.kind.detail();
    let row = (
        security_events::id.eq(DbId(event.id.as_uuid())),
        security_events::at.eq(DbTime(event.at)),
        security_events::kind.eq(event.kind.name()),
        security_events::detail.eq(detail.as_deref()),
        security_events::user_id.eq(event.user.map(|user| DbId(user.as_uuid()))),
        security_events::session_id.eq(event.session.map(|session| DbId(session.as_uuid()))),
        security_events::address.eq(event.client.address().map(|address| address.to_string())),
        security_events::agent.eq(event.client.agent()),
    );
    diesel::insert_into(security_events::table).values(row).execute(connection).map_err(store_error)?;
    Ok(())
}
