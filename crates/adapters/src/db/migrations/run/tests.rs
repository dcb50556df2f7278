use std::sync::atomic::{AtomicBool, Ordering};

use diesel::Connection as _;
use diesel::sql_types::BigInt;
use portcullis_testkit::postgres::ThrowawayPostgres;

use super::*;

/// The last migration of the release before the current one.
const RELEASED: &str = "20261124100000";

/// Migrates a new database up to a release, and returns its URL.
fn database_of_a_release() -> String {
    let url = ThrowawayPostgres::shared().create_database();
    let mut connection = PgConnection::establish(&url).unwrap();
    while connection.run_next_migration(POSTGRES).unwrap().to_string() != RELEASED {}
    connection
        .batch_execute(
            "INSERT INTO sessions (id, user_id, generation, opened_at, rotated_at, expires_at, absolute_expires_at)
             SELECT gen_random_uuid(), gen_random_uuid(), 0, now(), now(), now(), now()
               FROM generate_series(1, 1000)",
        )
        .unwrap();
    url
}

fn migrate(url: &str) -> Applied {
    let mut connection = AnyConnection::connect(&DatabaseUrl::parse(url).unwrap()).unwrap();
    let AnyConnection::Postgres(session) = &mut connection else { unreachable!() };
    session.batch_execute("SET statement_timeout TO 0").unwrap();
    run(&DatabaseUrl::parse(url).unwrap(), &mut connection).unwrap()
}

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    number: i64,
}

fn number(connection: &mut PgConnection, sql: &str) -> i64 {
    diesel::sql_query(format!("SELECT ({sql}) AS number")).get_result::<Number>(connection).unwrap().number
}

///
#[test]
fn migration_behind_a_long_read_holds_up_no_other_for_long() {
    let url = &database_of_a_release();
    let mut reader = PgConnection::establish(url).unwrap();
    reader.batch_execute("BEGIN; SELECT count(*) FROM sessions").unwrap();
    let (begun, is_done) = (Instant::now(), AtomicBool::new(false));
    let (applied, slowest, queries) = thread::scope(|scope| {
        let others: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut connection = PgConnection::establish(url).unwrap();
                    let timeout = LOCK_TIMEOUT.as_millis();
                    connection.batch_execute(&format!("SET lock_timeout TO {timeout}")).unwrap();
                    let (mut slowest, mut queries) = (Duration::ZERO, 0);
                    while !is_done.load(Ordering::Relaxed) {
                        let asked = Instant::now();
                        connection
                            .batch_execute("UPDATE sessions SET rotated_at = now() WHERE false")
                            .unwrap();
                        slowest = slowest.max(asked.elapsed());
                        queries += 1;
                        thread::sleep(Duration::from_millis(2));
                    }
                    (slowest, queries)
                })
            })
            .collect();
        let migrating = scope.spawn(|| migrate(url));
        while begun.elapsed() < LONG_READ {
            thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(number(&mut reader, "SELECT count(*) FROM __diesel_schema_migrations"), 4, "it waits");
        reader.batch_execute("COMMIT").unwrap();
        let applied = migrating.join().unwrap();
        is_done.store(true, Ordering::Relaxed);
        let others = others.into_iter().map(|other| other.join().unwrap());
        let (slowest, queries) = others
            .fold((Duration::ZERO, 0), |(slowest, queries), (its, more)| (slowest.max(its), queries + more));
        (applied, slowest, queries)
    });
    assert_eq!(applied.migrations, 4);
    assert!(applied.retries >= 1, "it gave way: {applied:?}");
    assert!(slowest < Duration::from_millis(3_500), "others waited for {slowest:?}");
    assert!(slowest > Duration::from_millis(500) && queries > 100, "{queries} others met it: {slowest:?}");
}

/// Longer than a migration waits, twice.
const LONG_READ: Duration = Duration::from_secs(6);

#[test]
fn half_built_index_is_dropped_and_built_again() {
    let url = database_of_a_release();
    let mut connection = PgConnection::establish(&url).unwrap();
    // The migration before the index; then a unique index over equal values, which fails and stays behind.
    connection.run_next_migration(POSTGRES).unwrap();
    connection.batch_execute("UPDATE sessions SET ended_at = now()").unwrap();
    let failed = connection
        .batch_execute("CREATE UNIQUE INDEX CONCURRENTLY sessions_ended_xid ON sessions (ended_xid)");
    assert!(failed.is_err(), "the values are equal");
    let invalid = "SELECT count(*) FROM pg_index WHERE NOT indisvalid";
    assert_eq!(number(&mut connection, invalid), 1);
    assert_eq!(migrate(&url), Applied { migrations: 3, retries: 0 });
    assert_eq!(number(&mut connection, invalid), 0);
    let built = "SELECT count(*) FROM pg_index WHERE indexrelid = 'sessions_ended_xid'::regclass
                                                  AND indisvalid AND NOT indisunique";
    assert_eq!(number(&mut connection, built), 1);
}

/// An administrator may build the index of a large table ahead of the upgrade.
#[test]
fn index_that_was_built_ahead_is_kept() {
    let url = database_of_a_release();
    let mut connection = PgConnection::establish(&url).unwrap();
    connection.run_next_migration(POSTGRES).unwrap();
    let build = "CREATE INDEX sessions_ended_xid ON sessions (ended_xid) WHERE ended_xid IS NOT NULL";
    connection.batch_execute(build).unwrap();
    let identity = "SELECT 'sessions_ended_xid'::regclass::oid::bigint";
    let before = number(&mut connection, identity);
    assert_eq!(migrate(&url).migrations, 3);
    assert_eq!(number(&mut connection, identity), before);
}

#[test]
fn deadlocks_and_lock_timeouts_are_retried() {
    let said = |text: &str| DatabaseFailure::new(text.to_owned());
    let waited = Some(Blocked::default());
    for text in ["Failed to run x: canceling statement due to lock timeout", "deadlock detected"] {
        assert!(is_lock_wait(&said(text), None, Duration::ZERO), "{text}");
    }
    let german = said("storniere Anfrage wegen Zeitüberschreitung der Sperre");
    assert!(is_lock_wait(&german, waited.as_ref(), DDL_LOCK_TIMEOUT));
    assert!(!is_lock_wait(&german, waited.as_ref(), Duration::from_secs(1)), "it ended too soon");
    assert!(!is_lock_wait(&said("column \"x\" already exists"), None, DDL_LOCK_TIMEOUT));
}

#[test]
fn pauses_spread_between_their_bounds() {
    let pauses: Vec<_> = (0..200).map(|_| pause()).collect();
    assert!(pauses.iter().all(|pause| (SHORTEST_PAUSE..LONGEST_PAUSE).contains(pause)), "{pauses:?}");
    assert!(pauses.iter().any(|pause| *pause < Duration::from_secs(2)), "{pauses:?}");
    assert!(pauses.iter().any(|pause| *pause > Duration::from_secs(4)), "{pauses:?}");
}

#[test]
fn waiting_migration_names_lock_and_holder() {
    let url = database_of_a_release();
    let mut holder = PgConnection::establish(&url).unwrap();
    holder.batch_execute("BEGIN; LOCK TABLE sessions").unwrap();
    let holding = process(&mut holder).unwrap();
    let mut waiter = PgConnection::establish(&url).unwrap();
    let waiting = process(&mut waiter).unwrap();
    let Ok(DatabaseUrl::Postgres(url)) = DatabaseUrl::parse(&url) else { panic!("PostgreSQL") };
    let watched = watch("x", Some((&url, waiting)), || {
        waiter.batch_execute("SET lock_timeout TO 1500; LOCK TABLE sessions IN SHARE MODE")
    });
    assert!(watched.outcome.is_err() && watched.took >= Duration::from_millis(1500));
    let Blocked { waits_for, blocked_by } = watched.blocked.expect("it was seen to wait");
    assert_eq!(waits_for, "ShareLock on sessions");
    let holder = format!("process {holding} (portcullis, idle in transaction, transaction of ");
    assert!(blocked_by.starts_with(&holder), "{blocked_by}");
}
