//! What both databases' tests share.

use std::error::Error as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Nullable, Text};
use portcullis_adapters::audit::{AuditKey, AuditKeys};
use portcullis_adapters::db::{Database, Deployment, MigrationStatus, Migrations, PrepareError};
use portcullis_adapters::keys::SecretFingerprint;
use portcullis_adapters::secret::{Secret, Secrets};
use portcullis_domain::account::{CanonicalName, UserStore};
use portcullis_domain::audit::{AuditLog, EventKind};
use portcullis_domain::id::{SessionId, UserId};
use portcullis_domain::maintenance::PurgeRequest;
use portcullis_domain::ports::{Store, StoreErrorKind, StoreHealth};
use portcullis_domain::session::revocation::{Revocations, SessionStatus};
use portcullis_domain::session::{NewSession, SessionStore};
use portcullis_domain::time::UnixTime;
use portcullis_testkit::SeededRandom;
use portcullis_testkit::contract::{OpenTransaction, RecordedEvent, TestBackend};
use portcullis_testkit::fixtures::{NOW, event, new_session, new_user, opening_events};

use crate::plans::{Direct, Statement, hot_statements, record};
use crate::population::{Dialect, Population};

/// A prepared database that the contract is proved for.
pub(crate) struct DatabaseBackend {
    database: Arc<Database>,
    /// Makes another instance over the same database.
    open: Box<dyn Fn() -> Database + Send + Sync>,
    /// Reads the events past the adapter's own code.
    rows: Box<dyn Fn() -> Vec<EventRow> + Send + Sync>,
}

impl DatabaseBackend {
    pub(crate) fn new(
        open: impl Fn() -> Database + Send + Sync + 'static,
        rows: impl Fn() -> Vec<EventRow> + Send + Sync + 'static,
    ) -> Self {
        let database = open();
        database.prepare(KEY, &[]).unwrap();
        Self { database: Arc::new(database), open: Box::new(open), rows: Box::new(rows) }
    }
}

impl TestBackend for DatabaseBackend {
    fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.database) as _
    }

    fn reopen(&self) -> Option<Arc<dyn Store>> {
        let again = (self.open)();
        again.prepare(KEY, &[]).unwrap();
        Some(Arc::new(again))
    }

    fn recorded(&self) -> Vec<RecordedEvent> {
        (self.rows)().into_iter().map(RecordedEvent::from).collect()
    }

    fn begin_end(&self, session: SessionId, at: UnixTime) -> OpenTransaction {
        let mut connection = Direct::connect(self.database.url()).unwrap();
        let (id, at) = (session.as_uuid(), at.as_micros());
        let (id, at, lets_others_commit) = match connection {
            Direct::Postgres(_) => {
                (format!("'{id}'"), format!("timestamptz 'epoch' + {at} * interval '1us'"), true)
            }
            Direct::Sqlite(_) => (format!("x'{}'", id.simple()), at.to_string(), false),
        };
        let sql = format!("BEGIN; UPDATE sessions SET ended_at = {at} WHERE id = {id}");
        connection.execute(&sql).unwrap();
        OpenTransaction {
            commit: Box::new(move || connection.execute("COMMIT").unwrap()),
            lets_others_commit,
        }
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

/// The fingerprint that tests prepare their databases with.
pub(crate) const KEY: SecretFingerprint = SecretFingerprint::from_bytes([1; 32]);

fn audit_key() -> AuditKey {
    AuditKey::of(&Secret::parse_for_development("adopted").unwrap())
}

/// The key check over its whole life: set by the first instance, moved by a replacement of the secret, and back by the
/// next one.
pub(crate) fn goes_with_its_secret(database: &Database) {
    let [a, b, other] = [1, 2, 3].map(|n| SecretFingerprint::from_bytes([n; 32]));
    let accepts = |current, accepted: &[SecretFingerprint]| database.prepare(current, accepted).unwrap();
    let refuses = |current, accepted: &[SecretFingerprint]| {
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
    other.prepare(SecretFingerprint::from_bytes([2; 32]), &[]).unwrap_err();
    let error = other.find_user_by_name(&CanonicalName::of("alice")).unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
}

/// The command's migration leaves the stores closed, and the secret open.
pub(crate) fn migrates_without_a_secret(database: &Database) {
    Migrations::of(database.url()).run().unwrap();
    assert!(
        Migrations::of(database.url())
            .states()
            .unwrap()
            .iter()
            .all(|state| state.status == MigrationStatus::Applied)
    );
    let error = database.find_user_by_name(&CanonicalName::of("alice")).unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    let error = database.session_changes(None, NOW, 1).unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable, "nor over the connection outside the pool");
    database.prepare(SecretFingerprint::from_bytes([9; 32]), &[]).unwrap();
}

/// A newer version may have migrated the database and said which migration a binary must know.
pub(crate) fn heeds_the_oldest_binary(database: &Database, mut sql: impl FnMut(&str)) {
    let random = SeededRandom::new(1);
    let keys = AuditKeys::of(&Secrets::new(Secret::parse_for_development("current").unwrap(), []));
    let made = |kind, at| event(kind, at, &random);
    database.prepare_with(&keys, made).unwrap();
    let migrations = Migrations::of(database.url());
    sql("INSERT INTO __diesel_schema_migrations (version) VALUES ('20990101000000')");
    database.prepare_with(&keys, made).unwrap();
    database.prepare_to_read(&keys).unwrap();
    migrations.run().unwrap();
    let states = migrations.states().unwrap();
    let unknown = states.last().unwrap();
    assert_eq!((unknown.name.as_str(), unknown.status), ("20990101000000", MigrationStatus::Unknown));
    assert!(
        states.iter().filter(|state| state.status == MigrationStatus::Applied).count() == states.len() - 1
    );

    let newest = migrations.plan().unwrap().newest_known;
    sql(&format!("UPDATE deployment SET oldest_binary = '{newest}'"));
    database.prepare_with(&keys, made).unwrap();
    sql("UPDATE deployment SET oldest_binary = '20990101000000'");
    let refusals = [
        database.prepare_with(&keys, made).map(|_| ()),
        database.prepare_existing(&keys, made).map(|_| ()),
        database.prepare_to_read(&keys),
        Deployment::at(database.url()).check_exists(),
        Deployment::at(database.url()).is_used().map(|_| ()),
        Deployment::at(database.url())
            .replace_compromised(KEY, &audit_key(), |_| event(EventKind::SecretAdopted, NOW, &random)),
        migrations.run(),
    ];
    for refusal in refusals {
        let Err(PrepareError::BinaryTooOld { needed, newest: known }) = refusal else {
            panic!("{refusal:?}");
        };
        assert_eq!((needed.as_str(), known.as_str()), ("20990101000000", newest.as_str()));
    }
    assert_eq!(migrations.states().unwrap(), states, "to list them is no use");
    let plan = migrations.plan().unwrap();
    assert_eq!((plan.oldest_binary.as_str(), plan.unknown.len()), ("20990101000000", 1));
}

/// The database's clock, as both ports tell it.
pub(crate) fn tells_the_time(database: &Database) {
    database.prepare(KEY, &[]).unwrap();
    let time = || database.check().unwrap().time.unwrap();
    let first = time();
    assert!(first.now.as_secs() > 1_700_000_000, "{first:?}");
    assert_eq!(first.high_water_mark, UnixTime::EPOCH, "no mark yet");
    let deadline = Instant::now() + Duration::from_secs(5);
    while time().now <= first.now {
        assert!(Instant::now() < deadline, "it stands still");
    }
    assert!(database.session_changes(None, first.now, 1).unwrap().time.unwrap().now > first.now);
}

/// An end whose transaction stays open while others look for it twice. `sql` runs over a connection of its own,
/// `moment` writes a time as the database does.
pub(crate) fn finds_what_commits_late(
    database: &Database,
    mut sql: impl FnMut(&str),
    moment: impl Fn(UnixTime) -> String,
) {
    database.prepare(KEY, &[]).unwrap();
    let session = open_session(database, NOW);
    let revocations = Revocations::default();
    let look = |seconds| {
        let (at, uptime) = (NOW + Duration::from_secs(seconds), Duration::from_secs(seconds));
        let look = revocations.begin(at, uptime).unwrap();
        revocations
            .merge(&look, database.session_changes(look.after(), look.since(), revocations.most()).unwrap());
        revocations.status(session.id, session.opened_at, uptime)
    };
    assert_eq!(look(1), SessionStatus::Live);
    sql("BEGIN");
    sql(&format!("UPDATE sessions SET ended_at = {}", moment(NOW + Duration::from_secs(2))));
    assert_eq!([look(3), look(4)], [SessionStatus::Live; 2]);
    sql("COMMIT");
    assert_eq!(look(5), SessionStatus::Ended);
}

/// A database with one pooled connection, which waits for a lock that `sql` takes over a connection of its own.
pub(crate) fn looks_past_an_exhausted_pool(
    database: &Database,
    mut sql: impl FnMut(&str),
    lock: &str,
    wait: impl FnOnce(&Database) + Send,
) {
    database.prepare(KEY, &[]).unwrap();
    let session = open_session(database, NOW);
    let is_exhausted = || database.find_session(session.id, NOW).is_err();
    sql(lock);
    std::thread::scope(|scope| {
        scope.spawn(|| wait(database));
        let deadline = Instant::now() + Duration::from_secs(2);
        while !is_exhausted() {
            assert!(Instant::now() < deadline, "nobody waits for the lock");
        }
        for _ in 0..3 {
            let asked = Instant::now();
            assert!(database.session_changes(None, NOW, 10).unwrap().ended.is_empty());
            assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
        }
        assert!(is_exhausted(), "that was the test");
        sql("ROLLBACK");
    });
    assert!(!is_exhausted());
}

/// An instance sees that its secret was replaced by one it does not accept, and none that it does.
pub(crate) fn notices_another_secret(running: &Database, other: &Database) {
    let [old, new, third] = [1, 2, 3].map(|n| SecretFingerprint::from_bytes([n; 32]));
    running.prepare(old, &[new]).unwrap();
    let works =
        || (running.session_changes(None, NOW, 1).is_ok(), running.check().is_ok(), !running.is_foreign());
    assert_eq!(works(), (true, true, true));
    other.prepare(new, &[old]).unwrap();
    assert_eq!(works(), (true, true, true), "it accepts the new one");

    other.prepare(third, &[new]).unwrap();
    assert!(running.check().is_ok(), "before the next look");
    let error = running.session_changes(None, NOW, 1).unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    assert_eq!(error.source().unwrap().to_string(), "the secret of the database was replaced");
    assert_eq!(works(), (false, false, false));
    let failed =
        running.record_event(&event(EventKind::UserRegistered, NOW, &SeededRandom::new(3))).unwrap_err();
    assert_eq!(failed.kind(), StoreErrorKind::Unavailable);
    running.prepare(new, &[old]).unwrap_err();
    assert!(running.is_foreign());
}

/// Adopting a secret in the middle of a planned replacement shuts out every instance that runs, whatever it has and
/// accepts, and the old secrets for good.
pub(crate) fn shuts_out_all_but_the_adopted_secret(instances: [&Database; 4]) {
    let [older, old, new, third, next] = [1, 2, 3, 4, 5].map(|n| SecretFingerprint::from_bytes([n; 32]));
    let [step_one, step_two, done, commands] = instances;
    let random = SeededRandom::new(3);
    let key = audit_key();
    let adopt = |secret| {
        Deployment::at(commands.url())
            .replace_compromised(secret, &key, |time| event(EventKind::SecretAdopted, time, &random))
    };
    let refuses = |current, accepted: &[SecretFingerprint]| {
        let result = done.prepare(current, accepted);
        assert!(matches!(result, Err(PrepareError::RefusedSecret)), "{result:?}");
    };
    let does_not_accept = |current, accepted: &[SecretFingerprint]| {
        let result = done.prepare(current, accepted);
        assert!(matches!(result, Err(PrepareError::RefusedAcceptedSecret)), "{result:?}");
    };
    let absent = adopt(older).unwrap_err();
    assert!(matches!(absent, PrepareError::Absent(_)), "an empty database is not created: {absent}");
    Migrations::of(commands.url()).run().unwrap();
    adopt(older).unwrap();
    done.prepare(older, &[]).unwrap();
    step_one.prepare(old, &[older]).unwrap();
    step_one.prepare(old, &[new]).unwrap();
    step_two.prepare(new, &[old]).unwrap();
    done.prepare(new, &[]).unwrap();

    adopt(new).unwrap();
    for running in [step_one, step_two, done] {
        running.session_changes(None, NOW, 1).unwrap_err();
        assert!(running.is_foreign());
    }
    for gone in [older, old] {
        refuses(gone, &[]);
        refuses(gone, &[new]);
        does_not_accept(new, &[gone]);
        does_not_accept(third, &[new, gone]);
    }
    done.prepare(new, &[]).unwrap();
    let result = adopt(old);
    assert!(matches!(result, Err(PrepareError::RefusedSecret)), "{result:?}");
    done.session_changes(None, NOW, 1).unwrap();

    // A planned replacement goes on as ever, by a secret that was not refused.
    step_one.prepare(new, &[third]).unwrap();
    step_two.prepare(third, &[new]).unwrap();
    done.prepare(third, &[]).unwrap();
    for running in [step_one, step_two, done] {
        running.session_changes(None, NOW, 1).unwrap();
    }

    // One that was only ever accepted is as well known.
    step_two.prepare(third, &[next]).unwrap();
    adopt(third).unwrap();
    refuses(next, &[third]);
    refuses(new, &[third]);
    done.prepare(third, &[]).unwrap();
}

/// Adopting a secret ends what was opened before and nothing that comes after.
pub(crate) fn adopts_another_secret(database: &Database) {
    let random = SeededRandom::new(3);
    let (adopted, key) = (SecretFingerprint::from_bytes([2; 32]), audit_key());
    let adopt = || {
        let mut told = UnixTime::EPOCH;
        let event = |time| {
            told = time;
            event(EventKind::SecretAdopted, time, &random)
        };
        Deployment::at(database.url()).replace_compromised(adopted, &key, event).map(|()| told)
    };
    let time = || database.check().unwrap().time.unwrap();

    database.prepare(KEY, &[]).unwrap();
    let old = open_session(database, time().now.max(time().high_water_mark));
    assert!(database.find_session(old.id, old.opened_at).unwrap().is_some());

    // All or nothing: this event is there already.
    let known = event(EventKind::SecretAdopted, NOW, &random);
    database.record_event(&known).unwrap();
    Deployment::at(database.url()).replace_compromised(adopted, &key, |_| known).unwrap_err();
    assert!(database.find_session(old.id, old.opened_at).unwrap().is_some());
    database.prepare(KEY, &[]).unwrap();

    // The newest mark may lie ahead of the database's clock.
    let ahead = time().now + Duration::from_hours(1);
    let request = PurgeRequest {
        instance: SessionId::new(NOW, &random).as_uuid(),
        now: ahead,
        turn: Duration::ZERO,
        over_before: UnixTime::EPOCH,
        after: None,
        batch: 1,
    };
    database.purge_sessions(&request).unwrap();
    assert_eq!(adopt().unwrap(), ahead);
    database.prepare(adopted, &[]).unwrap();
    let news = database.session_changes(None, ahead, 10).unwrap();
    assert_eq!(news.valid_from, ahead.next_second());
    assert_eq!(
        news.time.unwrap().high_water_mark,
        news.valid_from,
        "so that clocks show no time before the floor"
    );
    assert!(database.find_session(old.id, old.opened_at).unwrap().is_none());
    let new = open_session(database, news.valid_from);
    assert!(database.find_session(new.id, new.opened_at).unwrap().is_some());
}

/// Every statement finds its rows by an index, with statistics of the tables and without, and where an index is missing
/// that shows.
pub(crate) fn reads_no_whole_table(database: &Database, users: u64) {
    record().unwrap();
    database.prepare(KEY, &[]).unwrap();
    let mut direct = Direct::connect(database.url()).unwrap();
    let population = Population {
        dialect: Dialect::of(database.url()),
        users,
        sessions_per_user: 1,
        password_hash: "plain:0:x".to_owned(),
        now: NOW,
    };
    direct.execute(&population.insert_users(0..population.users)).unwrap();
    direct.execute(&population.insert_sessions(0..population.sessions())).unwrap();
    direct.execute(&population.insert_counters(0..population.users)).unwrap();
    let statements = hot_statements(database, &population).unwrap();
    let none: [FullRead; 0] = [];
    assert_eq!(full_reads(&statements, &mut direct), none);
    direct.execute("ANALYZE").unwrap();
    assert_eq!(full_reads(&statements, &mut direct), none);

    let mut calls_without = |index| -> Vec<_> {
        direct.execute(&format!("DROP INDEX {index}")).unwrap();
        full_reads(&statements, &mut direct).into_iter().map(|(call, _)| call).collect()
    };
    assert_eq!(calls_without("attempt_counters_next_at"), ["forget attempts"]);
    assert_eq!(calls_without("attempt_counters_known_until"), ["forget attempts"; 2]);
    assert_eq!(
        calls_without("sessions_ended_at"),
        ["forget attempts", "forget attempts", "load session changes"]
    );
    let both = ["forget attempts", "forget attempts", "load session changes", "poll session changes"];
    assert_eq!(calls_without("sessions_ended_xid"), both);
    let by_user = [
        "open session",
        "forget attempts",
        "forget attempts",
        "list sessions",
        "end sessions",
        "load session changes",
        "poll session changes",
    ];
    assert_eq!(calls_without("sessions_user_id"), by_user);
}

/// How many users: a plan that is made on a wrong guess may be right by luck at one size.
pub(crate) const SIZES: [u64; 2] = [1_000, 20_000];

/// A call, and the lines of its plan that read everything.
pub(crate) type FullRead = (&'static str, Vec<String>);

pub(crate) fn full_reads(statements: &[Statement], direct: &mut Direct) -> Vec<FullRead> {
    let mut found = Vec::new();
    for Statement { call, sql } in statements {
        let plan = direct.explain(sql).unwrap();
        let lines = direct.reads_in_full(&plan);
        if !lines.is_empty() {
            found.push((*call, lines.into_iter().map(str::to_owned).collect()));
        }
    }
    found
}

/// A session of a new user.
pub(crate) fn open_session(database: &Database, at: UnixTime) -> NewSession {
    let random = SeededRandom::new(u64::try_from(at.as_micros()).unwrap());
    let user = new_user(&UserId::new(at, &random).to_string(), &random);
    database.insert_user(&user, &event(EventKind::UserRegistered, at, &random)).unwrap();
    let session = new_session(user.id, at, &random);
    let opened = database.open_session(&session, &opening_events(&session, &random)).unwrap();
    assert!(opened.ended.is_empty());
    session
}
