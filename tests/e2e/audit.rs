//! The audit log proves itself, beside a running service and after it.

use serde_json::json;

use crate::database::{Database, Kind};
use crate::on_both_databases;
use crate::server::{PASSWORD, SECRET, Server, run, wait_until};

const NEW_SECRET: &str = "pcs_p3vN0WcZy7mYl1rTqkGm2sQ8bXh4JfUe5aLxRtOdKjM";

/// Runs `audit verify` and gives its exit code, what it printed and what went wrong.
fn verify(database: &Database, settings: &[(&str, &str)], arguments: &[&str]) -> (i32, String, String) {
    let url = database.url();
    let settings = [&[("DATABASE__URL", url.as_str())], settings].concat();
    let output = run(database.folder.path(), &settings, &[&["audit", "verify"], arguments].concat());
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn good(database: &Database, settings: &[(&str, &str)], arguments: &[&str]) -> String {
    let (code, out, error) = verify(database, settings, arguments);
    assert_eq!((code, error.as_str()), (0, ""), "{out}");
    out
}

/// What a line of the output says after its name.
fn said<'a>(out: &'a str, name: &str) -> &'a str {
    let line = out.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    line.unwrap_or_else(|| panic!("no {name}: {out}"))
}

/// The head as a log line tells it, for `--head`.
fn kept_head(log: &[String]) -> String {
    let mut lines = log.iter().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let head = lines.rfind(|line| line["msg"] == "audit head").expect("a signed head");
    assert_eq!((head["signature"].as_str().unwrap().len(), head["key"].as_str().unwrap().len()), (128, 64));
    format!("{}:{}", head["seq"], head["hash"].as_str().unwrap())
}

/// The SQL that docs/audit.md gives for a role that can only insert.
fn insert_only_sql() -> &'static str {
    let docs = include_str!("../../docs/audit.md");
    docs.split_once("```sql insert-only\n").unwrap().1.split_once("```").unwrap().0
}

// ASVS 13.2.2 16.4.2
#[test]
fn a_role_that_can_only_insert_can_serve() {
    let owner = Database::postgres();
    let Kind::Postgres { server: postgres, url } = &owner.kind else { panic!("it is PostgreSQL") };
    let as_owner = [("DATABASE__URL", url.as_str())];
    let migrated = run(owner.folder.path(), &as_owner, &["migrate"]);
    assert!(migrated.status.success(), "{migrated:?}");
    owner.execute(insert_only_sql());

    let service = url.replace("user=portcullis", "user=portcullis_service");
    assert_ne!(&service, url);
    let settings = [("DATABASE__URL", service.as_str()), ("AUDIT__RETENTION", "forever")];
    let server = Server::start_with(&owner, &settings);
    server.wait_until_ready();
    server.register("alice");
    let tokens = server.login("alice");
    let tokens = server.refresh(&tokens.refresh).tokens();
    let tokens = server.change_password(&tokens.access, PASSWORD, "An0ther-good one").tokens();
    assert_eq!(server.get_as("/me/activity", &tokens.access).json()["events"].as_array().unwrap().len(), 3);
    assert_eq!(server.logout(&tokens.refresh).status, 204);
    let tokens = server.try_login("alice", "An0ther-good one").tokens();
    let deleted =
        server.send_as("DELETE", "/me", &tokens.access, &json!({"current_password": "An0ther-good one"}));
    assert_eq!(deleted.status, 204, "{deleted:?}");
    let (_, log) = server.terminate();
    assert!(!log.iter().any(|line| line.contains(r#""level":"warn""#) || line.contains("error")), "{log:#?}");
    let out = good(&owner, &settings, &[]);
    assert_eq!((said(&out, "sealed"), said(&out, "not sealed yet")), ("6, from seq 1 to 6", "0"));
    assert!(said(&out, "newest signed head").starts_with("6:"), "{out}");

    for table in ["security_events", "audit_chain", "audit_heads"] {
        for sql in [
            format!("UPDATE {table} SET {} = {}", column(table), column(table)),
            format!("DELETE FROM {table}"),
            format!("TRUNCATE {table}"),
            format!("DROP TABLE {table}"),
            format!("ALTER TABLE {table} DISABLE TRIGGER ALL"),
        ] {
            let refused =
                postgres.try_execute(url, &format!("SET ROLE portcullis_service; {sql}")).unwrap_err();
            assert!(
                refused.contains("permission denied") || refused.contains("must be owner"),
                "{sql}: {refused}"
            );
        }
    }
    good(&owner, &as_owner, &[]);
    let trimmed = run(owner.folder.path(), &as_owner, &["audit", "trim"]);
    assert_eq!(trimmed.stdout, b"deleted 0 sealed events\n", "{trimmed:?}");
}

fn column(table: &str) -> &'static str {
    match table {
        "security_events" => "kind",
        _ => "hash",
    }
}

on_both_databases! {
    // ASVS 16.4.2
    fn what_happens_is_sealed_and_signed_and_a_change_is_named(database: &Database) {
        let server = Server::start(database);
        server.register("alice");
        let tokens = server.login("alice");
        server.try_login("alice", "Wr0ng-password");
        server.try_login("nobody-of-that-name", PASSWORD);
        server.logout(&tokens.refresh);
        let events = database.number("SELECT count(*) FROM security_events");
        assert_eq!(events, 5);
        wait_until("all is sealed", || said(&good(database, &[], &[]), "not sealed yet") == "0");
        let out = good(database, &[], &[]);
        assert_eq!(said(&out, "sealed"), "5, from seq 1 to 5");
        let end = said(&out, "end of the chain").to_owned();
        good(database, &[], &["--head", &end]);

        let (_, log) = server.terminate();
        assert_eq!(kept_head(&log), end, "signed when it stopped");
        let out = good(database, &[], &["--head", &end]);
        assert!(said(&out, "newest signed head").starts_with(&end), "{out}");
        let (code, ..) = verify(database, &[], &["--head", "5"]);
        assert_eq!(code, 2);

        let event = "(SELECT event_id FROM audit_chain WHERE seq = 3)";
        database.execute(&format!("UPDATE security_events SET kind = 'login_succeeded' WHERE id = {event}"));
        let (code, out, error) = verify(database, &[], &[]);
        assert_eq!((code, out.as_str()), (1, ""));
        assert!(error.starts_with("portcullis: the audit log is not good: seq 3, event ") && error.contains(": edited"), "{error}");
        database.execute(&format!("UPDATE security_events SET kind = 'login_failed' WHERE id = {event}"));
        good(database, &[], &[]);

        database.execute("DELETE FROM audit_heads");
        database.execute("DELETE FROM audit_chain WHERE seq > 3");
        good(database, &[], &[]);
        let (code, _, error) = verify(database, &[], &["--head", &end]);
        assert!(code == 1 && error.contains("seq 4: truncated: the chain ends at seq 3"), "{error}");
    }

    fn whoever_has_another_secret_cannot_say_that_it_is_good(database: &Database) {
        let server = Server::start(database);
        server.register("alice");
        wait_until("all is sealed", || said(&good(database, &[], &[]), "not sealed yet") == "0");
        server.terminate();
        let (code, _, error) = verify(database, &[("SECRET", NEW_SECRET)], &[]);
        assert!(code == 1 && error.contains("seq 1: statement 1 is signed by a key"), "{error}");
    }

    fn the_log_is_good_after_the_secret_was_replaced_and_adopted(database: &Database) {
        let start = |settings: &[(&str, &str)]| {
            let server = Server::start_with(database, settings);
            server.wait_until_ready();
            server
        };
        let server = start(&[]);
        server.register("alice");
        server.terminate();
        let server = start(&[("SECRET", NEW_SECRET), ("ACCEPTED_SECRETS", SECRET)]);
        server.register("bob");
        server.terminate();
        assert_eq!(database.number("SELECT count(*) FROM security_events WHERE kind = 'secret_replaced'"), 1);
        let new = [("SECRET", NEW_SECRET)];
        let out = good(database, &new, &[]);
        assert_eq!(said(&out, "sealed"), "3, from seq 1 to 3");
        let (code, ..) = verify(database, &[], &[]);
        assert_eq!(code, 1, "the old secret alone does not vouch for it");

        let third = [("SECRET", "pcs_Hx4dHBsaGRgXFhUUExIREA8ODQwLCgkIBwYFBAMCAQA")];
        let url = database.url();
        let settings = [&[("DATABASE__URL", url.as_str())], &third[..]].concat();
        let adopted = run(database.folder.path(), &settings, &["secret", "adopt", "--yes"]);
        assert!(adopted.status.success(), "{adopted:?}");
        let out = good(database, &third, &[]);
        assert!(out.contains("a secret was adopted at seq 3: what was signed before proves nothing"), "{out}");
        let server = start(&third);
        server.terminate();
        assert_eq!(said(&good(database, &third, &[]), "sealed"), "4, from seq 1 to 4");
    }

    fn nothing_is_deleted_before_its_time_and_a_day_is_the_least(database: &Database) {
        let server = Server::start(database);
        server.register("alice");
        wait_until("all is sealed", || said(&good(database, &[], &[]), "not sealed yet") == "0");
        server.terminate();
        let url = database.url();
        let trim = |retention| {
            let settings = [("DATABASE__URL", url.as_str()), ("AUDIT__RETENTION", retention)];
            run(database.folder.path(), &settings, &["audit", "trim"])
        };
        let trimmed = trim("1d");
        assert_eq!(trimmed.stdout, b"deleted 0 sealed events\n", "{trimmed:?}");
        assert_eq!(trim("23h").status.code(), Some(78));
        assert_eq!(trim("forever").status.code(), Some(78));
    }

    fn nothing_is_sealed_where_a_setting_says_so(database: &Database) {
        let server = Server::start_with(database, &[("AUDIT__SEAL", "false")]);
        server.register("alice");
        server.terminate();
        let out = good(database, &[], &[]);
        assert_eq!((said(&out, "sealed"), said(&out, "not sealed yet")), ("0", "1"));
        let server = Server::start(database);
        wait_until("all is sealed", || said(&good(database, &[], &[]), "not sealed yet") == "0");
        server.terminate();
    }

    /// AU-05. Whatever a change may be, it does not happen where its event cannot be stored.
    // ASVS 2.3.3
    fn nothing_happens_that_cannot_be_recorded(database: &Database) {
        let server = Server::start(database);
        server.register("alice");
        let tokens = server.login("alice");
        let state = || {
            ["SELECT count(*) FROM users", "SELECT count(*) FROM sessions WHERE ended_at IS NULL", "SELECT count(*) FROM security_events"]
                .map(|sql| database.number(sql))
        };
        let before = state();
        let hash = || database.text("SELECT password_hash FROM users WHERE canonical_name = 'alice'");
        let hash_before = hash();
        database.refuse_inserts("security_events");
        let answers = [
            server.register("bob"),
            server.try_login("alice", PASSWORD),
            server.try_login("alice", "Wr0ng-password"),
            server.try_login("nobody-of-that-name", PASSWORD),
            server.logout(&tokens.refresh),
            server.change_password(&tokens.access, PASSWORD, "An0ther-good one"),
            server.change_password(&tokens.access, "Wr0ng-password", "An0ther-good one"),
            server.send_as("DELETE", "/me", &tokens.access, &json!({"current_password": PASSWORD})),
            server.call("DELETE", &format!("/me/sessions/{}", tokens.session), &[("authorization", &format!("Bearer {}", tokens.access))], None),
            server.call("POST", "/logout?scope=all", &[("authorization", &format!("Bearer {}", tokens.access))], None),
        ];
        for answer in &answers {
            assert!(answer.status >= 500, "{answer:?}");
        }
        let url = database.url();
        let settings = [("DATABASE__URL", url.as_str())];
        for arguments in [&["user", "disable", "alice"][..], &["user", "delete", "alice", "--yes"], &["user", "sessions", "alice", "--end"], &["sessions", "end", "--all", "--yes"]] {
            let output = run(database.folder.path(), &settings, arguments);
            assert_eq!(output.status.code(), Some(1), "{output:?}");
        }
        let both = [("DATABASE__URL", url.as_str()), ("SECRET", NEW_SECRET), ("ACCEPTED_SECRETS", SECRET)];
        assert_ne!(run(database.folder.path(), &both, &["audit", "trim"]).status.code(), Some(0), "nor is a secret replaced");
        assert_eq!((state(), hash()), (before, hash_before));
        assert_eq!(server.get_as("/protected", &tokens.access).status, 200);
        assert_eq!(server.refresh(&tokens.refresh).status, 200, "which is no event");
    }
}
