//! The audit log proves itself: what is done to it past the service is named, and what the service does to it is not.

use std::sync::Arc;
use std::time::Duration;

use diesel::{QueryableByName, RunQueryDsl};
use portcullis_adapters::audit::{AuditError, AuditKey, AuditKeys, Fault, Link, Sealer, Verified, verify};
use portcullis_adapters::db::{Database, DatabaseUrl, Deployment, PoolConfig};
use portcullis_adapters::secret::{Secret, Secrets};
use portcullis_domain::audit::{AuditLog, EventKind, SecurityEvent};
use portcullis_domain::id::{EventId, SessionId, UserId};
use portcullis_domain::ports::{StoreError, StoreErrorKind, StoreHealth};
use portcullis_domain::session::{EndOutcome, SessionStore};
use portcullis_domain::time::UnixTime;
use portcullis_testkit::SeededRandom;
use portcullis_testkit::fixtures::{NOW, event};
use portcullis_testkit::postgres::ThrowawayPostgres;
use tempfile::TempDir;
use uuid::Uuid;

use crate::plans::{Direct, Seen, record as record_statements};
use crate::population::{Dialect, Population};
use crate::stores::{FullRead, full_reads, open_session};

/// A database of its own, used with [`OLD`], and a connection past the stores.
struct Rig {
    database: Arc<Database>,
    keys: Arc<AuditKeys>,
    direct: Direct,
    dialect: Dialect,
    random: SeededRandom,
    _folder: Option<TempDir>,
}

const OLD: &str = "the old secret";
const NEW: &str = "the new secret";

fn secret(text: &str) -> Secret {
    Secret::parse_for_development(text).unwrap()
}

fn keys(current: &str, accepted: &[&str]) -> Arc<AuditKeys> {
    let accepted = accepted.iter().map(|text| secret(text));
    Arc::new(AuditKeys::of(&Secrets::new(secret(current), accepted)))
}

impl Rig {
    fn new(dialect: Dialect) -> Self {
        let (url, folder) = match dialect {
            Dialect::Postgres => {
                (DatabaseUrl::parse(&ThrowawayPostgres::shared().create_database()).unwrap(), None)
            }
            Dialect::Sqlite => {
                let folder = TempDir::new().unwrap();
                (DatabaseUrl::Sqlite(folder.path().join("portcullis.db")), Some(folder))
            }
        };
        let database = Arc::new(Database::new(url.clone(), PoolConfig::default()));
        Self {
            keys: keys(OLD, &[]),
            random: SeededRandom::new(5),
            direct: {
                prepare(&database, &keys(OLD, &[]));
                Direct::connect(&url).unwrap()
            },
            database,
            dialect,
            _folder: folder,
        }
    }

    /// With six events, sealed and signed.
    fn sealed(dialect: Dialect) -> Self {
        let mut rig = Self::new(dialect);
        for n in 0..6 {
            rig.record(NOW + Duration::from_millis(n));
        }
        rig.seal();
        assert_eq!(rig.verify(None).unwrap().head.unwrap().0.seq, 6);
        rig
    }

    fn record(&mut self, at: UnixTime) -> EventId {
        let event = event(EventKind::LoginSucceeded, at, &self.random)
            .of_user(UserId::from_uuid(Uuid::from_u128(7)))
            .in_session(SessionId::from_uuid(Uuid::from_u128(8)));
        self.database.record_event(&event).unwrap();
        event.id
    }

    fn sealer(&self, keys: &Arc<AuditKeys>, retention: Option<Duration>) -> Sealer {
        Sealer::new(Arc::clone(&self.database), Arc::clone(keys), Uuid::from_u128(1), retention)
    }

    /// Seals everything, and signs the head where none was signed in the last minutes.
    fn seal(&self) {
        finish(&mut self.sealer(&self.keys, None));
    }

    fn verify(&self, kept: Option<Link>) -> Result<Verified, AuditError> {
        self.verify_with(&self.keys, kept)
    }

    fn verify_with(&self, keys: &AuditKeys, kept: Option<Link>) -> Result<Verified, AuditError> {
        verify(self.database.url(), keys, kept, |_at, _end| {})
    }

    fn execute(&mut self, sql: &str) {
        self.direct.execute(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    fn number(&mut self, sql: &str) -> i64 {
        #[derive(QueryableByName)]
        struct Number {
            #[diesel(sql_type = diesel::sql_types::BigInt)]
            number: i64,
        }
        let query = diesel::sql_query(format!("SELECT CAST(({sql}) AS bigint) AS number"));
        let row: Number = match &mut self.direct {
            Direct::Sqlite(connection) => query.get_result(connection).unwrap(),
            Direct::Postgres(connection) => query.get_result(connection).unwrap(),
        };
        row.number
    }

    fn text(&mut self, sql: &str) -> String {
        #[derive(QueryableByName)]
        struct Row {
            #[diesel(sql_type = diesel::sql_types::Text)]
            text: String,
        }
        let query = diesel::sql_query(format!("SELECT ({sql}) AS text"));
        let row: Row = match &mut self.direct {
            Direct::Sqlite(connection) => query.get_result(connection).unwrap(),
            Direct::Postgres(connection) => query.get_result(connection).unwrap(),
        };
        row.text
    }

    /// Bytes as SQL has them.
    fn bytes(&self, hex: &str) -> String {
        match self.dialect {
            Dialect::Sqlite => format!("x'{hex}'"),
            Dialect::Postgres => format!("'\\x{hex}'::bytea"),
        }
    }

    fn id(&self, id: Uuid) -> String {
        match self.dialect {
            Dialect::Sqlite => format!("x'{}'", id.simple()),
            Dialect::Postgres => format!("'{id}'::uuid"),
        }
    }

    fn hash_at(&mut self, seq: i64) -> String {
        match self.dialect {
            Dialect::Sqlite => {
                self.text(&format!("SELECT lower(hex(hash)) FROM audit_chain WHERE seq = {seq}"))
            }
            Dialect::Postgres => {
                self.text(&format!("SELECT encode(hash, 'hex') FROM audit_chain WHERE seq = {seq}"))
            }
        }
    }

    /// Numbers the rows from `seq` on anew.
    fn shift(&mut self, seq: i64, by: i64) {
        self.execute(&format!("UPDATE audit_chain SET seq = seq + 1000 WHERE seq >= {seq}"));
        self.execute(&format!("UPDATE audit_chain SET seq = seq - 1000 + {by} WHERE seq >= 1000"));
    }

    /// Somebody forgets the turn, as if its time had passed.
    fn free_the_turn(&mut self) {
        self.execute("UPDATE deployment SET sealer = NULL");
        let epoch = if self.dialect == Dialect::Sqlite { "0" } else { "'epoch'" };
        self.execute(&format!("UPDATE deployment SET sealer_until = {epoch}"));
    }

    #[track_caller]
    fn finds(&self, seq: i64, fault: Fault) {
        self.finds_with(None, seq, fault);
    }

    #[track_caller]
    fn finds_with(&self, kept: Option<Link>, seq: i64, fault: Fault) {
        let found = match self.verify(kept) {
            Err(AuditError::Bad(finding)) => finding,
            other => panic!("nothing was found: {other:?}"),
        };
        assert_eq!((found.seq, found.fault), (seq, fault), "{found}");
        assert!(found.to_string().starts_with(&format!("seq {seq}")), "{found}");
    }
}

fn prepare(database: &Database, keys: &AuditKeys) {
    let random = SeededRandom::new(99);
    // Another event each time.
    let event = |kind, time: UnixTime| SecurityEvent {
        id: EventId::from_uuid(Uuid::from_u128(
            event(kind, time, &random).id.as_uuid().as_u128()
                ^ u128::from(time.as_micros().unsigned_abs() % 1_000),
        )),
        ..event(kind, time, &random)
    };
    database.prepare_with(keys, event).unwrap();
}

/// Steps until there is nothing left to do.
fn finish(sealer: &mut Sealer) {
    for _ in 0..10_000 {
        if sealer.step().unwrap() == Sealer::PAUSE {
            return;
        }
    }
    panic!("the sealer has no end");
}

/// The six rows of [`Rig::sealed`] by their seq, kept aside.
const SAVE: &str = "CREATE TEMPORARY TABLE saved AS SELECT seq, event_id, hash FROM audit_chain";

const EVENT_3: &str = "id = (SELECT event_id FROM audit_chain WHERE seq = 3)";

fn nothing_is_wrong_with_what_the_service_does(dialect: Dialect) {
    let mut rig = Rig::new(dialect);
    let empty = rig.verify(None).unwrap();
    assert_eq!((empty.first, empty.end.seq, empty.unsealed, empty.head), (1, 0, 0, None));
    rig.seal();
    assert_eq!(rig.number("SELECT count(*) FROM audit_heads"), 0, "there is nothing to sign");
    for n in 0..700 {
        rig.record(NOW + Duration::from_millis(n));
    }
    assert_eq!(rig.verify(None).unwrap().unsealed, 700);
    rig.seal();
    rig.record(NOW);
    let found = rig.verify(None).unwrap();
    assert_eq!((found.first, found.end.seq, found.unsealed, found.adopted_at), (1, 700, 1, None));
    assert_eq!(found.head.unwrap().0, found.end);
    rig.seal();
    let later = rig.verify(Some(found.end)).unwrap();
    assert_eq!((later.end.seq, later.head.unwrap().0), (701, found.end), "a head every five minutes");
    rig.sealer(&rig.keys, None).close().unwrap();
    let closed = rig.verify(None).unwrap();
    assert_eq!((closed.end, closed.head.unwrap().0), (later.end, later.end));
    rig.sealer(&rig.keys, None).close().unwrap();
    assert_eq!(rig.number("SELECT count(*) FROM audit_heads"), 2, "nothing is signed twice");
}

fn an_edited_column_is_found(dialect: Dialect) {
    let id = |rig: &Rig| rig.id(Uuid::from_u128(9));
    let changes: [(&str, &str); 7] = [
        ("at", if dialect == Dialect::Sqlite { "at + 1" } else { "at + interval '1us'" }),
        ("kind", "'login_failed'"),
        ("detail", "'x'"),
        ("user_id", ""),
        ("session_id", ""),
        ("address", "'192.0.2.1'"),
        ("agent", "agent || ' '"),
    ];
    for (column, value) in changes {
        for value in [value, "NULL"] {
            if value == "NULL" && ["at", "kind", "detail"].contains(&column) {
                continue;
            }
            let mut rig = Rig::sealed(dialect);
            let value = if value.is_empty() { id(&rig) } else { value.to_owned() };
            rig.execute(&format!("UPDATE security_events SET {column} = {value} WHERE {EVENT_3}"));
            rig.finds(3, Fault::Edited);
        }
    }
    let mut rig = Rig::sealed(dialect);
    let nine = id(&rig);
    rig.execute(&format!("UPDATE security_events SET id = {nine} WHERE {EVENT_3}"));
    rig.finds(3, Fault::EventDeleted);

    // The newest one has none after it that vouches for its hash.
    let mut rig = Rig::sealed(dialect);
    rig.execute(
        "UPDATE security_events SET kind = 'x' WHERE id = (SELECT event_id FROM audit_chain WHERE seq = 6)",
    );
    rig.finds(6, Fault::Edited);
}

fn what_was_deleted_is_found(dialect: Dialect) {
    let mut rig = Rig::sealed(dialect);
    rig.execute(&format!("DELETE FROM security_events WHERE {EVENT_3}"));
    rig.finds(3, Fault::EventDeleted);
    rig.execute("DELETE FROM audit_chain WHERE seq = 3");
    rig.finds(3, Fault::RowDeleted);
    rig.shift(4, -1);
    rig.finds(3, Fault::RowsCutOut { count: 1 });

    let mut rig = Rig::sealed(dialect);
    rig.execute("DELETE FROM audit_chain WHERE seq = 1");
    rig.finds(1, Fault::RowDeleted);
}

fn a_changed_hash_is_found(dialect: Dialect) {
    let mut rig = Rig::sealed(dialect);
    let hash = rig.bytes(&"0".repeat(64));
    rig.execute(&format!("UPDATE audit_chain SET hash = {hash} WHERE seq = 3"));
    rig.finds(3, Fault::HashChanged);

    let mut rig = Rig::sealed(dialect);
    let hash = rig.bytes(&"0".repeat(64));
    rig.execute(&format!("UPDATE audit_chain SET hash = {hash} WHERE seq IN (3, 4)"));
    rig.finds(3, Fault::HashChanged);
}

fn exchanged_rows_are_found(dialect: Dialect) {
    for (here, there) in [(2, 5), (3, 4), (1, 6)] {
        let mut rig = Rig::sealed(dialect);
        rig.execute(SAVE);
        rig.execute(&format!("DELETE FROM audit_chain WHERE seq IN ({here}, {there})"));
        rig.execute(&format!(
            "INSERT INTO audit_chain SELECT 7 - seq, event_id, hash FROM saved WHERE seq IN ({here}, {there})"
        ));
        rig.finds(here, Fault::Reordered { other: there });

        rig.execute(&format!("DELETE FROM audit_chain WHERE seq IN ({here}, {there})"));
        rig.execute(&format!(
            "INSERT INTO audit_chain SELECT here.seq, there.event_id, here.hash
               FROM saved AS here JOIN saved AS there ON there.seq = 7 - here.seq
              WHERE here.seq IN ({here}, {there})"
        ));
        rig.finds(here, Fault::Reordered { other: there });
    }
}

fn a_forged_row_is_found(dialect: Dialect) {
    // Its hash was made up,
    let mut rig = Rig::sealed(dialect);
    let forged = rig.record(NOW + Duration::from_secs(1)).as_uuid();
    let (id, hash) = (rig.id(forged), rig.bytes(&"ab".repeat(32)));
    rig.shift(3, 1);
    rig.execute(&format!("INSERT INTO audit_chain VALUES (3, {id}, {hash})"));
    rig.finds(3, Fault::Inserted);

    // or is the one that the service would have made: the one that it did make where the third was never recorded.
    let mut other = Rig::new(dialect);
    for n in 0..2 {
        other.record(NOW + Duration::from_millis(n));
    }
    let forged = event(EventKind::UserRegistered, NOW + Duration::from_secs(1), &SeededRandom::new(6));
    other.database.record_event(&forged).unwrap();
    other.seal();
    let hash = other.hash_at(3);
    let mut rig = Rig::sealed(dialect);
    assert_eq!(rig.hash_at(2), other.hash_at(2), "the same events have the same hashes");
    rig.database.record_event(&forged).unwrap();
    let (id, hash) = (rig.id(forged.id.as_uuid()), rig.bytes(&hash));
    rig.shift(3, 1);
    rig.execute(&format!("INSERT INTO audit_chain VALUES (3, {id}, {hash})"));
    rig.finds(3, Fault::Inserted);
}

fn a_cut_end_is_found_by_what_was_signed_or_kept(dialect: Dialect) {
    let mut rig = Rig::sealed(dialect);
    let kept = rig.verify(None).unwrap().end;
    rig.execute("DELETE FROM security_events WHERE id IN (SELECT event_id FROM audit_chain WHERE seq > 4)");
    rig.execute("DELETE FROM audit_chain WHERE seq > 4");
    rig.finds(5, Fault::Truncated { end: 4 });
    rig.execute("DELETE FROM audit_heads");
    assert_eq!(rig.verify(None).unwrap().end.seq, 4, "who keeps no head elsewhere does not see it");
    rig.finds_with(Some(kept), 5, Fault::Truncated { end: 4 });

    // Nor does it help to go on.
    for n in 0..2 {
        rig.record(NOW + Duration::from_secs(10 + n));
    }
    rig.seal();
    assert_eq!(rig.verify(None).unwrap().end.seq, 6);
    rig.finds_with(Some(kept), 6, Fault::NotAsKept);
}

fn a_chain_written_anew_is_found_by_what_was_signed_or_kept(dialect: Dialect) {
    let mut rig = Rig::sealed(dialect);
    let kept = rig.verify(None).unwrap().end;
    rig.execute(&format!("UPDATE security_events SET address = '192.0.2.1' WHERE {EVENT_3}"));
    rig.execute("DELETE FROM audit_chain");
    rig.seal();
    assert_eq!(rig.number("SELECT max(seq) FROM audit_chain"), 6, "all hashes are right again");
    rig.finds(6, Fault::Rewritten { number: 1 });
    rig.execute("DELETE FROM audit_heads");
    rig.verify(None).unwrap();
    rig.finds_with(Some(kept), 6, Fault::NotAsKept);
}

fn a_changed_statement_is_found(dialect: Dialect) {
    let bad = Fault::BadSignature { number: 1 };
    for change in ["signature", "at", "kind"] {
        let mut rig = Rig::sealed(dialect);
        let value = match change {
            "signature" => rig.bytes(&"00".repeat(64)),
            "at" if dialect == Dialect::Sqlite => "at + 1".to_owned(),
            "at" => "at + interval '1us'".to_owned(),
            _ => "'adoption'".to_owned(),
        };
        rig.execute(&format!("UPDATE audit_heads SET {change} = {value}"));
        rig.finds(6, bad);
    }
    let mut rig = Rig::sealed(dialect);
    let hash = rig.hash_at(5);
    let (key, hash) = (rig.bytes(&AuditKey::of(&secret(NEW)).to_string()), rig.bytes(&hash));
    rig.execute(&format!("UPDATE audit_heads SET public_key = {key}"));
    rig.finds(6, Fault::UntrustedKey { number: 1 });

    // Another hash, another place or another number is no more signed.
    let mut rig = Rig::sealed(dialect);
    rig.execute(&format!("UPDATE audit_heads SET seq = 5, hash = {hash}"));
    rig.finds(5, bad);
    let mut rig = Rig::sealed(dialect);
    rig.execute("UPDATE audit_heads SET number = 2");
    rig.finds(6, Fault::BadSignature { number: 2 });
}

fn what_another_secret_signed_is_found(dialect: Dialect) {
    let mut rig = Rig::sealed(dialect);
    rig.execute("DELETE FROM audit_heads");
    // Whoever can write to the database can say which secret it has.
    rig.execute("UPDATE deployment SET key_check = NULL");
    let (theirs, other) = (keys(NEW, &[]), keys(OLD, &[]));
    let database = Arc::new(Database::new(rig.database.url().clone(), PoolConfig::default()));
    prepare(&database, &theirs);
    finish(&mut Sealer::new(database, theirs, Uuid::from_u128(1), None));
    assert_eq!(rig.number("SELECT count(*) FROM audit_heads"), 1);
    let error = rig.verify_with(&other, None).unwrap_err();
    assert!(error.to_string().starts_with("seq 6: statement 1 is signed by a key that neither"), "{error}");
}

// ASVS 14.2.7
fn old_events_are_deleted_behind_a_signed_checkpoint(dialect: Dialect) {
    let mut rig = Rig::new(dialect);
    let now = rig.database.check().unwrap().time.unwrap().now;
    let day = Duration::from_hours(24);
    let old = now - 2 * day;
    for n in 0..600 {
        rig.record(old + Duration::from_millis(n));
    }
    rig.seal();
    let kept = rig.verify(None).unwrap().end;
    for n in 0..3 {
        rig.record(now + Duration::from_millis(n));
    }
    finish(&mut rig.sealer(&rig.keys, Some(day)));
    let found = rig.verify(None).unwrap();
    assert_eq!((found.first, found.end.seq, found.unsealed), (601, 603, 0));
    let rows = |rig: &mut Rig, table| rig.number(&format!("SELECT count(*) FROM {table}"));
    assert_eq!((rows(&mut rig, "security_events"), rows(&mut rig, "audit_chain")), (3, 3));
    assert_eq!(rows(&mut rig, "audit_heads WHERE kind = 'checkpoint'"), 1, "the others are of no use");
    assert!(!rig.verify(Some(kept)).unwrap().is_kept_head_older, "the checkpoint stands there");
    let elsewhere = Link { seq: 599, ..kept };
    assert!(rig.verify(Some(elsewhere)).unwrap().is_kept_head_older);

    rig.execute("UPDATE audit_heads SET seq = 602 WHERE kind = 'checkpoint'");
    let error = rig.verify(None).unwrap_err().to_string();
    assert!(error.starts_with("seq 602: bad signature of statement"), "{error}");
    rig.execute("DELETE FROM audit_heads WHERE kind = 'checkpoint'");
    rig.finds(1, Fault::RowDeleted);
}

fn where_everything_was_old_the_chain_goes_on_from_the_checkpoint(dialect: Dialect) {
    let mut rig = Rig::new(dialect);
    let now = rig.database.check().unwrap().time.unwrap().now;
    let day = Duration::from_hours(24);
    for n in 0..2 {
        rig.record(now - 2 * day + Duration::from_millis(n));
    }
    rig.seal();
    finish(&mut rig.sealer(&rig.keys, Some(day)));
    assert_eq!(rig.number("SELECT count(*) FROM audit_chain"), 0);
    assert_eq!(rig.verify(None).unwrap().end.seq, 2);
    rig.record(now);
    rig.seal();
    let found = rig.verify(None).unwrap();
    assert_eq!((found.first, found.end.seq), (3, 3));
}

fn an_event_that_is_missing_is_not_forgotten_with_the_old_ones(dialect: Dialect) {
    let mut rig = Rig::new(dialect);
    let day = Duration::from_hours(24);
    let old = rig.database.check().unwrap().time.unwrap().now - 2 * day;
    for n in 0..6 {
        rig.record(old + Duration::from_millis(n));
    }
    rig.seal();
    rig.execute(&format!("DELETE FROM security_events WHERE {EVENT_3}"));
    finish(&mut rig.sealer(&rig.keys, Some(day)));
    assert_eq!(rig.number("SELECT min(seq) FROM audit_chain"), 3);
    rig.finds(3, Fault::EventDeleted);
}

fn a_replaced_secret_hands_over(dialect: Dialect) {
    let mut rig = Rig::sealed(dialect);
    let both = keys(NEW, &[OLD]);
    prepare(&rig.database, &both);
    assert_eq!(rig.number("SELECT count(*) FROM security_events WHERE kind = 'secret_replaced'"), 1);
    prepare(&rig.database, &both);
    assert_eq!(rig.number("SELECT count(*) FROM security_events WHERE kind = 'secret_replaced'"), 1);

    // Who still has the old secret seals, and does not sign.
    rig.record(NOW);
    rig.seal();
    rig.sealer(&rig.keys, None).close().unwrap();
    assert_eq!(rig.number("SELECT count(*) FROM audit_heads"), 2);
    rig.record(NOW);
    finish(&mut rig.sealer(&both, None));
    rig.sealer(&both, None).close().unwrap();
    assert_eq!(rig.number("SELECT count(*) FROM audit_heads"), 3);

    let new = keys(NEW, &[]);
    let found = rig.verify_with(&new, None).unwrap();
    assert_eq!((found.end.seq, found.head.unwrap().0.seq, found.adopted_at), (9, 9, None));
    rig.finds(6, Fault::UntrustedKey { number: 2 });
    let error = rig.verify_with(&keys("a third", &[OLD]), None).unwrap_err().to_string();
    assert!(error.starts_with("seq 6: statement 2"), "an accepted secret is not in charge: {error}");

    // Without a good hand-over nothing vouches for the old key.
    let zeros = rig.bytes(&"00".repeat(64));
    for (change, expected) in [
        (
            format!("UPDATE audit_heads SET old_signature = {zeros} WHERE kind = 'hand_over'"),
            "seq 6: bad signature of statement 2",
        ),
        (
            "DELETE FROM audit_heads WHERE kind = 'hand_over'".to_owned(),
            "seq 6: statement 1 is signed by a key",
        ),
    ] {
        rig.execute(&change);
        let error = rig.verify_with(&new, None).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}

/// While a secret is replaced, a straggler may move it back.
fn secrets_may_come_and_go(dialect: Dialect) {
    let mut rig = Rig::sealed(dialect);
    for (current, accepted) in [(NEW, OLD), (OLD, NEW), (NEW, OLD)] {
        let keys = keys(current, &[accepted]);
        prepare(&rig.database, &keys);
        rig.record(NOW);
        finish(&mut rig.sealer(&keys, None));
        rig.sealer(&keys, None).close().unwrap();
    }
    assert_eq!(rig.number("SELECT count(*) FROM audit_heads WHERE kind = 'hand_over'"), 3);
    assert_eq!(rig.verify_with(&keys(NEW, &[]), None).unwrap().head.unwrap().0.seq, 12);
    rig.verify_with(&keys(OLD, &[]), None).unwrap_err();
}

fn an_adopted_secret_vouches_for_what_it_found_and_no_older_key(dialect: Dialect) {
    let mut rig = Rig::sealed(dialect);
    let (adopted, secret) = (keys(NEW, &[]), secret(NEW));
    let key = AuditKey::of(&secret);
    let check = portcullis_adapters::keys::SecretFingerprint::of(&secret);
    let random = SeededRandom::new(8);
    Deployment::at(rig.database.url())
        .replace_compromised(check, &key, |time| event(EventKind::SecretAdopted, time, &random))
        .unwrap();
    prepare(&rig.database, &adopted);
    finish(&mut rig.sealer(&adopted, None));
    rig.sealer(&adopted, None).close().unwrap();
    let verify = |rig: &Rig| rig.verify_with(&adopted, None);
    let found = verify(&rig).unwrap();
    assert_eq!((found.adopted_at, found.end.seq, found.head.unwrap().0.seq), (Some(6), 7, 7));
    rig.verify(None).unwrap_err();

    // The old key signs nothing any more that would be looked at,
    let zeros = rig.bytes(&"00".repeat(64));
    rig.execute(&format!("UPDATE audit_heads SET signature = {zeros} WHERE number = 1"));
    verify(&rig).unwrap();
    // and yet what it stood for cannot be changed since.
    rig.execute(&format!("UPDATE security_events SET kind = 'x' WHERE {EVENT_3}"));
    assert!(verify(&rig).unwrap_err().to_string().contains(": edited"));
    rig.execute("DELETE FROM audit_chain");
    rig.execute("DELETE FROM audit_heads WHERE number = 1");
    finish(&mut rig.sealer(&adopted, None));
    let error = verify(&rig).unwrap_err().to_string();
    assert!(error.starts_with("seq 6: rewritten") || error.starts_with("seq 7: rewritten"), "{error}");
    rig.execute(&format!("UPDATE audit_heads SET signature = {zeros} WHERE kind = 'adoption'"));
    let error = verify(&rig).unwrap_err().to_string();
    assert!(error.starts_with("seq 6: bad signature of statement 2"), "{error}");
}

fn one_instance_seals_at_a_time(dialect: Dialect) {
    let mut rig = Rig::sealed(dialect);
    let other = || Sealer::new(Arc::clone(&rig.database), Arc::clone(&rig.keys), Uuid::from_u128(2), None);
    let (mut other, mut late) = (other(), other());
    rig.record(NOW);
    finish(&mut other);
    late.step().unwrap();
    assert_eq!(rig.verify(None).unwrap().unsealed, 1);
    rig.free_the_turn();
    finish(&mut other);
    assert_eq!(rig.verify(None).unwrap().unsealed, 0);
    rig.record(NOW);
    rig.seal();
    assert_eq!(rig.verify(None).unwrap().unsealed, 1, "it is the other's turn now");
    other.close().unwrap();
    let found = rig.verify(None).unwrap();
    assert_eq!((found.head.unwrap().0.seq, found.unsealed), (8, 0), "who closes leaves nothing behind");
    rig.record(NOW);
    rig.seal();
    assert_eq!(rig.verify(None).unwrap().unsealed, 0, "nor keeps the turn");
}

/// Two that take each other for themselves come to no harm: the loser's transaction fails.
fn sealers_that_overlap_do_no_harm(dialect: Dialect) {
    let mut rig = Rig::new(dialect);
    for n in 0..600 {
        rig.record(NOW + Duration::from_millis(n));
    }
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let mut sealer = rig.sealer(&rig.keys, None);
            scope.spawn(move || {
                for _ in 0..50 {
                    // A loser tries again.
                    let _ = sealer.step();
                }
            });
        }
    });
    rig.seal();
    let found = rig.verify(None).unwrap();
    assert_eq!((found.end.seq, found.unsealed), (600, 0));
}

fn what_commits_late_is_sealed_soon_and_what_has_any_id_is_sealed(dialect: Dialect) {
    let mut rig = Rig::new(dialect);
    let population =
        Population { dialect, users: 1, sessions_per_user: 5_000, password_hash: "x".to_owned(), now: NOW };
    rig.execute(&population.insert_sessions(0..population.sessions()));
    let mut sealer = rig.sealer(&rig.keys, None);
    finish(&mut sealer);
    let unsealed = |rig: &Rig| rig.verify(None).unwrap().unsealed;
    assert_eq!(unsealed(&rig), 0);
    let now = rig.database.check().unwrap().time.unwrap().now;
    rig.record(now);
    finish(&mut sealer);
    assert_eq!(unsealed(&rig), 0);

    // Its id was made before those that are sealed, or by a clock that was wrong in either direction.
    for at in [now - Duration::from_secs(100), UnixTime::from_secs(1), now + Duration::from_hours(1_000), now]
    {
        rig.record(at);
        sealer.step().unwrap();
        assert_eq!(unsealed(&rig), 0, "with the next step");
    }

    // As in a database that was restored: no later walk comes by.
    let id = rig.record(now);
    rig.execute(&format!("UPDATE security_events SET recorded_xid = '2' WHERE {}", id_is(dialect, id)));
    sealer.step().unwrap();
    assert_eq!(unsealed(&rig), 1);
    for _ in 0..8 {
        sealer.step().unwrap();
    }
    assert_eq!(unsealed(&rig), 0, "the round does");
}

/// An event of a transaction that stays open while later ones commit and are sealed.
#[test]
fn what_commits_late_is_sealed_with_the_next_step() {
    let mut rig = Rig::sealed(Dialect::Postgres);
    let mut sealer = rig.sealer(&rig.keys, None);
    finish(&mut sealer);
    rig.execute(
        "BEGIN;
         INSERT INTO security_events (id, at, kind) VALUES ('00000000-0000-7000-8000-000000000001', 'epoch', 'x')",
    );
    let database = Arc::clone(&rig.database);
    for n in 0..3 {
        let event = event(EventKind::LoginSucceeded, NOW, &SeededRandom::new(100 + n));
        database.record_event(&event).unwrap();
        sealer.step().unwrap();
    }
    let before = rig.verify(None).unwrap();
    assert_eq!((before.end.seq, before.unsealed), (9, 0));
    rig.execute("COMMIT");
    sealer.step().unwrap();
    let after = rig.verify(None).unwrap();
    assert_eq!((after.end.seq, after.unsealed), (10, 0));
}

fn id_is(dialect: Dialect, id: EventId) -> String {
    match dialect {
        Dialect::Postgres => format!("id = '{}'", id.as_uuid()),
        Dialect::Sqlite => format!("id = x'{}'", id.as_uuid().simple()),
    }
}

/// However many events there are, and however many are sealed, a step finds its rows by an index. (What is old is deleted
/// once a minute, and looked for at the chain's beginning.)
fn a_step_reads_no_whole_table(dialect: Dialect) {
    record_statements().unwrap();
    for sessions in [1_000, 20_000] {
        let mut rig = Rig::new(dialect);
        let population = Population {
            dialect,
            users: 10,
            sessions_per_user: sessions / 10,
            password_hash: "x".to_owned(),
            now: NOW,
        };
        rig.execute(&population.insert_sessions(0..population.sessions()));
        rig.seal();
        let zeros = |length| rig.bytes(&"00".repeat(length));
        let at = if dialect == Dialect::Sqlite { "0" } else { "timestamptz 'epoch'" };
        let heads = format!(
            "INSERT INTO audit_heads (number, kind, seq, hash, at, public_key, signature)
             SELECT seq + 1, 'head', seq, {}, {at}, {}, {} FROM audit_chain WHERE seq < 3000",
            zeros(32),
            zeros(32),
            zeros(64),
        );
        rig.execute(&heads);
        let mut seen = Seen::default();
        let mut sealer = rig.sealer(&rig.keys, None);
        for _ in 0..3 {
            rig.record(NOW);
            let seal = || {
                finish(&mut sealer);
                Ok::<_, StoreError>(())
            };
            seen.during("seal", seal).unwrap();
        }
        let none: [FullRead; 0] = [];
        assert_eq!(full_reads(&seen.0, &mut rig.direct), none);
        rig.record(NOW);
        finish(&mut sealer);
        seen.during("close", || sealer.close()).unwrap();
        let inserts = ["INSERT INTO \"audit_chain\"", "INSERT INTO \"audit_heads\""].map(|insert| {
            let insert =
                if dialect == Dialect::Sqlite { insert.replace('"', "`") } else { insert.to_owned() };
            seen.0.iter().any(|statement| statement.sql.starts_with(&insert))
        });
        assert_eq!(inserts, [true; 2], "that was the test");
        rig.execute("ANALYZE");
        assert_eq!(full_reads(&seen.0, &mut rig.direct), none);
    }
}

/// Whoever logs in waits for nothing that a sealer holds.
#[test]
fn no_login_waits_for_the_chain() {
    let mut rig = Rig::sealed(Dialect::Postgres);
    rig.execute(
        "BEGIN;
         SELECT * FROM deployment FOR UPDATE;
         LOCK TABLE audit_chain, audit_heads IN ACCESS EXCLUSIVE MODE",
    );
    let session = open_session(&rig.database, NOW);
    rig.record(NOW);
    let logged_out = event(EventKind::SessionEnded, NOW, &rig.random);
    assert_eq!(
        rig.database.end_session(session.id, None, logged_out.at, &logged_out).unwrap(),
        EndOutcome::Ended
    );
    let blocked = rig.sealer(&rig.keys, None).step().unwrap_err();
    assert_eq!(blocked.kind(), StoreErrorKind::Unavailable, "that was the test: {blocked:?}");
    rig.execute("ROLLBACK");
    rig.seal();
    assert_eq!(rig.verify(None).unwrap().unsealed, 0);
}

macro_rules! on_both_databases {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            $(#[test] fn $name() { super::$name(super::Dialect::Sqlite); })+
        }
        mod postgres {
            $(#[test] fn $name() { super::$name(super::Dialect::Postgres); })+
        }
    };
}

on_both_databases! {
    nothing_is_wrong_with_what_the_service_does,
    an_edited_column_is_found,
    what_was_deleted_is_found,
    a_changed_hash_is_found,
    exchanged_rows_are_found,
    a_forged_row_is_found,
    a_cut_end_is_found_by_what_was_signed_or_kept,
    a_chain_written_anew_is_found_by_what_was_signed_or_kept,
    a_changed_statement_is_found,
    what_another_secret_signed_is_found,
    old_events_are_deleted_behind_a_signed_checkpoint,
    where_everything_was_old_the_chain_goes_on_from_the_checkpoint,
    an_event_that_is_missing_is_not_forgotten_with_the_old_ones,
    a_replaced_secret_hands_over,
    secrets_may_come_and_go,
    an_adopted_secret_vouches_for_what_it_found_and_no_older_key,
    one_instance_seals_at_a_time,
    sealers_that_overlap_do_no_harm,
    what_commits_late_is_sealed_soon_and_what_has_any_id_is_sealed,
    a_step_reads_no_whole_table,
}
