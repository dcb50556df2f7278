//! PostgreSQL honours the contract: a database of its own for every test.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use diesel::{Connection, PgConnection, RunQueryDsl};
use portcullis_adapters::db::{
    Database, DatabaseUrl, FailureCause, MigrationStatus, Migrations, PoolConfig, PrepareError,
};
use portcullis_adapters::keys::SecretFingerprint;
use portcullis_domain::account::{CanonicalName, UserStore};
use portcullis_domain::audit::{AuditLog, EventKind};
use portcullis_domain::ports::{StoreError, StoreErrorKind, StoreHealth};
use portcullis_domain::session::SessionStore;
use portcullis_domain::time::UnixTime;
use portcullis_testkit::SeededRandom;
use portcullis_testkit::contract::TestedStore;
use portcullis_testkit::fixtures::{NOW, event, new_user};
use portcullis_testkit::postgres::{PgBouncer, ThrowawayPostgres};

use crate::schedules::all_sessions;
use crate::stores::{DatabaseBackend, EventRow, KEY};

portcullis_testkit::store_contract!(backend);

/// An empty database.
fn backend() -> DatabaseBackend {
    let url = ThrowawayPostgres::shared().create_database();
    let open = {
        let url = url.clone();
        move || database(&url)
    };
    DatabaseBackend::new(open, move || {
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
    let states = Migrations::of(database(&url).url()).states().unwrap();
    assert!(
        !states.is_empty() && states.iter().all(|state| state.status == MigrationStatus::Applied),
        "{states:?}"
    );
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

///
#[test]
fn older_binary_than_the_database_needs_is_refused() {
    let url = ThrowawayPostgres::shared().create_database();
    let mut other = PgConnection::establish(&url).unwrap();
    crate::stores::heeds_the_oldest_binary(&database(&url), |sql| other.batch_execute(sql).unwrap());
}

/// The lock of the instance that prepares the database. It is a session's, and a pooler may keep that.
#[test]
fn start_that_changes_nothing_waits_for_no_lock() {
    let url = ThrowawayPostgres::shared().create_database();
    database(&url).prepare(KEY, &[]).unwrap();
    let mut holder = PgConnection::establish(&url).unwrap();
    holder.batch_execute("SELECT pg_advisory_lock(x'706f727463756c6c'::bigint)").unwrap();
    let begun = Instant::now();
    let instance = database(&url);
    instance.prepare(KEY, &[]).unwrap();
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert!(instance.find_user_by_name(&CanonicalName::of("alice")).unwrap().is_none());

    // Nor do the checks of a session fall away.
    let (server, name) = (ThrowawayPostgres::shared(), ThrowawayPostgres::database_name(&url));
    server.execute(&url, &format!("ALTER DATABASE {name} SET session_replication_role TO replica"));
    let error = database(&url).prepare(KEY, &[]).unwrap_err();
    assert!(error.to_string().contains("session_replication_role is replica"), "{error}");
    server.execute(&url, &format!("ALTER DATABASE {name} RESET session_replication_role"));

    // A secret that is new to the database is stored under the lock.
    let other = SecretFingerprint::from_bytes([2; 32]);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| database(&url).prepare(KEY, &[other]));
        let asks = "SELECT count(*) FROM pg_stat_activity
                     WHERE datname = current_database() AND query LIKE '%pg_try_advisory_lock%'
                       AND pid <> pg_backend_pid()";
        let deadline = Instant::now() + Duration::from_secs(30);
        let server = ThrowawayPostgres::shared();
        while server.execute(&url, asks)[0][0].as_deref() == Some("0") {
            assert!(Instant::now() < deadline, "it asks for the lock");
        }
        assert!(!waiting.is_finished());
        holder.batch_execute("SELECT pg_advisory_unlock_all()").unwrap();
        waiting.join().unwrap().unwrap();
    });
}

#[test]
fn migrating_needs_no_secret_and_opens_no_store() {
    crate::stores::migrates_without_a_secret(&database(&ThrowawayPostgres::shared().create_database()));
}

#[test]
fn asking_for_the_migrations_makes_no_table() {
    let server = ThrowawayPostgres::shared();
    let url = server.create_database();
    let states = Migrations::of(database(&url).url()).states().unwrap();
    assert!(
        !states.is_empty() && states.iter().all(|state| state.status == MigrationStatus::Pending),
        "{states:?}"
    );
    let tables =
        server.execute(&url, "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace");
    assert!(tables.is_empty(), "{tables:?}");
}

// ASVS 13.2.2
#[test]
fn a_role_that_may_not_change_the_schema_can_serve() {
    let server = ThrowawayPostgres::shared();
    let url = server.create_database();
    Migrations::of(database(&url).url()).run().unwrap();
    server.execute(
        &url,
        "CREATE ROLE clerk LOGIN;
         REVOKE CREATE ON SCHEMA public FROM PUBLIC;
         GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO clerk",
    );
    let clerk = database(&url.replace("user=portcullis", "user=clerk"));
    clerk.prepare(KEY, &[]).unwrap();
    assert!(clerk.check().unwrap().migrated);
    assert!(
        Migrations::of(clerk.url())
            .states()
            .unwrap()
            .iter()
            .all(|state| state.status == MigrationStatus::Applied)
    );
}

#[test]
fn a_database_that_cannot_hold_every_name_is_refused() {
    let server = ThrowawayPostgres::shared();
    let url = server.create_database();
    let name = ThrowawayPostgres::database_name(&url);
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
    let find = || database.find_user_by_name(&CanonicalName::of("alice"));
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
            .map(|_| scope.spawn(|| database.find_user_by_name(&CanonicalName::of("alice"))))
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
    assert!(database.find_user_by_name(&CanonicalName::of("alice")).unwrap().is_none());
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
    assert_eq!(database.session_changes(None, NOW, 1).unwrap().time.unwrap().now, NOW);
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
        assert!(database.find_user_by_name(&CanonicalName::of("alice")).unwrap().is_none());
    });
}

/// The look at the others' doings goes over a connection of its own, which heals like those of the pool.
#[test]
fn news_comes_again_when_the_server_does() {
    let server = ThrowawayPostgres::start();
    let database = database(&server.create_database());
    database.prepare(KEY, &[]).unwrap();
    let news = || database.session_changes(None, NOW, 1);
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

/// A URL whose sessions find `current_setting` of a test before the server's own.
fn with_settings_of_a_test(server: &ThrowawayPostgres, url: &str, name: &str, value: &str) -> String {
    server.execute(
        url,
        &format!(
            "CREATE SCHEMA other;
             GRANT USAGE, CREATE ON SCHEMA other TO PUBLIC;
             CREATE FUNCTION other.current_setting(asked text) RETURNS text LANGUAGE sql RETURN
                 CASE asked WHEN '{name}' THEN '{value}' ELSE pg_catalog.current_setting(asked) END"
        ),
    );
    format!("{url}&options=-csearch_path%3Dother,pg_catalog,public")
}

#[test]
fn an_old_server_is_refused_by_its_version() {
    let server = ThrowawayPostgres::shared();
    let url = server.create_database();
    let old = database(&with_settings_of_a_test(server, &url, "server_version_num", "130012"));
    for error in [
        old.prepare(KEY, &[]).unwrap_err(),
        Migrations::of(old.url()).run().unwrap_err(),
        Migrations::of(old.url()).states().unwrap_err(),
    ] {
        assert!(matches!(error, PrepareError::TooOld(130_012)), "{error}");
        assert_eq!(error.to_string(), "the server is PostgreSQL 13: version 14 or later is needed");
    }
}

#[test]
fn a_pooler_in_session_mode_is_used() {
    let server = ThrowawayPostgres::shared();
    let url = server.create_database();
    let bouncer = PgBouncer::start(server, "session", 8);
    let config = PoolConfig { size: 2, ..PoolConfig::default() };
    let instances = [(); 2].map(|()| Database::new(DatabaseUrl::parse(&bouncer.url(&url)).unwrap(), config));
    for instance in &instances {
        instance.prepare(KEY, &[]).unwrap();
        instance.session_changes(None, NOW, 1).unwrap();
        instance.check_writes().unwrap();
        assert!(!instance.is_pooled());
    }
}

#[test]
fn pooler_in_session_mode_without_reset_query_is_used() {
    let server = ThrowawayPostgres::shared();
    let url = server.create_database();
    let bouncer = PgBouncer::start(server, "session\nserver_reset_query =", 12);
    let config = PoolConfig { size: 2, ..PoolConfig::default() };
    for _ in 0..3 {
        let instance = Database::new(DatabaseUrl::parse(&bouncer.url(&url)).unwrap(), config);
        instance.prepare(KEY, &[]).unwrap();
        // What the pooler keeps would stop the preparation of other instances.
        let locks = server.execute(&url, ADVISORY_LOCKS);
        assert_eq!(locks[0][0].as_deref(), Some("0"));
        instance.session_changes(None, NOW, 1).unwrap();
        instance.check_writes().unwrap();
    }
}

#[test]
fn a_pooler_that_shares_server_processes_is_refused() {
    let server = ThrowawayPostgres::shared();
    for (mode, size) in [("transaction", 8), ("transaction", 1), ("statement", 8)] {
        let url = server.create_database();
        let bouncer = PgBouncer::start(server, mode, size);
        let database = database(&bouncer.url(&url));
        for error in [
            database.prepare(KEY, &[]).unwrap_err(),
            Migrations::of(database.url()).run().unwrap_err(),
            Migrations::of(database.url()).states().unwrap_err(),
        ] {
            assert!(matches!(error, PrepareError::Pooler), "{mode}: {error}");
        }
        // The session state that the pooler's connections keep for its next client.
        let left = |sql: &str| server.execute(&url, sql)[0][0].clone().unwrap();
        assert_eq!(left(ADVISORY_LOCKS), "0", "{mode}");
        let mut next = PgConnection::establish(&bouncer.url(&url)).unwrap();
        for (setting, expected) in
            [("lock_timeout", "0"), ("statement_timeout", "0"), ("bytea_output", "hex")]
        {
            let query = format!("SELECT current_setting('{setting}') AS value");
            let Value { value } = diesel::sql_query(query).get_result(&mut next).unwrap();
            assert_eq!(value, expected, "{mode}: {setting}");
        }
    }
}

/// Other tests prepare other databases of the same server meanwhile.
const ADVISORY_LOCKS: &str = "
    SELECT count(*) FROM pg_locks
      JOIN pg_database ON pg_database.oid = pg_locks.database AND datname = current_database()
     WHERE locktype = 'advisory'
";

#[derive(diesel::QueryableByName)]
struct Value {
    #[diesel(sql_type = diesel::sql_types::Text)]
    value: String,
}

#[test]
fn a_pooler_put_before_the_database_later_is_noticed() {
    let server = ThrowawayPostgres::shared();
    let url = server.create_database();
    let bouncer = PgBouncer::start(server, "session", 8);
    let config = PoolConfig { size: 2, ..PoolConfig::default() };
    let database = Database::new(DatabaseUrl::parse(&bouncer.url(&url)).unwrap(), config);
    database.prepare(KEY, &[]).unwrap();
    database.session_changes(None, NOW, 1).unwrap();
    bouncer.change_mode("transaction", 8);
    let deadline = Instant::now() + Duration::from_secs(20);
    while !database.is_pooled() {
        assert!(Instant::now() < deadline, "the pooler is not noticed");
        let _ = database.check();
        let _ = database.session_changes(None, NOW, 1);
        let _ = database.check_writes();
        let _ = database.find_user_by_name(&CanonicalName::of("alice"));
    }
    let error = database.find_user_by_name(&CanonicalName::of("alice")).unwrap_err();
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("pooler"), "{error:?}");
}

/// Prepared, with the settings of the database that a test changes.
fn prepared() -> (&'static ThrowawayPostgres, String, String, Database) {
    let server = ThrowawayPostgres::shared();
    let url = server.create_database();
    let name = ThrowawayPostgres::database_name(&url).to_owned();
    let database = database(&url);
    database.prepare(KEY, &[]).unwrap();
    (server, url, name, database)
}

fn reason(error: &StoreError) -> String {
    std::error::Error::source(error).unwrap().to_string()
}

#[test]
fn a_read_only_database_fails_the_check_of_changes() {
    let (server, url, name, database) = prepared();
    database.check_writes().unwrap();
    server.execute(&url, &format!("ALTER DATABASE {name} SET default_transaction_read_only = on"));
    let end = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
                WHERE datname = current_database() AND pid <> pg_backend_pid()";
    server.execute(&url, end);
    wait_until_check(&database, |checked| checked.is_err_and(|error| reason(&error).contains("read-only")));
    // These are opened while the database is read-only, and stay so.
    race(8, || assert!(database.find_user_by_name(&CanonicalName::of("alice")).unwrap().is_none()));

    server.execute("postgres", &format!("ALTER DATABASE {name} RESET default_transaction_read_only"));
    wait_until_check(&database, |checked| checked.is_ok());
    let random = SeededRandom::new(1);
    let events: Vec<_> = (0..32).map(|_| event(EventKind::UserRegistered, NOW, &random)).collect();
    std::thread::scope(|scope| {
        let writes: Vec<_> =
            events.iter().map(|event| scope.spawn(|| database.record_event(event))).collect();
        for write in writes {
            write.join().unwrap().expect("no request meets a connection from before");
        }
    });
}

#[test]
fn a_connection_that_may_only_read_is_replaced_without_an_error() {
    let (server, url, name, database) = prepared();
    server.execute(&url, &format!("ALTER DATABASE {name} SET default_transaction_read_only = on"));
    race(8, || assert!(database.find_user_by_name(&CanonicalName::of("alice")).unwrap().is_none()));
    server.execute("postgres", &format!("ALTER DATABASE {name} RESET default_transaction_read_only"));
    let random = SeededRandom::new(1);
    for n in 0..16 {
        database.record_event(&event(EventKind::UserRegistered, NOW, &random)).unwrap();
        let user = new_user(&format!("user{n}"), &random);
        let registered = event(EventKind::UserRegistered, NOW, &random).of_user(user.id);
        database.insert_user(&user, &registered).unwrap();
    }
}

#[test]
fn a_right_taken_away_fails_the_check_of_changes() {
    let (server, url, _, database) = prepared();
    for (table, right) in [
        ("sessions", "INSERT"),
        ("sessions", "UPDATE"),
        ("users", "INSERT"),
        ("users", "UPDATE"),
        ("attempt_counters", "DELETE"),
        ("security_events", "INSERT"),
        ("deployment", "UPDATE"),
    ] {
        server.execute(&url, &format!("REVOKE {right} ON {table} FROM portcullis"));
        wait_until_check(&database, |checked| {
            checked.is_err_and(|error| reason(&error).contains("permission denied"))
        });
        server.execute(&url, &format!("GRANT {right} ON {table} TO portcullis"));
        wait_until_check(&database, |checked| checked.is_ok());
    }
}

#[test]
fn a_locked_table_fails_the_check_of_changes() {
    let (_, url, _, database) = prepared();
    let mut holder = PgConnection::establish(&url).unwrap();
    holder.batch_execute("BEGIN; LOCK TABLE sessions IN EXCLUSIVE MODE").unwrap();
    wait_until_check(&database, |checked| {
        checked.is_err_and(|error| reason(&error).contains("lock timeout"))
    });
    holder.batch_execute("ROLLBACK").unwrap();
    wait_until_check(&database, |checked| checked.is_ok());
}

/// A failure that only real changes meet is rehearsed until it is over.
#[test]
fn changes_that_a_trigger_refuses_fail_the_check() {
    let (server, url, _, database) = prepared();
    server.execute(
        &url,
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'refused'; END$$;
         CREATE TRIGGER refused BEFORE INSERT ON security_events FOR EACH ROW EXECUTE FUNCTION refuse()",
    );
    database.check_writes().unwrap();
    let random = SeededRandom::new(1);
    database.record_event(&event(EventKind::UserRegistered, NOW, &random)).unwrap_err();
    for _ in 0..3 {
        assert!(reason(&database.check_writes().unwrap_err()).contains("refused"));
    }
    server.execute(&url, "DROP TRIGGER refused ON security_events");
    database.check_writes().unwrap();
}

#[test]
fn a_commit_that_waits_for_a_standby_fails_the_check() {
    let server = ThrowawayPostgres::start();
    let database = database(&server.create_database());
    database.prepare(KEY, &[]).unwrap();
    let set = |standby: &str| {
        server.execute("postgres", &format!("ALTER SYSTEM SET synchronous_standby_names = '{standby}'"));
        server.execute("postgres", "SELECT pg_reload_conf()");
    };
    server.execute("postgres", "CHECKPOINT");
    set("nowhere");
    let random = SeededRandom::new(1);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let is_over = &is_over;
        let held_up = scope.spawn(|| {
            // The server heeds the setting a moment later.
            while !is_over.load(Ordering::SeqCst) {
                database.record_event(&event(EventKind::UserRegistered, NOW, &random)).unwrap();
            }
        });
        wait_until_check(&database, |checked| {
            checked.is_err_and(|error| reason(&error).contains("has not finished after"))
        });
        assert!(!held_up.is_finished(), "it is not cancelled");
        is_over.store(true, Ordering::SeqCst);
        set("");
        held_up.join().unwrap();
    });
    wait_until_check(&database, |checked| checked.is_ok());
}

#[test]
fn database_isolation_settings_fail_no_race() {
    for isolation in ["repeatable read", "serializable"] {
        let server = ThrowawayPostgres::shared();
        let url = server.create_database();
        let name = ThrowawayPostgres::database_name(&url);
        server.execute(
            &url,
            &format!("ALTER DATABASE {name} SET default_transaction_isolation = '{isolation}'"),
        );
        let backend = DatabaseBackend::new(move || database(&url), Vec::new);
        let tested = TestedStore::of(backend);
        portcullis_testkit::contract::session_store::rotate_returns_one_generation_to_many_callers(&tested);
    }
}

#[test]
fn conflicts_are_repeated_a_few_times() {
    let (server, url, _, database) = prepared();
    let raise = |conflicts: u32, code: &str| {
        server.execute(
            &url,
            &format!(
                "DROP TRIGGER IF EXISTS conflicts ON security_events;
                 DROP SEQUENCE IF EXISTS attempts;
                 CREATE SEQUENCE attempts;
                 GRANT USAGE ON SEQUENCE attempts TO PUBLIC;
                 CREATE OR REPLACE FUNCTION conflict() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN
                   IF nextval('attempts') <= {conflicts}
                   THEN RAISE EXCEPTION 'deadlock detected' USING ERRCODE = '{code}'; END IF;
                   RETURN NEW; END$$;
                 CREATE TRIGGER conflicts BEFORE INSERT ON security_events
                   FOR EACH ROW EXECUTE FUNCTION conflict()"
            ),
        );
    };
    let random = SeededRandom::new(1);
    let record = || database.record_event(&event(EventKind::UserRegistered, NOW, &random));
    let register = |name: &str| {
        let user = new_user(name, &random);
        let registered = event(EventKind::UserRegistered, NOW, &random).of_user(user.id);
        database.insert_user(&user, &registered)
    };
    for (n, code) in ["40001", "40P01"].iter().enumerate() {
        raise(3, code);
        record().unwrap();
        raise(3, code);
        register(&format!("alice{n}")).unwrap();
        raise(4, code);
        record().unwrap_err();
    }
    let rows = server.execute(&url, "SELECT count(*) FROM users")[0][0].clone();
    assert_eq!(rows.as_deref(), Some("2"));
}

#[test]
fn connections_ended_by_the_server_fail_no_transaction() {
    let (server, url, _, database) = prepared();
    let random = SeededRandom::new(1);
    for n in 0..5 {
        race(8, || assert!(database.find_user_by_name(&CanonicalName::of("alice")).unwrap().is_none()));
        server.execute(
            &url,
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
              WHERE datname = current_database() AND pid <> pg_backend_pid()",
        );
        let user = new_user(&format!("user{n}"), &random);
        let registered = event(EventKind::UserRegistered, NOW, &random).of_user(user.id);
        database.insert_user(&user, &registered).unwrap();
    }
}

#[test]
fn missing_rights_of_a_role_are_named() {
    let server = ThrowawayPostgres::shared();
    let url = server.create_database();
    server.execute(&url, "CREATE ROLE \"Poor Clerk\" LOGIN");
    let poor = database(&url.replace("user=portcullis", "user=Poor%20Clerk"));
    let error = poor.prepare(KEY, &[]).unwrap_err();
    assert!(matches!(&error, PrepareError::Denied(..)), "{error}");
    let advice = "; GRANT CREATE ON SCHEMA public TO \"Poor Clerk\"";
    assert!(error.to_string().ends_with(advice), "{error}");

    Migrations::of(database(&url).url()).run().unwrap();
    let error = poor.prepare(KEY, &[]).unwrap_err();
    let advice = "; GRANT SELECT, INSERT, UPDATE, DELETE ON __diesel_schema_migrations, users, ";
    assert!(error.to_string().contains(advice), "{error}");

    server.execute(&url, "GRANT SELECT ON ALL TABLES IN SCHEMA public TO \"Poor Clerk\"");
    let error = poor.prepare(KEY, &[]).unwrap_err();
    let advice = "DELETE ON known_secrets, deployment, security_events TO \"Poor Clerk\"";
    assert!(error.to_string().contains(advice), "{error}");
}

#[test]
fn an_empty_read_only_database_is_named_read_only() {
    let server = ThrowawayPostgres::shared();
    let url = server.create_database();
    let name = ThrowawayPostgres::database_name(&url);
    server.execute(&url, &format!("ALTER DATABASE {name} SET default_transaction_read_only = on"));
    let error = database(&url).prepare(KEY, &[]).unwrap_err();
    assert!(error.to_string().contains("default_transaction_read_only = on: switch it off"), "{error}");
    let error = database(&format!("{url}&options=-csearch_path%3Dnone")).prepare(KEY, &[]).unwrap_err();
    assert!(error.to_string().contains("default_transaction_read_only"), "{error}");
    server.execute("postgres", &format!("ALTER DATABASE {name} RESET default_transaction_read_only"));
    let error = database(&format!("{url}&options=-csearch_path%3Dnone")).prepare(KEY, &[]).unwrap_err();
    assert!(error.to_string().contains("no schema of the search_path"), "{error}");
}

#[test]
fn a_server_that_refuses_comes_with_its_cause() {
    let server = ThrowawayPostgres::shared();
    let url = server.create_database();
    let name = ThrowawayPostgres::database_name(&url);
    for (url, cause) in [
        (url.replace(name, "nowhere"), FailureCause::MissingDatabase),
        (url.replace("user=portcullis", "user=nobody_known"), FailureCause::Role),
        ("postgres://u:hunter2@127.0.0.1:1/x".to_owned(), FailureCause::NoServer),
        ("postgres://u:hunter2@host.invalid/x?sslmode=disable".to_owned(), FailureCause::HostName),
        ("postgres:///x?host=/nonexistent&password=hunter2".to_owned(), FailureCause::NoServer),
        (format!("{url}&options=-cno_such_setting%3D1"), FailureCause::SessionParameter),
        (format!("{url}&options=-clock_timeout%3Dsoon"), FailureCause::SessionParameter),
        (format!("{url}&options=--no_value"), FailureCause::SessionParameter),
        (format!("{url}&require_auth=scram-sha-256"), FailureCause::AuthenticationMethod),
    ] {
        let error = database(&url).prepare(KEY, &[]).unwrap_err();
        let PrepareError::Unreachable(failure) = &error else { panic!("{error}") };
        assert_eq!(failure.cause(), Some(cause), "{error}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}

#[test]
fn a_port_of_another_protocol_comes_with_its_cause() {
    for greeting in ["J\0\0\0\n8.0.36\0", "HTTP/1.1 400 Bad Request\r\n\r\n"] {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let _ = std::io::Write::write_all(&mut &client, greeting.as_bytes());
                let _ = std::io::Read::read(&mut &client, &mut [0; 1024]);
            }
        });
        let error =
            database(&format!("postgres://u:hunter2@127.0.0.1:{port}/x")).prepare(KEY, &[]).unwrap_err();
        let PrepareError::Unreachable(failure) = &error else { panic!("{error}") };
        assert_eq!(failure.cause(), Some(FailureCause::NotPostgres), "{greeting}: {error}");
    }
}

fn wait_until_check(database: &Database, holds: impl Fn(Result<(), StoreError>) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds(database.check_writes()) {
        assert!(Instant::now() < deadline, "the check does not turn");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Runs `work` on threads at once, so that as many connections are opened.
fn race(threads: usize, work: impl Fn() + Sync) {
    std::thread::scope(|scope| {
        for handle in (0..threads).map(|_| scope.spawn(&work)).collect::<Vec<_>>() {
            handle.join().unwrap();
        }
    });
}
