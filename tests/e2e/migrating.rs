//! Migrations beside a running service, databases of newer versions, and the plan.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::database::{Database, Kind};
use crate::on_both_databases;
use crate::server::{Server, command, run, wait, wait_until};
use crate::upgrades::of_last_release;

/// A migration of a version that does not exist yet.
const NEWER: &str = "20990101000000";

fn printed(database: &Database, arguments: &[&str]) -> String {
    let url = database.url();
    let output = run(database.folder.path(), &[("DATABASE__URL", &url)], arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

on_both_databases! {
    fn newer_schema_that_admits_this_version_is_served(database: &Database) {
        Server::start(database).terminate();
        database.execute(&format!("INSERT INTO __diesel_schema_migrations (version) VALUES ('{NEWER}')"));
        let server = Server::start(database);
        server.wait_until_ready();
        assert_eq!(server.register("alice").status, 201);
        let tokens = server.login("alice");
        assert_eq!(server.refresh(&tokens.refresh).status, 200);
        let (_, log) = server.terminate();
        let lines: Vec<_> = log.iter().filter(|line| line.contains("a newer version migrated")).collect();
        assert!(lines.len() == 1 && lines[0].contains(NEWER) && lines[0].contains(r#""level":"info""#), "{log:#?}");
        let status = printed(database, &["migrate"]);
        assert!(status.ends_with(&format!("unknown  {NEWER} (applied by a newer version)\n")), "{status}");
        assert_eq!(printed(database, &["migrate", "--status"]), status);
    }

    /// R-48.
    fn binary_older_than_the_guard_names_both_versions(database: &Database) {
        Server::start(database).terminate();
        let plan: Value = serde_json::from_str(&printed(database, &["migrate", "--plan", "--json"])).unwrap();
        let newest = plan["newest_known"].as_str().unwrap();
        database.execute(&format!("UPDATE deployment SET oldest_binary = '{NEWER}'"));
        let url = database.url();
        let all: [&[&str]; 7] = [
            &["serve"],
            &["migrate"],
            &["user", "disable", "alice"],
            &["user", "sessions", "alice"],
            &["user", "check-hashes"],
            &["audit", "verify"],
            &["secret", "adopt", "--yes"],
        ];
        for arguments in all {
            let output = run(database.folder.path(), &[("DATABASE__URL", &url)], arguments);
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(78), "{arguments:?}: {error}");
            let expected = format!(
                "portcullis: database.url: the database needs a binary that knows migration {NEWER}; this one knows \
                 migrations up to {newest}"
            );
            assert!(error.lines().any(|line| line.starts_with(&expected)), "{arguments:?}: {error}");
        }
        // Commands that only describe the schema work.
        assert!(printed(database, &["migrate", "--status"]).lines().all(|line| line.starts_with("applied  ")));
        let plan = printed(database, &["migrate", "--plan"]);
        assert!(plan.contains(&format!("this version cannot use the database: it needs one that knows migration {NEWER}")), "{plan}");
    }
}

/// What the plan of an upgrade from the last release contains, by JSON.
fn planned(database: &Database) -> Value {
    let status = printed(database, &["migrate", "--status"]);
    let plan: Value = serde_json::from_str(&printed(database, &["migrate", "--plan", "--json"])).unwrap();
    assert_eq!(printed(database, &["migrate", "--status"]), status, "nothing was applied");
    let names: Vec<_> = plan["migrations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|migration| migration["name"].as_str().unwrap())
        .collect();
    let pending: Vec<_> = status.lines().filter_map(|line| line.strip_prefix("pending  ")).collect();
    assert_eq!(names, pending);
    assert!(
        !names.is_empty() && plan["migrations"].as_array().unwrap().iter().all(|it| it["reversible"] == true)
    );
    plan
}

fn statements(plan: &Value) -> impl Iterator<Item = &Value> {
    plan["migrations"].as_array().unwrap().iter().flat_map(|it| it["statements"].as_array().unwrap())
}

fn statement<'a>(plan: &'a Value, sql: &str) -> &'a Value {
    statements(plan)
        .find(|it| it["sql"].as_str().unwrap().contains(sql))
        .unwrap_or_else(|| panic!("{sql}: {plan}"))
}

#[test]
fn plan_for_postgres_names_locks_and_sizes() {
    let database = of_last_release(Database::postgres());
    let Kind::Postgres { server, url } = &database.kind else { unreachable!() };
    server.execute(url, "ANALYZE");
    let name = database.text("current_database()");
    server.execute(url, &format!("ALTER DATABASE {name} SET default_transaction_read_only TO on"));
    let plan = planned(&database);
    let added = statement(&plan, "ALTER TABLE sessions ADD COLUMN ended_xid");
    assert_eq!(
        (&added["table"], &added["lock"], &added["work"]),
        (&"sessions".into(), &"access_exclusive".into(), &"catalog".into())
    );
    assert_eq!(added["rows"], database.number("SELECT count(*) FROM sessions"));
    assert!(added["bytes"].as_i64().unwrap() >= 8_192, "{added}");
    let index = statement(&plan, "CREATE INDEX CONCURRENTLY");
    assert_eq!((&index["lock"], &index["work"]), (&"share_update_exclusive".into(), &"scan".into()));
    assert!(statements(&plan).all(|it| it["lock"] != "unknown" && it["work"] != "unknown"), "{plan}");

    let text = printed(&database, &["migrate", "--plan"]);
    assert!(text.contains("ACCESS EXCLUSIVE (reads and writes wait) on sessions (about "), "{text}");
    assert!(text.contains("outside of a transaction, repeated if interrupted, reversible"), "{text}");
}

#[test]
fn plan_for_sqlite_names_work_and_rows() {
    let database = of_last_release(Database::sqlite());
    let plan = planned(&database);
    let locks: BTreeSet<_> = statements(&plan).map(|it| it["lock"].as_str().unwrap()).collect();
    assert_eq!(locks, BTreeSet::from(["database"]), "{plan}");
    let index = statement(&plan, "CREATE INDEX sessions_ended_xid");
    assert_eq!(
        (&index["work"], &index["rows"]),
        (&"scan".into(), &database.number("SELECT count(*) FROM sessions").into())
    );
    assert!(plan["database_bytes"].as_i64().unwrap() > 10_000, "{plan}");
}

#[test]
fn plan_of_an_empty_server_database_creates_nothing() {
    let database = Database::postgres();
    let plan: Value = serde_json::from_str(&printed(&database, &["migrate", "--plan", "--json"])).unwrap();
    assert!(statements(&plan).all(|it| it["rows"].is_null()), "{plan}");
    assert_eq!(
        database.number("SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace"),
        0
    );
}

/// R-10, R-43.
#[test]
fn stop_while_a_migration_waits_leaves_it_absent() {
    let database = of_last_release(Database::postgres());
    let Kind::Postgres { server: postgres, url } = &database.kind else { unreachable!() };
    let applied = || database.number("SELECT count(*) FROM __diesel_schema_migrations");
    let before = applied();
    let sleeping = "FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'";
    std::thread::scope(|scope| {
        // Ends when its process is ended below.
        scope.spawn(|| {
            postgres.try_execute(url, "LOCK TABLE sessions IN ACCESS SHARE MODE; SELECT pg_sleep(600)")
        });
        wait_until("the table is held", || database.number(&format!("SELECT count(*) {sleeping}")) == 1);
        let log = database.folder.path().join("log");
        let mut server = command(database.folder.path());
        server.env("PORTCULLIS_DATABASE__URL", url).stdout(Stdio::null()).stderr(File::create(&log).unwrap());
        let mut server = server.spawn().unwrap();
        let waited = || {
            let text = fs::read_to_string(&log).unwrap();
            text.lines().find(|line| line.contains("a migration waited for a lock")).map(str::to_owned)
        };
        wait_until("it waits for the lock", || waited().is_some());
        let told = Instant::now();
        let sent = Command::new("kill").arg("-TERM").arg(server.id().to_string()).status().unwrap();
        assert!(sent.success());
        wait(&mut server);
        assert!(told.elapsed() < Duration::from_secs(10), "{:?}", told.elapsed());
        let line: Value = serde_json::from_str(&waited().unwrap()).unwrap();
        assert_eq!(line["waits_for"], "AccessExclusiveLock on sessions", "{line}");
        let blocked_by = line["blocked_by"].as_str().unwrap();
        // The role of the service sees no more of a superuser's session.
        assert!(
            blocked_by.starts_with("process ") && blocked_by.ends_with(" (postgres, state hidden)"),
            "{line}"
        );
        assert!((1_000..5_000).contains(&line["retry_in_ms"].as_i64().unwrap()), "{line}");

        assert_eq!(applied(), before);
        database.number(&format!("SELECT count(pg_terminate_backend(pid)) {sleeping}"));
    });
    let columns =
        "SELECT count(*) FROM pg_attribute WHERE attrelid = 'sessions'::regclass AND attname = 'ended_xid'";
    assert_eq!(database.number(columns), 0);
    let begun = Instant::now();
    let server = Server::start(&database);
    server.wait_until_ready();
    assert!(applied() > before && begun.elapsed() < Duration::from_secs(20));
}
