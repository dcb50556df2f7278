//! What both databases' tests share.

use std::sync::Arc;

use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Nullable, Text};
use portcullis_adapters::db::{Database, KeyCheckError};
use portcullis_adapters::keys::KeyCheck;
use portcullis_domain::id::{SessionId, UserId};
use portcullis_domain::time::UnixTime;
use portcullis_testkit::SeededEntropy;
use portcullis_testkit::contract::{RecordedEvent, Stores};

/// The stores of a prepared database, with its way of reading events.
pub(crate) fn stores_over(
    database: &Arc<Database>,
    rows: impl Fn() -> Vec<EventRow> + Send + Sync + 'static,
) -> Stores {
    Stores {
        users: Arc::clone(database) as _,
        sessions: Arc::clone(database) as _,
        events: Arc::clone(database) as _,
        health: Arc::clone(database) as _,
        recorded: Arc::new(move || rows().into_iter().map(RecordedEvent::from).collect()),
        entropy: Arc::new(SeededEntropy::new(7)),
    }
}

/// A row of `security_events`, read past the adapter's own code: ids in hexadecimal digits, microseconds since 1970.
#[derive(QueryableByName)]
pub(crate) struct EventRow {
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = Nullable<Text>)]
    detail: Option<String>,
    #[diesel(sql_type = BigInt)]
    at: i64,
    #[diesel(sql_type = Nullable<Text>)]
    user_id: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    session_id: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    address: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    agent: Option<String>,
}

impl From<EventRow> for RecordedEvent {
    fn from(row: EventRow) -> Self {
        // SQLite's hex() makes an empty text of NULL.
        let id = |hex: Option<String>| hex.filter(|hex| !hex.is_empty()).map(|hex| hex.parse().unwrap());
        Self {
            name: row.kind,
            detail: row.detail,
            at: UnixTime::from_micros(row.at),
            user: id(row.user_id).map(UserId::from_uuid),
            session: id(row.session_id).map(SessionId::from_uuid),
            address: row.address,
            agent: row.agent,
        }
    }
}

/// The key check over its whole life: set by the first instance, moved by a replacement of the secret, never back.
pub(crate) fn goes_with_its_secret(database: &Database) {
    let [old, new, other] = [1, 2, 3].map(|n| KeyCheck::from_bytes([n; 32]));
    let refuses = |current, accepted: &[KeyCheck]| {
        let result = database.check_key(current, accepted);
        assert!(matches!(result, Err(KeyCheckError::Mismatch)), "{result:?}");
    };
    database.check_key(old, &[]).unwrap();
    database.check_key(old, &[]).unwrap();
    refuses(new, &[]);
    refuses(new, &[other]);

    // Step one everywhere, then step two on the first instance.
    database.check_key(old, &[new]).unwrap();
    database.check_key(new, &[old]).unwrap();
    // A straggler of step one restarts: it may go on, but does not move the value back.
    database.check_key(old, &[new]).unwrap();
    database.check_key(new, &[]).unwrap();
    refuses(old, &[]);
}
