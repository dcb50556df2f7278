//! `portcullis db copy`: everything moves to another database, and the sessions stay.

use std::io::{self, Write as _};
use std::process::{Output, Stdio};
use std::time::Instant;
use std::{env, fs, thread};

use portcullis_testkit::postgres::ThrowawayPostgres;

use crate::database::{Database, Kind};
use crate::restored::{RESTORED, copied_folder, done, events, is_live, is_over};
use crate::server::{PASSWORD, Server, Tokens, command, output_of, run, wait_until};

/// The URL of a database in any working directory.
fn absolute_url(database: &Database) -> String {
    match &database.kind {
        Kind::Sqlite => format!("sqlite://{}", database.folder.path().join("data/portcullis.db").display()),
        Kind::Postgres { url, .. } => url.clone(),
    }
}

fn copy(from: &Database, to: &Database) -> Output {
    copying(from, &["--to", &absolute_url(to)])
}

fn copying(from: &Database, arguments: &[&str]) -> Output {
    let mut command = command(from.folder.path());
    command.env("PORTCULLIS_DATABASE__URL", from.url());
    command.args(["db", "copy", "--yes"]).args(arguments);
    output_of(command)
}

#[track_caller]
fn copied(from: &Database, to: &Database) -> String {
    let output = copy(from, to);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Checks that a command failed with exit code 78, and returns its standard error.
#[track_caller]
fn refusal(output: &Output) -> String {
    assert_eq!((output.status.code(), output.stdout.len()), (Some(78), 0), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[track_caller]
fn serve_refuses(database: &Database) -> String {
    refusal(&run(database.folder.path(), &[("DATABASE__URL", &database.url())], &["serve"]))
}

/// How many users with a live session and an event are copied: `PORTCULLIS_TEST_COPY_USERS` sets another number.
fn crowd() -> i64 {
    env::var("PORTCULLIS_TEST_COPY_USERS").map_or(2_000, |users| users.parse().unwrap())
}

/// Inserts users, each with a live session and an event that is not sealed.
fn insert_crowd(database: &Database, users: i64) {
    let (numbers, id, now, month) = match &database.kind {
        Kind::Sqlite => (
            format!(
                "(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {users}) SELECT i FROM n)"
            ),
            "unhex(printf('0190000@%024x', i))",
            "CAST(unixepoch('subsec') * 1000000 AS INTEGER)",
            "2592000000000",
        ),
        Kind::Postgres { .. } => (
            format!("generate_series(1, {users}) AS n(i)"),
            "('0190000@' || lpad(to_hex(i), 24, '0'))::uuid",
            "now()",
            "interval '30 days'",
        ),
    };
    let id = |table: char| id.replace('@', &table.to_string());
    let (user, session, event) = (id('0'), id('1'), id('2'));
    database.execute(&format!(
        "INSERT INTO users (id, username, canonical_name, password_hash, credential_version, created_at)
         SELECT {user}, 'Crowd-' || i, 'crowd-' || i, '$2b$04$' || i, i % 7, {now} FROM {numbers}"
    ));
    database.execute(&format!(
        "INSERT INTO sessions (id, user_id, generation, opened_at, rotated_at, expires_at, absolute_expires_at, agent)
         SELECT {session}, {user}, i % 5, {now}, {now}, {now} + {month}, {now} + {month}, 'agent ' || i FROM {numbers}"
    ));
    database.execute(&format!(
        "INSERT INTO security_events (id, at, kind, user_id, session_id, address)
         SELECT {event}, {now}, 'login_succeeded', {user}, {session}, '127.0.0.1' FROM {numbers}"
    ));
}

/// What a service leaves in a database, and the tokens that it gave out.
struct Service {
    live: Tokens,
    ended: Tokens,
    rotated: Tokens,
    successor: Tokens,
}

impl Service {
    /// Runs on a database for a while and stops.
    fn runs_on(database: &Database) -> Self {
        let server = Server::start(database);
        server.register("alice");
        server.register("Bob");
        let [live, ended, rotated] = [(); 3].map(|()| server.login("alice"));
        assert_eq!(server.logout(&ended.refresh).status, 204);
        let successor = server.refresh(&rotated.refresh).tokens();
        server.try_login("bob", "Wr0ng-horse battery").is_problem(401, "invalid_credentials");
        server.terminate();
        done(database, &["user", "disable", "bob"]);
        Self { live, ended, rotated, successor }
    }

    #[track_caller]
    fn goes_on_at(&self, database: &Database) {
        let server = Server::start(database);
        server.wait_until_ready();
        assert_eq!(server.lines_with(RESTORED), 0);
        let live = is_live(&server, &self.live);
        is_live(&server, &live);
        assert_eq!(server.refresh(&self.rotated.refresh).tokens().refresh, self.successor.refresh);
        is_live(&server, &self.successor);
        is_over(&server, &self.ended);
        server.try_login("bob", PASSWORD).is_problem(401, "invalid_credentials");
        assert_eq!(server.logout(&live.refresh).status, 204);
        is_over(&server, &live);
        let all = || database.number("SELECT count(*) FROM security_events");
        wait_until("the events are sealed", || all() == database.number("SELECT count(*) FROM audit_chain"));
        server.terminate();
        done(database, &["audit", "verify"]);
    }
}

fn keeps_the_sessions(from: &Database, to: &Database) {
    let service = Service::runs_on(from);
    insert_crowd(from, crowd());
    let begun = Instant::now();
    let told = copied(from, to);
    let (users, taken) = (crowd(), begun.elapsed());
    let line = format!("copied {users} users with sessions and events in {taken:?}\n");
    io::stderr().write_all(line.as_bytes()).unwrap();
    assert!(told.contains(&format!("users: {} rows, equal in both", crowd() + 2)), "{told}");
    assert!(told.contains(&format!("sessions: {} rows, equal in both", crowd() + 3)), "{told}");
    for table in ["users", "sessions", "attempt_counters", "audit_chain", "audit_heads", "known_secrets"] {
        let count = |database: &Database| database.number(&format!("SELECT count(*) FROM {table}"));
        assert_eq!(count(from), count(to), "{table}");
        assert!(count(to) > 0, "{table}");
    }
    assert_eq!((events(from, "database_moved"), events(to, "database_moved")), (0, 1));
    assert_eq!(to.number("SELECT count(*) FROM sessions WHERE ended_xid IS NOT NULL"), 0);
    service.goes_on_at(to);

    let error = serve_refuses(from);
    assert!(error.contains("were copied to another one") && error.contains("portcullis db moved"), "{error}");
    let disable = run(from.folder.path(), &[("DATABASE__URL", &from.url())], &["user", "disable", "alice"]);
    assert!(refusal(&disable).contains("portcullis db moved"));
    assert!(refusal(&copy(from, &Database::sqlite())).contains("were copied to another one"));
    done(from, &["db", "moved", "--yes"]);
    is_live(&Server::start(from), &service.live);
}

#[test]
fn copy_from_sqlite_to_postgres_keeps_sessions() {
    keeps_the_sessions(&Database::sqlite(), &Database::postgres());
}

#[test]
fn copy_from_postgres_to_sqlite_keeps_sessions() {
    keeps_the_sessions(&Database::postgres(), &Database::sqlite());
}

#[test]
fn copy_between_databases_of_one_kind_keeps_sessions() {
    keeps_the_sessions(&Database::sqlite(), &Database::sqlite());
    keeps_the_sessions(&Database::postgres(), &Database::postgres());
}

#[test]
fn copy_that_is_killed_starts_over() {
    let (from, to) = (Database::sqlite(), Database::postgres());
    let Kind::Postgres { server: postgres, url } = &to.kind else { unreachable!() };
    let service = Service::runs_on(&from);
    insert_crowd(&from, crowd());
    done(&to, &["migrate"]);
    let name = ThrowawayPostgres::database_name(url);
    let sessions = |condition: &str| {
        let sql = format!("SELECT pid FROM pg_stat_activity WHERE datname = '{name}' AND {condition}");
        postgres.execute("postgres", &sql).len()
    };
    thread::scope(|scope| {
        // The events cannot be written, after the users and the sessions were.
        let hold = "LOCK TABLE security_events IN SHARE MODE; SELECT pg_sleep(60) AS holding";
        scope.spawn(move || postgres.try_execute(url, hold));
        wait_until("the table is locked", || {
            sessions("query LIKE '%holding' AND wait_event = 'PgSleep'") == 1
        });
        let mut copy = command(from.folder.path());
        copy.env("PORTCULLIS_DATABASE__URL", from.url()).args(["db", "copy", "--yes", "--to", url]);
        let mut copy = copy.stdout(Stdio::null()).spawn().unwrap();
        wait_until("the copy waits", || sessions("wait_event_type = 'Lock' AND query LIKE 'COPY%'") == 1);
        copy.kill().unwrap();
        copy.wait().unwrap();
        let end = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'");
        postgres.execute("postgres", &end);
    });
    wait_until("every session is over", || sessions("true") == 0);
    assert_eq!(to.number("SELECT count(*) FROM users"), 0);
    // The source is as it was.
    is_live(&Server::start(&from), &service.live);

    copied(&from, &to);
    // As if it had been killed before the target became usable.
    to.execute("UPDATE deployment SET home = 'unfinished copy'");
    assert!(serve_refuses(&to).contains("did not finish; run `portcullis db copy` again"));
    let told = copied(&from, &to);
    assert!(told.contains("over what an interrupted copy had left"), "{told}");
    assert_eq!(to.number("SELECT count(*) FROM users"), crowd() + 2);
    service.goes_on_at(&to);
}

#[test]
fn copy_stops_the_instances_of_the_source() {
    for (from, to) in [(Database::sqlite(), Database::postgres()), (Database::postgres(), Database::sqlite())]
    {
        let server = Server::start(&from);
        server.register("alice");
        let tokens = server.login("alice");
        copied(&from, &to);
        let (status, log) = server.ended();
        assert_eq!(status.code(), Some(78), "{log:#?}");
        assert!(log.iter().any(|line| line.contains("were copied to another one while this instance ran")));
        is_live(&Server::start(&to), &tokens);
    }
}

#[test]
fn copy_that_arrives_changed_is_undone() {
    let (from, to) = (Database::sqlite(), Database::postgres());
    let service = Service::runs_on(&from);
    done(&to, &["migrate"]);
    to.execute(
        "CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS
             $$BEGIN NEW.username := upper(NEW.username); RETURN NEW; END$$;
         CREATE TRIGGER shout BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION shout()",
    );
    let output = copy(&from, &to);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(
        error.contains("nothing was copied: the table users differs between source and target"),
        "{error}"
    );
    assert_eq!(to.number("SELECT count(*) FROM users"), 0);
    is_live(&Server::start(&from), &service.live);
}

#[test]
fn copy_refuses_what_it_would_spoil() {
    let from = Database::sqlite();
    let service = Service::runs_on(&from);
    for used in [Database::sqlite(), Database::postgres()] {
        Server::start(&used).register("carol");
        assert!(
            refusal(&copy(&from, &used)).contains("--to: the target is not empty: its table users has rows")
        );
        assert_eq!(used.number("SELECT count(*) FROM users"), 1);
    }
    assert!(refusal(&copy(&from, &from)).contains("are the same database"));
    let restored = copied_folder(&from);
    let empty = Database::sqlite();
    let error = refusal(&copy(&restored, &empty));
    assert!(error.contains("database.url: the source is a restored backup or a copy"), "{error}");
    let missing = copying(&from, &["--from", "sqlite://nowhere.db", "--to", &absolute_url(&empty)]);
    assert!(refusal(&missing).contains("--from: there is no database of Portcullis"));
    assert_eq!(fs::read_dir(empty.folder.path()).unwrap().count(), 0, "no target was created");

    let server = Database::postgres();
    Server::start(&server).register("dave");
    let same = copying(&server, &["--to", &format!("{}&application_name=other", absolute_url(&server))]);
    assert!(refusal(&same).contains("are the same database"));
    is_live(&Server::start(&from), &service.live);
}

#[test]
fn urls_with_passwords_come_from_files() {
    let (from, to) = (Database::sqlite(), Database::postgres());
    let service = Service::runs_on(&from);
    let Kind::Postgres { url, .. } = &to.kind else { unreachable!() };
    let url = format!("{url}&password=hush-hush");
    let output = copying(&from, &["--to", &url]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(error.contains("--to-file") && !error.contains("hush-hush"), "{error}");

    let file = from.folder.path().join("target-url");
    fs::write(&file, format!("{url}\n")).unwrap();
    let output = copying(&from, &["--to-file", "target-url"]);
    assert!(output.status.success() && !format!("{output:?}").contains("hush-hush"), "{output:?}");
    is_live(&Server::start(&to), &service.live);
    let missing = copying(&from, &["--to-file", "no-file"]);
    assert!(refusal(&missing).contains("--to-file: no-file does not exist"));
}
