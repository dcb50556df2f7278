//! What both databases' tests share.

use std::sync::Arc;

use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Nullable, Text};
use portcullis_adapters::db::{Database, PrepareError};
use portcullis_adapters::keys::KeyCheck;
use portcullis_domain::id::{SessionId, UserId};
use portcullis_domain::ports::{StoreErrorKind, UserStore};
use portcullis_domain::time::UnixTime;
use portcullis_domain::username::CanonicalName;
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

/// The check value that tests prepare their databases with.
pub(crate) const KEY: KeyCheck = KeyCheck::from_bytes([1; 32]);

/// The key check over its whole life: set by the first instance, moved by a replacement of the secret, and back by the
/// next one.
pub(crate) fn goes_with_its_secret(database: &Database) {
    let [a, b, other] = [1, 2, 3].map(|n| KeyCheck::from_bytes([n; 32]));
    let accepts = |current, accepted: &[KeyCheck]| database.prepare(current, accepted).unwrap();
    let refuses = |current, accepted: &[KeyCheck]| {
        let result = database.prepare(current, accepted);
        assert!(matches!(result, Err(PrepareError::OtherSecret)), "{result:?}");
    };
    accepts(a, &[]);
    accepts(a, &[]);
    refuses(b, &[]);
    refuses(b, &[other]);

    // Step one everywhere, then step two on the first instance.
    accepts(a, &[b]);
    accepts(b, &[a]);
    // A straggler of step one moves the value back. That harms nobody who accepts both,
    accepts(a, &[b]);
    refuses(b, &[]);
    // and the last start with step two sets it right.
    accepts(b, &[a]);
    accepts(b, &[]);
    refuses(a, &[]);

    // The old secret can return like any other.
    accepts(b, &[a]);
    accepts(a, &[b]);
    accepts(a, &[]);
    refuses(b, &[]);
}

/// A database that cannot be used with this secret is not opened.
pub(crate) fn stays_closed_to_another_secret(prepared: &Database, other: &Database) {
    prepared.prepare(KEY, &[]).unwrap();
    other.prepare(KeyCheck::from_bytes([2; 32]), &[]).unwrap_err();
    let error = other.find_by_name(&CanonicalName::of("alice")).unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
}

/// The command's migration leaves the stores closed, and the secret open.
pub(crate) fn migrates_without_a_secret(database: &Database) {
    database.migrate().unwrap();
    assert!(database.migrations().unwrap().iter().all(|state| state.applied));
    let error = database.find_by_name(&CanonicalName::of("alice")).unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    database.prepare(KeyCheck::from_bytes([9; 32]), &[]).unwrap();
}
