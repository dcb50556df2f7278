//! `/ready` reports whether changes are committed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use diesel::{Connection as _, RunQueryDsl as _, SqliteConnection};
use portcullis_testkit::postgres::{PgBouncer, ThrowawayPostgres};

use crate::database::{Database, Kind};
use crate::on_both_databases;
use crate::server::{Server, race, run, wait_until};

/// The outcome of `writes`, of a server whose database answers all the while.
fn writes(server: &Server) -> String {
    let ready = server.get("/ready");
    let body = ready.json();
    let outcome = body["checks"]["writes"].as_str().unwrap_or_else(|| panic!("{ready:?}")).to_owned();
    if outcome == "failing" {
        assert_eq!((ready.status, &body["status"]), (503, &"failing".into()), "{ready:?}");
        assert_eq!(ready.header("retry-after"), Some("1"), "{ready:?}");
    }
    outcome
}

fn turns(server: &Server, outcome: &str) {
    wait_until(outcome, || writes(server) == outcome);
}

const FAIL: &str = "the database commits no changes; this instance is not ready";
const PASS: &str = "the database commits changes again";

on_both_databases! {
    fn changes_that_fail_make_an_instance_unready_until_they_succeed(database: &Database) {
        let server = Server::start(database);
        assert_eq!(server.register("alice").status, 201);
        assert_eq!(writes(&server), "ok");
        database.refuse_inserts("security_events");
        server.register("bob").is_problem(503, "storage_unavailable");
        turns(&server, "failing");
        assert_eq!(server.get("/health").status, 200);
        // The check stays failing while no client calls.
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(4) {
            assert_eq!(writes(&server), "failing");
            std::thread::sleep(Duration::from_millis(100));
        }
        assert_eq!((server.lines_with(FAIL), server.lines_with(PASS)), (1, 0));
        match database.kind {
            Kind::Sqlite => database.execute("DROP TRIGGER refused"),
            Kind::Postgres { .. } => database.execute("DROP TRIGGER refused ON security_events"),
        }
        server.wait_until_ready();
        assert_eq!(server.register("bob").status, 201);
        server.wait_for_line(PASS);
        assert_eq!((server.lines_with(FAIL), server.lines_with(PASS)), (1, 1));
        let events = database.number("SELECT count(*) FROM security_events");
        assert_eq!(events, 2, "the checks leave none");
    }

    fn refusals_of_single_requests_leave_an_instance_ready(database: &Database) {
        let server = Server::start(database);
        assert_eq!(server.register("alice").status, 201);
        for _ in 0..5 {
            server.register("alice").is_problem(409, "username_taken");
            assert_eq!(writes(&server), "ok");
        }
        assert_eq!(server.lines_with(FAIL), 0);
    }
}

#[test]
fn a_read_only_database_makes_an_idle_instance_unready() {
    let database = Database::postgres();
    let server = Server::start(&database);
    assert_eq!(server.register("alice").status, 201);
    let name = database.text("SELECT current_database()");
    database.execute(&format!("ALTER DATABASE {name} SET default_transaction_read_only = on"));
    database.number(
        "SELECT count(pg_terminate_backend(pid, 10000)) FROM pg_stat_activity
          WHERE datname = current_database() AND pid <> pg_backend_pid()",
    );
    turns(&server, "failing");
    server.try_login("alice", crate::server::PASSWORD).is_problem(503, "storage_unavailable");
    // Requests that read fill the pool with connections that stay read-only.
    race(8, |_| assert_eq!(server.get("/ready").status, 503));

    // From another database, which may be changed.
    let Kind::Postgres { server: postgres, .. } = &database.kind else { unreachable!() };
    postgres.execute("postgres", &format!("ALTER DATABASE {name} RESET default_transaction_read_only"));
    server.wait_until_ready();
    let answers = race(16, |n| server.register(&format!("user{n}")).status);
    assert_eq!(answers, [201; 16], "no request meets a connection from before");
}

#[test]
fn a_standby_serves_no_changes_until_it_is_promoted() {
    let primary = ThrowawayPostgres::start();
    let url = primary.create_database();
    let folder = Database::sqlite().folder;
    let database =
        Database { folder, kind: Kind::Postgres { server: ThrowawayPostgres::shared(), url: url.clone() } };
    let before = Server::start(&database);
    before.wait_until_ready();
    before.terminate();
    // The same files, started as a standby without a primary.
    primary.stop();
    primary.make_standby();
    primary.restart();
    let server = Server::start(&database);
    turns(&server, "failing");
    server.register("alice").is_problem(503, "storage_unavailable");
    primary.execute("postgres", "SELECT pg_promote()");
    server.wait_until_ready();
    assert_eq!(server.register("alice").status, 201);
}

#[test]
fn a_commit_that_waits_for_a_standby_makes_an_instance_unready() {
    let postgres = ThrowawayPostgres::start();
    let url = postgres.create_database();
    let folder = Database::sqlite().folder;
    let database = Database { folder, kind: Kind::Postgres { server: ThrowawayPostgres::shared(), url } };
    let server = Server::start(&database);
    server.wait_until_ready();
    let set = |standby: &str| {
        postgres.execute("postgres", &format!("ALTER SYSTEM SET synchronous_standby_names = '{standby}'"));
        postgres.execute("postgres", "SELECT pg_reload_conf()");
    };
    let is_over = AtomicBool::new(false);
    let answers = race(2, |n| match n {
        0 => {
            set("nowhere");
            // The server heeds it a moment later.
            let mut statuses = (0..).map(|n| server.register(&format!("user{n}")).status);
            statuses.find(|status| *status != 201 || is_over.load(Ordering::SeqCst)).unwrap()
        }
        _ => {
            turns(&server, "failing");
            server.wait_for_line("has not finished after");
            is_over.store(true, Ordering::SeqCst);
            set("");
            server.wait_until_ready();
            0
        }
    });
    assert_eq!(answers[0], 201, "it waits for its commit and is not cancelled");
}

#[test]
fn a_sqlite_file_that_goes_away_makes_an_instance_unready() {
    let database = Database::sqlite();
    let data = database.folder.path().join("data");
    let server = Server::start(&database);
    assert_eq!(server.register("alice").status, 201);
    let (file, moved) = (data.join("portcullis.db"), data.join("moved.db"));
    std::fs::rename(&file, &moved).unwrap();
    turns(&server, "failing");
    server.wait_for_line("does not exist any more");
    std::fs::rename(&moved, &file).unwrap();
    server.wait_until_ready();

    // The whole folder is replaced, as by the restore of a backup. The server is stopped meanwhile: the first failure is
    // logged, and the file must not be missing when it looks.
    server.signal("STOP");
    let old = database.folder.path().join("old");
    std::fs::rename(&data, &old).unwrap();
    std::fs::create_dir(&data).unwrap();
    std::fs::copy(old.join("portcullis.db"), &file).unwrap();
    server.signal("CONT");
    turns(&server, "failing");
    server.wait_for_line("was replaced by another");
}

#[test]
fn a_sqlite_file_that_another_process_holds_makes_an_instance_unready() {
    let database = Database::sqlite();
    let server = Server::start(&database);
    assert_eq!(server.register("alice").status, 201);
    let file = database.folder.path().join("data/portcullis.db");
    let mut other = SqliteConnection::establish(file.to_str().unwrap()).unwrap();
    diesel::sql_query("BEGIN IMMEDIATE").execute(&mut other).unwrap();
    turns(&server, "failing");
    diesel::sql_query("ROLLBACK").execute(&mut other).unwrap();
    server.wait_until_ready();
    assert_eq!(server.register("bob").status, 201);
}

/// No file may grow any more: what a full disk does, without one.
#[test]
fn a_sqlite_file_that_cannot_grow_makes_an_instance_unready() {
    let database = Database::sqlite();
    let server = Server::start_with_file_size(&database, 512);
    assert_eq!(server.register("alice").status, 201);
    let mut registered = 0;
    wait_until("nothing can grow", || {
        registered += 1;
        server.register(&format!("user{registered}")).status == 503
    });
    turns(&server, "failing");
    assert_eq!(server.get("/ready").json()["checks"]["database"], "ok", "reading goes on");
    server.let_files_grow();
    server.wait_until_ready();
    assert_eq!(server.register("carol").status, 201);
}

#[test]
fn a_pooler_in_transaction_mode_aborts_startup() {
    let database = Database::postgres();
    let Kind::Postgres { server: postgres, url } = &database.kind else { unreachable!() };
    for mode in ["transaction", "statement"] {
        let bouncer = PgBouncer::start(postgres, mode, 8);
        let url = bouncer.url(url);
        for arguments in [&[][..], &["migrate"], &["migrate", "--status"]] {
            let output = run(database.folder.path(), &[("DATABASE_URL", &url)], arguments);
            let text = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(78), "{mode} {arguments:?}: {text}");
            for words in ["database.url", "PgBouncer", "directly", "session mode with database.pool_size + 3"]
            {
                assert!(text.contains(words), "{mode} {arguments:?}: {text}");
            }
        }
    }
}

#[test]
fn a_pooler_in_session_mode_serves_instances() {
    let database = Database::postgres();
    let Kind::Postgres { server: postgres, url } = &database.kind else { unreachable!() };
    let bouncer = PgBouncer::start(postgres, "session", 20);
    let url = bouncer.url(url);
    let settings = [("DATABASE__URL", url.as_str()), ("DATABASE__POOL_SIZE", "4")];
    let first = Server::start_with(&database, &settings);
    let second = Server::start_with(&database, &settings);
    first.wait_until_ready();
    second.wait_until_ready();
    assert_eq!(first.register("alice").status, 201);
    let tokens = second.login("alice");
    first.terminate();
    let again = Server::start_with(&database, &settings);
    assert_eq!(again.refresh(&tokens.refresh).status, 200);

    // While they run, the pooler is switched to the mode that mixes up their sessions.
    bouncer.change_mode("transaction", 20);
    let (status, log) = again.ended();
    assert_eq!(status.code(), Some(78), "{log:#?}");
    assert!(log.last().is_some_and(|line| line.contains("pooler")), "{log:#?}");
}

#[test]
fn a_url_that_libpq_refuses_aborts_startup() {
    let database = Database::sqlite();
    for (options, named) in [
        ("pgbouncer=true", "Prisma"),
        ("connection_limit=5", "database.pool_size"),
        ("pool_timeout=5", "pool_timeout"),
        ("currentSchema=auth", "search_path"),
        ("statement_cache_size=0", "statement_cache_size"),
        ("schema=auth", "search_path"),
        ("ssl=true", "sslmode"),
        ("port=abc", "port"),
        ("target_session_attrs=bogus", "target_session_attrs"),
        ("channel_binding=always", "channel_binding"),
        ("gssencmode=require", "gssencmode"),
    ] {
        let url = format!("postgres://u:hunter2@127.0.0.1:1/x?{options}");
        for arguments in [&[][..], &["migrate"], &["migrate", "--status"], &["config", "check"]] {
            let output = run(database.folder.path(), &[("DATABASE__URL", &url)], arguments);
            let text = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(78), "{options} {arguments:?}: {text}");
            assert!(text.contains("database.url") && text.contains(named), "{options}: {text}");
            assert!(!text.contains("hunter2"), "{text}");
        }
    }
    let service = "postgres:///x?service=nowhere&sslmode=disable";
    let output = run(database.folder.path(), &[("DATABASE__URL", service)], &[]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(78), "{text}");
    assert!(text.contains("service") && text.contains("database.url"), "{text}");
}

#[test]
fn unreachable_server_error_names_the_setting() {
    let database = Database::sqlite();
    let url = "postgres://u:hunter2@127.0.0.1:1/x";
    let output = run(database.folder.path(), &[("DATABASE__URL", url)], &["migrate"]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("cannot reach the database: "), "{text}");
    assert!(text.contains("; check host and port in database.url, and that the server runs"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn a_missing_right_logs_the_grant_to_run() {
    let database = Database::postgres();
    let Kind::Postgres { server: postgres, url } = &database.kind else { unreachable!() };
    postgres.execute(url, "CREATE ROLE waiting LOGIN");
    let url = url.replace("user=portcullis", "user=waiting");
    let output = run(database.folder.path(), &[("DATABASE__URL", &url)], &["migrate"]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.code() == Some(1)
            && text.contains(
                "GRANT CREATE ON SCHEMA public TO waiting, or run `portcullis migrate` as the owner"
            ),
        "{text}"
    );
    let server = Server::start_with(&database, &[("DATABASE__URL", &url)]);
    server.wait_for_line("GRANT CREATE ON SCHEMA public TO waiting");
    assert_eq!(server.get("/ready").status, 503);
    database.execute("GRANT CREATE ON SCHEMA public TO waiting");
    server.wait_until_ready();
    assert_eq!(server.register("alice").status, 201);
}

#[test]
fn the_isolation_of_a_database_fails_no_request() {
    let database = Database::postgres();
    let name = database.text("SELECT current_database()");
    database.execute(&format!("ALTER DATABASE {name} SET default_transaction_isolation = 'repeatable read'"));
    let server = Server::start(&database);
    assert_eq!(server.register("alice").status, 201);
    let tokens = server.login("alice");
    let refreshed = race(64, |_| server.refresh(&tokens.refresh).status);
    assert_eq!(refreshed, [200; 64]);
    let logins = race(12, |_| server.try_login("alice", crate::server::PASSWORD).status);
    assert!(logins.iter().all(|status| [200, 429].contains(status)), "{logins:?}");
    assert!(logins.contains(&200));
}
