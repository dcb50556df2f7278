use diesel::prelude::*;
use portcullis_domain::event::SecurityEvent;
use portcullis_domain::ports::{EventLog, StoreError};

use super::Database;
use super::connection::AnyConnection;
use super::error::store_error;
use super::schema::security_events;
use super::types::{DbId, DbTime};

impl EventLog for Database {
    fn record(&self, event: &SecurityEvent) -> Result<(), StoreError> {
        self.statement(|connection| insert_event(connection, event))
    }
}

/// Stores an event in the transaction of the change it describes.
pub(super) fn insert_event(connection: &mut AnyConnection, event: &SecurityEvent) -> Result<(), StoreError> {
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
