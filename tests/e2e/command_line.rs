//! The commands, with their exit codes: 0 fine, 1 failed, 2 usage, 78 bad configuration.

use std::io::Write as _;
use std::process::Stdio;

use serde_json::Value;

use crate::database::Database;
use crate::on_both_databases;
use crate::server::{PASSWORD, SECRET, Server, command, run, wait};

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

    fn migrations_are_listed_and_run(database: &Database) {
        let url = database.url();
        let settings = [("DATABASE__URL", url.as_str())];
        let lines = |arguments: &[&str]| {
            let output = run(database.folder.path(), &settings, arguments);
            assert!(output.status.success(), "{output:?}");
            String::from_utf8(output.stdout).unwrap()
        };
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
    let refused = run(folder.path(), &[("LOG__LEVEL", "loud")], &["config", "check"]);
    assert_eq!((refused.status.code(), refused.stdout.len()), (Some(78), 0));
}

#[test]
fn the_keys_listed_are_the_keys_published() {
    let database = Database::sqlite();
    let output = run(database.folder.path(), &[], &["keys", "list"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    let uses: Vec<_> = lines.iter().map(|line| line[1]).collect();
    assert_eq!(uses, ["verifies", "signs", "verifies"], "the epochs before, now and next: {text}");
    let no_secret = run(database.folder.path(), &[("SECRET", "")], &["keys", "list"]);
    assert_eq!(no_secret.status.code(), Some(78), "looking makes no secret: {no_secret:?}");
    assert!(!database.folder.path().join("data").exists());
    let published = Server::start(&database).get("/.well-known/jwks.json").json();
    let published: Vec<_> =
        published["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap()).collect();
    assert_eq!(lines.iter().map(|line| line[0]).collect::<Vec<_>>(), published);
}

#[test]
fn the_description_printed_is_the_one_served() {
    let database = Database::sqlite();
    let printed = run(database.folder.path(), &[], &["openapi"]);
    let printed: Value = serde_json::from_slice(&printed.stdout).unwrap();
    assert_eq!(printed, Server::start(&database).get("/openapi.json").json());
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

/// Runs `user add` with the password on standard input.
fn add_user(database: &Database, name: &str, password: &str) -> (i32, String, String) {
    let mut command = command(database.folder.path());
    command.env("PORTCULLIS_DATABASE__URL", database.url()).env("PORTCULLIS_LOG__LEVEL", "warn");
    command.args(["user", "add", name]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    writeln!(child.stdin.take().unwrap(), "{password}").unwrap();
    let status = wait(&mut child);
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(output.stdout), text(output.stderr))
}
