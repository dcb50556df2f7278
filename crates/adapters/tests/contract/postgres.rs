//! PostgreSQL honours the contract: a database of its own for every test.

use std::sync::Arc;
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use diesel::{Connection, PgConnection, RunQueryDsl};
use portcullis_adapters::db::{Database, DatabaseUrl, PoolConfig, PrepareError};
use portcullis_domain::ports::{SessionStore, StoreErrorKind, StoreHealth, UserStore};
use portcullis_domain::time::UnixTime;
use portcullis_domain::username::CanonicalName;
use portcullis_testkit::contract::Stores;
use portcullis_testkit::fixtures::NOW;
use portcullis_testkit::postgres::ThrowawayPostgres;

use crate::schedules::all_sessions;
use crate::stores::{EventRow, KEY, stores_over};

portcullis_testkit::store_contract!(stores);

/// Fresh stores.
fn stores() -> Stores {
    let url = ThrowawayPostgres::shared().create_database();
    let database = Arc::new(database(&url));
    database.prepare(KEY, &[]).unwrap();
    stores_over(&database, move || {
        let mut connection = PgConnection::establish(&url).unwrap();
        diesel::sql_query(
            "SELECT kind, detail, (extract(epoch FROM at) * 1000000)::bigint AS at,
                    replace(user_id::text, '-', '') AS user_id, replace(session_id::text, '-', '') AS session_id,
                    address, agent
               FROM security_events ORDER BY id",
        )
        .load::<EventRow>(&mut connection)
        .unwrap()
    })
}

fn database(url: &str) -> Database {
    // Wide enough that 32 racers race in the database, not for connections.
    let config = PoolConfig { size: 24, ..PoolConfig::default() };
    Database::new(DatabaseUrl::parse(url).unwrap(), config)
}

#[test]
fn many_may_prepare_one_empty_database_at_once() {
    let url = ThrowawayPostgres::shared().create_database();
    std::thread::scope(|scope| {
        for handle in (0..8).map(|_| scope.spawn(|| database(&url).prepare(KEY, &[]))).collect::<Vec<_>>() {
            handle.join().unwrap().unwrap();
        }
    });
    let states = database(&url).migrations().unwrap();
    assert!(!states.is_empty() && states.iter().all(|state| state.applied), "{states:?}");
}

#[test]
fn a_database_goes_with_its_secret() {
    crate::stores::goes_with_its_secret(&database(&ThrowawayPostgres::shared().create_database()));
}

#[test]
fn a_database_stays_closed_to_another_secret() {
    let url = ThrowawayPostgres::shared().create_database();
    crate::stores::stays_closed_to_another_secret(&database(&url), &database(&url));
}

#[test]
fn migrating_needs_no_secret_and_opens_no_store() {
    crate::stores::migrates_without_a_secret(&database(&ThrowawayPostgres::shared().create_database()));
}

#[test]
fn asking_for_the_migrations_makes_no_table() {
    let server = ThrowawayPostgres::shared();
    let url = server.create_database();
    let states = database(&url).migrations().unwrap();
    assert!(!states.is_empty() && states.iter().all(|state| !state.applied), "{states:?}");
    let tables =
        server.execute(&url, "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace");
    assert!(tables.is_empty(), "{tables:?}");
}

// ASVS 13.2.2
#[test]
fn a_role_that_may_not_change_the_schema_can_serve() {
    let server = ThrowawayPostgres::shared();
    let url = server.create_database();
    database(&url).migrate().unwrap();
    server.execute(
        &url,
        "CREATE ROLE clerk LOGIN;
         REVOKE CREATE ON SCHEMA public FROM PUBLIC;
         GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO clerk",
    );
    let clerk = database(&url.replace("user=portcullis", "user=clerk"));
    clerk.prepare(KEY, &[]).unwrap();
    assert!(clerk.check().unwrap().migrated);
    assert!(clerk.migrations().unwrap().iter().all(|state| state.applied));
}

#[test]
fn a_database_that_cannot_hold_every_name_is_refused() {
    let server = ThrowawayPostgres::shared();
    let url = server.create_database();
    let name = url.trim_start_matches("postgres:///").split('?').next().unwrap();
    let latin = format!("{name}_latin");
    server.execute(
        "postgres",
        &format!("CREATE DATABASE {latin} OWNER portcullis ENCODING 'LATIN1' TEMPLATE template0"),
    );
    let error = database(&url.replace(name, &latin)).prepare(KEY, &[]).unwrap_err();
    assert!(matches!(&error, PrepareError::Encoding(encoding) if encoding == "LATIN1"), "{error}");
}

// ASVS 16.5.2
#[test]
fn a_server_that_comes_back_is_used_again() {
    let server = ThrowawayPostgres::start();
    let database = database(&server.create_database());
    database.prepare(KEY, &[]).unwrap();
    let find = || database.find_by_name(&CanonicalName::of("alice"));
    assert!(find().unwrap().is_none());

    server.crash();
    let asked = Instant::now();
    assert_eq!(find().unwrap_err().kind(), StoreErrorKind::Unavailable);
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    let unreachable = database.prepare(KEY, &[]).unwrap_err();
    assert!(matches!(unreachable, PrepareError::Unreachable(_)), "{unreachable}");

    server.restart();
    let deadline = Instant::now() + Duration::from_secs(5);
    while let Err(error) = find() {
        assert_eq!(error.kind(), StoreErrorKind::Unavailable);
        assert!(Instant::now() < deadline, "not healed within five seconds: {error:?}");
    }
}

// ASVS 13.2.6
#[test]
fn an_exhausted_pool_answers_in_time() {
    let url = ThrowawayPostgres::shared().create_database();
    let config =
        PoolConfig { size: 1, checkout_timeout: Duration::from_millis(100), ..PoolConfig::default() };
    let database = Database::new(DatabaseUrl::parse(&url).unwrap(), config);
    database.prepare(KEY, &[]).unwrap();
    // Another session holds the table, so the pool's one connection waits for it.
    let mut holder = PgConnection::establish(&url).unwrap();
    diesel::sql_query("BEGIN").execute(&mut holder).unwrap();
    diesel::sql_query("LOCK TABLE users IN ACCESS EXCLUSIVE MODE").execute(&mut holder).unwrap();
    std::thread::scope(|scope| {
        let results: Vec<_> = (0..3)
            .map(|_| scope.spawn(|| database.find_by_name(&CanonicalName::of("alice"))))
            .collect::<Vec<_>>()
            .into_iter()
            .map(|handle| handle.join().unwrap().unwrap_err().kind())
            .collect();
        assert_eq!(
            results,
            [StoreErrorKind::Unavailable; 3],
            "two for want of a connection, one for its lock"
        );
    });
    diesel::sql_query("ROLLBACK").execute(&mut holder).unwrap();
    assert!(database.find_by_name(&CanonicalName::of("alice")).unwrap().is_none());
}

#[test]
fn the_server_tells_the_time() {
    crate::stores::tells_the_time(&database(&ThrowawayPostgres::shared().create_database()));
}

/// Other tests put a clock of their own before the server's.
#[test]
fn the_time_is_that_of_the_clock_found_first() {
    let server = ThrowawayPostgres::shared();
    let url = server.create_database();
    let database = database(&format!("{url}&options=-csearch_path%3Dother,pg_catalog,public"));
    server.execute(
        &url,
        "CREATE SCHEMA other;
         GRANT USAGE ON SCHEMA other TO PUBLIC;
         CREATE FUNCTION other.clock_timestamp() RETURNS timestamptz LANGUAGE sql
             RETURN timestamptz '2027-01-15T08:00:00.123456Z'",
    );
    server.execute(&url, "GRANT CREATE ON SCHEMA other TO PUBLIC");
    database.prepare(KEY, &[]).unwrap();
    assert_eq!(database.check().unwrap().time.unwrap().now, NOW);
    assert_eq!(database.news(NOW, 1).unwrap().time.unwrap().now, NOW);
}

#[test]
fn another_secret_is_noticed() {
    let url = ThrowawayPostgres::shared().create_database();
    crate::stores::notices_another_secret(&database(&url), &database(&url));
}

#[test]
fn another_secret_can_be_adopted() {
    crate::stores::adopts_another_secret(&database(&ThrowawayPostgres::shared().create_database()));
}

#[test]
fn a_refused_secret_never_comes_back() {
    let url = ThrowawayPostgres::shared().create_database();
    let instances = [(); 4].map(|()| database(&url));
    crate::stores::shuts_out_all_but_the_adopted_secret(instances.each_ref());
}

#[test]
fn an_end_that_commits_after_two_looks_is_found_by_the_third() {
    let url = ThrowawayPostgres::shared().create_database();
    let mut other = PgConnection::establish(&url).unwrap();
    let moment = |time: UnixTime| format!("timestamptz 'epoch' + {} * interval '1us'", time.as_micros());
    crate::stores::finds_what_commits_late(&database(&url), |sql| other.batch_execute(sql).unwrap(), moment);
}

#[test]
fn news_needs_no_connection_of_the_pool() {
    let url = ThrowawayPostgres::shared().create_database();
    let config = PoolConfig { size: 1, checkout_timeout: Duration::from_millis(50), ..PoolConfig::default() };
    let database = Database::new(DatabaseUrl::parse(&url).unwrap(), config);
    let mut other = PgConnection::establish(&url).unwrap();
    let sql = |sql: &str| other.batch_execute(sql).unwrap();
    let lock = "BEGIN; LOCK TABLE users IN ACCESS EXCLUSIVE MODE";
    crate::stores::looks_past_an_exhausted_pool(&database, sql, lock, |database| {
        assert!(database.find_by_name(&CanonicalName::of("alice")).unwrap().is_none());
    });
}

/// The look at the others' doings goes over a connection of its own, which heals like those of the pool.
#[test]
fn news_comes_again_when_the_server_does() {
    let server = ThrowawayPostgres::start();
    let database = database(&server.create_database());
    database.prepare(KEY, &[]).unwrap();
    let news = || database.news(NOW, 1);
    news().unwrap();
    server.crash();
    for _ in 0..2 {
        assert_eq!(news().unwrap_err().kind(), StoreErrorKind::Unavailable);
    }
    server.restart();
    news().unwrap();
    assert!(!database.is_foreign());
}

#[test]
fn no_hot_statement_reads_a_whole_table() {
    for users in crate::stores::SIZES {
        crate::stores::reads_no_whole_table(&database(&ThrowawayPostgres::shared().create_database()), users);
    }
}

#[test]
fn random_schedules_of_two_instances_keep_every_promise() {
    let url = ThrowawayPostgres::shared().create_database();
    let instances = [database(&url), database(&url)];
    for instance in &instances {
        instance.prepare(KEY, &[]).unwrap();
    }
    crate::schedules::keep_every_promise(instances.each_ref(), || {
        let mut connection = PgConnection::establish(&url).unwrap();
        diesel::sql_query(all_sessions("replace(id::text, '-', '')")).load(&mut connection).unwrap()
    });
}
