//! The commands, with their exit codes: 0 fine, 1 failed, 2 usage, 78 bad configuration.

use std::io::Write as _;
use std::process::Stdio;

use serde_json::Value;

use crate::database::{Database, Kind};
use crate::on_both_databases;
use crate::server::{PASSWORD, SECRET, Server, Tokens, command, run, wait, wait_until};

const OTHER_SECRET: &str = "pcs_Hx4dHBsaGRgXFhUUExIREA8ODQwLCgkIBwYFBAMCAQA";

const THIRD_SECRET: &str = "pcs_p3vN0WcZy7mYl1rTqkGm2sQ8bXh4JfUe5aLxRtOdKjM";

on_both_databases! {
    fn an_operator_adds_users(database: &Database) {
        let (code, out, _) = add_user(database, "admin", PASSWORD);
        assert_eq!((code, out.starts_with("added admin (")), (0, true), "{out}");
        let server = Server::start(database);
        server.register("Admin").is_problem(422, "invalid_request");
        assert_eq!(server.try_login("ADMIN", PASSWORD).status, 200);

        let (code, _, error) = add_user(database, "ADMIN", PASSWORD);
        assert_eq!((code, error.as_str()), (1, "portcullis: the username is taken\n"));
        let (code, _, error) = add_user(database, "x", "short");
        assert_eq!(code, 1);
        assert!(error.starts_with("portcullis: the username must be at least 3 characters long; the password must be"), "{error}");
    }

    // ASVS 7.4.2 8.3.2
    fn a_disabled_user_is_signed_out_and_stays_out_until_enabled(database: &Database) {
        let server = Server::start(database);
        server.register("alice");
        server.register("bob");
        let (first, second, other) = (server.login("alice"), server.login("alice"), server.login("bob"));
        assert_eq!(
            done(database, &["user", "disable", "Alice"]),
            "disabled Alice: 2 sessions ended; running instances refuse their tokens within a second\n"
        );
        is_over(&server, &first);
        is_over(&server, &second);
        lives(&server, &other);
        server.try_login("alice", PASSWORD).is_problem(401, "invalid_credentials");
        assert_eq!(done(database, &["user", "disable", "alice"]), "disabled alice: no session was live\n");

        assert_eq!(done(database, &["user", "enable", "alice"]), "enabled alice\n");
        lives(&server, &server.login("alice"));
        is_over(&server, &first);
    }

    // ASVS 7.4.2
    fn a_deleted_user_is_signed_out_and_the_name_is_free(database: &Database) {
        let server = Server::start(database);
        let old = server.register("alice").json();
        let tokens = server.login("alice");
        let (code, _, error) = operate(database, &[], &["user", "delete", "alice"], "y");
        assert_eq!(code, 2, "nobody is at a terminal: {error}");
        lives(&server, &tokens);

        let told = done(database, &["user", "delete", "alice", "--yes"]);
        assert!(told.starts_with("deleted alice, whose name is free now: 1 session ended; "), "{told}");
        is_over(&server, &tokens);
        server.try_login("alice", PASSWORD).is_problem(401, "invalid_credentials");
        let new = server.register("ALICE");
        assert_eq!(new.status, 201, "{new:?}");
        assert_ne!(new.json()["id"], old["id"]);
    }

    fn a_password_is_set_and_the_one_before_is_not_good_any_more(database: &Database) {
        let server = Server::start(database);
        server.register("alice");
        let tokens = server.login("alice");
        let set = |password| operate(database, &[], &["user", "set-password", "alice"], password);
        let (code, _, error) = set("alice");
        assert_eq!(code, 1);
        let rules = error.matches("the password must").count();
        assert!(error.starts_with("portcullis: the password must be at least 8") && rules > 1, "{error}");
        lives(&server, &tokens);

        let (code, told, _) = set("An0ther-good one");
        assert_eq!(code, 0);
        assert!(told.starts_with("set the password of alice: 1 session ended; "), "{told}");
        is_over(&server, &tokens);
        server.try_login("alice", PASSWORD).is_problem(401, "invalid_credentials");
        lives(&server, &server.try_login("alice", "An0ther-good one").tokens());
    }

    // ASVS 7.4.5
    fn the_sessions_of_a_user_are_listed_and_ended(database: &Database) {
        let server = Server::start(database);
        server.register("alice");
        server.register("bob");
        let (first, second, other) = (server.login("alice"), server.login("alice"), server.login("bob"));
        let list = done(database, &["user", "sessions", "alice"]);
        let lines: Vec<Vec<&str>> = list.lines().map(|line| line.split('\t').collect()).collect();
        let ids: Vec<_> = lines.iter().map(|line| line[0]).collect();
        assert_eq!(ids, [&second.session, &first.session], "{list}");
        for line in &lines {
            let is_time = |text: &str| text.len() == 20 && text.ends_with('Z');
            assert!(line[1..4].iter().all(|time| is_time(time)) && line[2] < line[3], "{list}");
            assert_eq!((line.len(), line[4], line[5].starts_with("ureq/")), (6, "127.0.0.1", true), "{list}");
        }
        assert_eq!(
            done(database, &["user", "sessions", "alice", "--end"]),
            "alice: 2 sessions ended; running instances refuse their tokens within a second\n"
        );
        is_over(&server, &first);
        is_over(&server, &second);
        lives(&server, &other);
        assert_eq!(done(database, &["user", "sessions", "alice"]), "");
        lives(&server, &server.login("alice"));
    }

    fn nothing_is_done_to_a_user_who_is_not_there(database: &Database) {
        done(database, &["migrate"]);
        for (arguments, expected) in [
            (&["disable", "nobody"][..], "disable nobody"),
            (&["enable", "nobody"], "enable nobody"),
            (&["delete", "nobody", "--yes"], "delete nobody"),
            (&["set-password", "nobody"], "set the password of nobody"),
            (&["sessions", "nobody"], "list the sessions of nobody"),
            (&["sessions", "nobody", "--end"], "end the sessions of nobody"),
        ] {
            let outcome = operate(database, &[], &[&["user"], arguments].concat(), PASSWORD);
            let error = format!("portcullis: cannot {expected}: there is no such user\n");
            assert_eq!(outcome, (1, String::new(), error), "{arguments:?}");
        }
    }

    // ASVS 7.4.5
    fn everybodys_sessions_end_at_once(database: &Database) {
        let server = Server::start(database);
        server.register("alice");
        server.register("bob");
        let sessions = [server.login("alice"), server.login("bob"), server.login("bob")];
        let told = done(database, &["sessions", "end", "--all", "--yes"]);
        assert_eq!(told, "every session ended; running instances refuse their tokens within a second\n");
        for tokens in &sessions {
            is_over(&server, tokens);
        }
        let new = server.login("alice");
        lives(&server, &new);
        assert_eq!(server.refresh(&new.refresh).status, 200);
    }

    fn a_leaked_secret_is_replaced_under_running_instances(database: &Database) {
        let server = Server::start(database);
        server.register("alice");
        let old = server.login("alice");
        let adopt = |settings: &[_], arguments: &[_]| {
            operate(database, settings, &[&["secret", "adopt"], arguments].concat(), "y")
        };
        let new = ("SECRET", OTHER_SECRET);
        assert_eq!(adopt(&[new], &[]).0, 2, "nobody is at a terminal");
        let (code, _, error) = adopt(&[new, ("ACCEPTED_SECRETS", SECRET)], &["--yes"]);
        assert_eq!((code, error.starts_with("portcullis: accepted_secrets: ")), (78, true), "{error}");
        lives(&server, &old);

        let (code, told, _) = adopt(&[new], &["--yes"]);
        assert_eq!((code, told.contains("every session ended")), (0, true), "{told}");
        ends_by_itself(server);
        refuses_for_good(database, "secret", &[], &[]);
        refuses_for_good(database, "secret", &[], &["secret", "adopt", "--yes"]);

        let server = Server::start_with(database, &[new]);
        server.get_as("/protected", &old.access).is_problem(401, "invalid_token");
        server.refresh(&old.refresh).is_problem(401, "invalid_refresh_token");
        lives(&server, &server.login("alice"));
        let events = "SELECT count(*) FROM security_events WHERE kind = 'secret_adopted'";
        assert_eq!(database.number(events), 1);
    }

    fn a_secret_that_leaks_while_it_is_replaced_never_comes_back(database: &Database) {
        let new = ("SECRET", OTHER_SECRET);
        let step_one = [("ACCEPTED_SECRETS", OTHER_SECRET)];
        let step_two = [new, ("ACCEPTED_SECRETS", SECRET)];
        let running = [Server::start_with(database, &step_one), Server::start_with(database, &step_two)];
        running[0].register("alice");
        let old = running[0].login("alice");
        lives(&running[1], &old);

        let (code, told, _) = operate(database, &[new], &["secret", "adopt", "--yes"], "");
        assert_eq!((code, told.contains("running instances end by themselves")), (0, true), "{told}");
        running.into_iter().for_each(ends_by_itself);
        refuses_for_good(database, "secret", &step_one, &[]);
        refuses_for_good(database, "accepted_secrets", &step_two, &[]);

        let server = Server::start_with(database, &[new]);
        server.get_as("/protected", &old.access).is_problem(401, "invalid_token");
        server.refresh(&old.refresh).is_problem(401, "invalid_refresh_token");
        let tokens = server.login("alice");
        server.terminate();

        // The next replacement signs nobody out.
        let third = ("SECRET", THIRD_SECRET);
        let running = [
            Server::start_with(database, &[new, ("ACCEPTED_SECRETS", THIRD_SECRET)]),
            Server::start_with(database, &[third, ("ACCEPTED_SECRETS", OTHER_SECRET)]),
        ];
        for server in &running {
            lives(server, &tokens);
        }
        let tokens = running[1].refresh(&tokens.refresh).tokens();
        for server in &running {
            lives(server, &tokens);
        }
        drop(running);
        lives(&Server::start_with(database, &[third]), &tokens);
    }

    fn adopting_the_secret_in_use_ends_sessions_and_instances_too(database: &Database) {
        let server = Server::start(database);
        server.register("alice");
        let old = server.login("alice");
        done(database, &["secret", "adopt", "--yes"]);
        ends_by_itself(server);
        let server = Server::start(database);
        is_over(&server, &old);
        lives(&server, &server.login("alice"));
    }

    fn a_clock_that_is_off_keeps_no_operator_from_locking_somebody_out(database: &Database) {
        let server = Server::start(database);
        server.register("alice");
        let old = server.login("alice");
        server.kill();
        let an_hour_ahead = match database.kind {
            Kind::Sqlite => "(unixepoch() + 3600) * 1000000",
            Kind::Postgres { .. } => "now() + interval '1 hour'",
        };
        database.execute(&format!("UPDATE deployment SET newest_mark = {an_hour_ahead}"));
        let (code, told, warning) = operate(database, &[], &["user", "disable", "alice"], "");
        let expected = "disabled alice: 1 session ended; running instances refuse its tokens within a second\n";
        assert_eq!((code, told.as_str()), (0, expected), "{warning}");
        for part in ["ahead of the database's", "docs/security/incidents.md"] {
            assert!(warning.contains(part), "{warning}");
        }
        assert_eq!(operate(database, &[], &["user", "enable", "alice"], "").0, 0);

        // What the documentation advises.
        let advice = include_str!("../../docs/security/incidents.md");
        let dialect = match database.kind {
            Kind::Sqlite => "-- SQLite\n",
            Kind::Postgres { .. } => "-- PostgreSQL\n",
        };
        let advice = advice.split(dialect).nth(1).unwrap().split("```").next().unwrap().split("--").next().unwrap();
        for statement in advice.split(';').filter(|statement| !statement.trim().is_empty()) {
            database.execute(statement);
        }
        let server = Server::start(database);
        is_over(&server, &old);
        lives(&server, &server.login("alice"));
    }

    fn migrations_are_listed_and_run(database: &Database) {
        let url = database.url();
        let settings = [("DATABASE__URL", url.as_str())];
        let lines = |arguments: &[&str]| {
            let output = run(database.folder.path(), &settings, arguments);
            assert!(output.status.success(), "{output:?}");
            String::from_utf8(output.stdout).unwrap()
        };
        if matches!(database.kind, Kind::Sqlite) {
            let missing = run(database.folder.path(), &settings, &["migrate", "--status"]);
            assert_eq!(missing.status.code(), Some(78), "{missing:?}");
            std::fs::create_dir(database.folder.path().join("data")).unwrap();
            std::fs::write(database.folder.path().join("data/portcullis.db"), "").unwrap();
        }
        let pending = lines(&["migrate", "--status"]);
        assert!(pending.lines().count() > 0 && pending.lines().all(|line| line.starts_with("pending  ")), "{pending}");
        let applied = lines(&["migrate"]);
        assert_eq!(applied, pending.replace("pending", "applied"));
        assert_eq!(lines(&["migrate", "--status"]), applied);
        assert_eq!(lines(&["migrate"]), applied, "running them again changes nothing");
    }
}

#[test]
fn secrets_are_generated_and_differ() {
    let folder = Database::sqlite().folder;
    let secrets: Vec<String> = (0..2)
        .map(|_| String::from_utf8(run(folder.path(), &[], &["secret", "generate"]).stdout).unwrap())
        .collect();
    assert!(secrets.iter().all(|secret| secret.starts_with("pcs_") && secret.len() == 48), "{secrets:?}");
    assert_ne!(secrets[0], secrets[1]);
    let settings = [("ENV", "production"), ("SECRET", secrets[0].trim()), ("HASHING__BCRYPT_COST", "10")];
    assert!(run(folder.path(), &settings, &["config", "check"]).status.success(), "production accepts it");
}

#[test]
fn the_settings_are_shown_without_secrets() {
    let folder = Database::sqlite().folder;
    let settings = [("DATABASE_URL", "postgres://me:hunter2@localhost/p")];
    let output = run(folder.path(), &settings, &["config", "check"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.starts_with("# environment: development\n"), "{text}");
    assert!(text.contains("database.url = \"postgres://localhost/p\"  # DATABASE_URL\n"), "{text}");
    assert!(text.contains("secret = ********  # PORTCULLIS_SECRET\n"), "{text}");
    assert!(!text.contains("hunter2") && !text.contains(SECRET), "{text}");
    assert!(text.contains("sessions.max_per_user = 50  # the built-in defaults\n"), "{text}");
    for kept in [
        "# kept: users: until they are deleted\n",
        "# kept: sessions: 62 minutes after they ended or expired\n",
        "# kept: counters of attempts at passwords, by a keyed hash of the name: until the right password, or 24 hours \
         after the next attempt was allowed\n",
        "# kept: from which network somebody logged in to which account, by a keyed hash of both: 30 days after the \
         last time\n",
        "# kept: security events: as long as audit.retention says\n",
    ] {
        assert!(text.contains(kept), "{text}");
    }
    let refused = run(folder.path(), &[("LOG__LEVEL", "loud")], &["config", "check"]);
    assert_eq!((refused.status.code(), refused.stdout.len()), (Some(78), 0));
}

#[test]
fn the_keys_listed_are_the_keys_published() {
    let database = Database::sqlite();
    let output = run(database.folder.path(), &[], &["keys", "list"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    let uses: Vec<_> = lines.iter().map(|line| (*line.last().unwrap(), line[1])).collect();
    let expected = [
        ("ES256", "verifies"),
        ("ES256", "signs"),
        ("ES256", "verifies"),
        ("EdDSA", "verifies"),
        ("EdDSA", "verifies"),
        ("EdDSA", "verifies"),
    ];
    assert_eq!(uses, expected, "of each algorithm the epochs before, now and next: {text}");
    let no_secret = run(database.folder.path(), &[("SECRET", "")], &["keys", "list"]);
    assert_eq!(no_secret.status.code(), Some(78), "looking makes no secret: {no_secret:?}");
    assert!(!database.folder.path().join("data").exists());
    let published = Server::start(&database).get("/.well-known/jwks.json").json();
    let published: Vec<_> =
        published["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap()).collect();
    assert_eq!(lines.iter().map(|line| line[0]).collect::<Vec<_>>(), published);
}

#[test]
fn keys_list_marks_keys_that_are_not_published() {
    let database = Database::sqlite();
    let settings = [("TOKENS__PUBLISHED_KEYS", "signing"), ("TOKENS__ALGORITHM", "EdDSA")];
    let output = run(database.folder.path(), &settings, &["keys", "list"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let (published, others): (Vec<_>, Vec<_>) =
        text.lines().partition(|line| !line.ends_with("not published"));
    assert_eq!((published.len(), others.len()), (3, 3), "{text}");
    assert!(published.iter().all(|line| line.ends_with("  EdDSA")), "{text}");
    let keys = Server::start_with(&database, &settings).get("/.well-known/jwks.json").json();
    let keys: Vec<_> =
        keys["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap()).collect();
    assert_eq!(published.iter().map(|line| &line[..43]).collect::<Vec<_>>(), keys);
}

#[test]
fn the_description_printed_is_the_one_served() {
    let database = Database::sqlite();
    let printed = run(database.folder.path(), &[], &["openapi"]);
    let mut printed: Value = serde_json::from_slice(&printed.stdout).unwrap();
    let mut served = Server::start(&database).get("/openapi.json").json();
    // Only a running server knows its public URL.
    let url =
        |document: &mut Value| document.as_object_mut().unwrap().remove("servers").unwrap()[0]["url"].take();
    assert_eq!(url(&mut printed), "/");
    assert_eq!(url(&mut served), "http://auth.test");
    assert_eq!(printed, served);
}

#[test]
fn health_is_asked_of_the_service_on_this_machine() {
    let database = Database::sqlite();
    let folder = database.folder.path();
    let server = Server::start(&database);
    let ask = |address: String| run(folder, &[("SERVER__LISTEN", &address)], &["healthcheck"]);
    assert!(ask(server.address.to_string()).status.success());
    assert!(
        ask(format!("0.0.0.0:{}", server.address.port())).status.success(),
        "every address is this one too"
    );

    // Somebody else has the port and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let output = ask(silent.local_addr().unwrap().to_string());
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("portcullis: no answer from "), "{output:?}");
}

#[test]
fn reader_that_leaves_early_is_no_failure() {
    let database = Database::sqlite();
    done(&database, &["migrate"]);
    for arguments in [
        &["openapi"][..],
        &["config", "check"],
        &["migrate", "--status"],
        &["keys", "list"],
        &["secret", "generate"],
        &["user", "check-hashes"],
        &["audit", "verify"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = command(database.folder.path());
        command.env("PORTCULLIS_DATABASE__URL", database.url()).env("PORTCULLIS_LOG__LEVEL", "warn");
        let mut child = command.args(arguments).stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
        let status = wait(&mut child);
        let error = String::from_utf8(child.wait_with_output().unwrap().stderr).unwrap();
        assert_eq!((status.code(), error.as_str()), (Some(0), ""), "{arguments:?}");
    }
}

#[test]
fn piped_password_loses_mark_and_line_end() {
    for (name, password) in [
        ("plain", PASSWORD.to_owned()),
        ("marked", format!("\u{feff}{PASSWORD}")),
        ("windows", format!("\u{feff}{PASSWORD}\r")),
    ] {
        let database = Database::sqlite();
        let (code, ..) = add_user(&database, name, &password);
        assert_eq!(code, 0);
        Server::start(&database).login(name);
    }
}

/// Runs `user add` with the password on standard input.
fn add_user(database: &Database, name: &str, password: &str) -> (i32, String, String) {
    operate(database, &[], &["user", "add", name], password)
}

/// Runs a command that succeeds and has nothing to remark, and returns what it says.
#[track_caller]
fn done(database: &Database, arguments: &[&str]) -> String {
    let (code, out, error) = operate(database, &[], arguments, "");
    assert_eq!((code, error.as_str()), (0, ""), "{arguments:?}");
    out
}

/// Runs a command over a database, with a line on standard input. Returns the exit code and what it says on
/// standard output and on standard error.
fn operate(
    database: &Database,
    settings: &[(&str, &str)],
    arguments: &[&str],
    line: &str,
) -> (i32, String, String) {
    let mut command = command(database.folder.path());
    command.env("PORTCULLIS_DATABASE__URL", database.url()).env("PORTCULLIS_LOG__LEVEL", "warn");
    for (name, value) in settings {
        command.env(format!("PORTCULLIS_{name}"), value);
    }
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A command that asks for nothing may be gone before it is answered.
    let _ = writeln!(child.stdin.take().unwrap(), "{line}");
    let status = wait(&mut child);
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// Waits until a running server, which was told nothing, ends since a secret was adopted.
#[track_caller]
fn ends_by_itself(server: Server) {
    let (status, log) = server.ended();
    let reason = log.last().unwrap();
    assert_eq!(status.code(), Some(78), "{log:#?}");
    assert!(reason.starts_with("portcullis: secret: the database's was replaced while "), "{log:#?}");
}

/// A command is refused because a secret in this setting was shut out by the adoption of another.
#[track_caller]
fn refuses_for_good(database: &Database, setting: &str, settings: &[(&str, &str)], arguments: &[&str]) {
    let (code, _, error) = operate(database, settings, arguments, "");
    let expected = format!("portcullis: {setting}: the database refuses ");
    assert_eq!((code, error.starts_with(&expected)), (78, true), "{error}");
}

/// Waits until a running server, which was told nothing, refuses what is left of a session.
#[track_caller]
fn is_over(server: &Server, tokens: &Tokens) {
    server.refresh(&tokens.refresh).is_problem(401, "invalid_refresh_token");
    wait_until("the access token is refused", || server.get_as("/protected", &tokens.access).status == 401);
}

#[track_caller]
fn lives(server: &Server, tokens: &Tokens) {
    assert_eq!(server.get_as("/protected", &tokens.access).status, 200);
}
