//! Writes the databases that a release leaves behind, with what a later version must find in them.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use diesel::connection::SimpleConnection as _;
use diesel::{Connection as _, SqliteConnection};
use portcullis_testkit::postgres::ThrowawayPostgres;
use serde_json::{Value, json};

use crate::database::{Database, Kind};
use crate::release::{Release, root};
use crate::say;
use crate::server::{PASSWORD, SECRET, Server, command, set};

/// Fills a database of each kind by the release's binary and writes it to `tests/data`.
pub(crate) fn record(release: &Release, binary: &Path) {
    let folder = root().join("tests/data").join(&release.version);
    fs::create_dir_all(&folder).unwrap();
    let sqlite = Database::sqlite();
    let known = fill(&sqlite, binary);
    write_known(&folder.join("sqlite.json"), &known);
    let stored = sqlite.folder.path().join("data/portcullis.db");
    let mut connection = SqliteConnection::establish(stored.to_str().unwrap()).unwrap();
    // Small pages, since most tables have few rows. The copy has no log.
    let copy = folder.join("portcullis.db");
    let _ = fs::remove_file(&copy);
    connection
        .batch_execute(&format!(
            "PRAGMA journal_mode = DELETE; PRAGMA page_size = 1024; VACUUM INTO '{}'",
            copy.display()
        ))
        .unwrap();

    let postgres = Database::postgres();
    let known = fill(&postgres, binary);
    write_known(&folder.join("postgres.json"), &known);
    let Kind::Postgres { server, url } = &postgres.kind else { unreachable!() };
    fs::write(folder.join("postgres.sql"), dump(server, url)).unwrap();
    for file in fs::read_dir(&folder).unwrap() {
        let file = file.unwrap();
        say(&format!("{}: {} bytes", file.path().display(), file.metadata().unwrap().len()));
    }
}

/// Uses the release as clients and an operator do, and returns what they know afterwards.
fn fill(database: &Database, binary: &Path) -> Value {
    let server = start(database, binary, &[]);
    server.wait_until_ready();
    for name in ["alice", "bob", "carol"] {
        assert_eq!(server.register(name).status, 201);
    }
    let first = server.login("alice");
    let rotated = server.refresh(&first.refresh).tokens();
    let rotated = server.refresh(&rotated.refresh).tokens();
    let other = server.login("alice");
    let ended = server.login("alice");
    assert_eq!(server.logout(&ended.refresh).status, 204);
    assert_eq!(server.try_login("alice", "Wr0ng-password here").status, 401);
    let changing = server.login("carol");
    let changed = "An0ther-good one";
    assert_eq!(server.change_password(&changing.access, PASSWORD, changed).status, 200);
    server.login("bob");
    let head = wait_for_seal(database, binary);
    let (status, log) = server.terminate();
    assert!(status.success(), "{log:#?}");
    operate(database, binary, &["user", "disable", "bob"]);
    json!({
        "secret": SECRET,
        "passwords": { "alice": PASSWORD, "carol": changed },
        "disabled": { "bob": PASSWORD },
        "live": { "alice": [rotated.refresh, other.refresh] },
        "ended": [ended.refresh],
        "audit_head": head,
    })
}

/// Waits until every event is sealed under a signed head, and returns the head for `audit verify --head`.
fn wait_for_seal(database: &Database, binary: &Path) -> String {
    let mut head = String::new();
    crate::server::wait_until("every event is sealed", || {
        let verified = operate(database, binary, &["audit", "verify"]);
        let signed = verified.lines().find_map(|line| line.strip_prefix("newest signed head: "));
        signed.and_then(|line| line.split(' ').next()).unwrap_or_default().clone_into(&mut head);
        verified.contains("not sealed yet: 0") && head.contains(':')
    });
    head
}

fn start(database: &Database, binary: &Path, settings: &[(&str, &str)]) -> Server {
    Server::of(command_of(database, binary, settings))
}

/// The command of a binary, with the settings of the tests.
pub(crate) fn command_of(database: &Database, binary: &Path, settings: &[(&str, &str)]) -> Command {
    let bare = command(database.folder.path());
    let mut command = Command::new(binary);
    command.current_dir(database.folder.path()).env_clear().stdin(Stdio::null());
    command.envs(bare.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.env("PORTCULLIS_DATABASE__URL", database.url());
    for (name, value) in settings {
        set(&mut command, name, value);
    }
    command
}

/// Runs a command of a binary and returns what it printed.
fn operate(database: &Database, binary: &Path, arguments: &[&str]) -> String {
    let output = command_of(database, binary, &[]).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Dumps a database as SQL that needs no psql.
fn dump(server: &ThrowawayPostgres, url: &str) -> String {
    let beside = server.programs().join("pg_dump");
    let program = if beside.exists() { beside } else { "pg_dump".into() };
    let output = Command::new(program)
        .args(["--inserts", "--no-owner", "--no-privileges", "--dbname", url])
        .output()
        .expect("pg_dump is there: install PostgreSQL's client");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    // Comments, and lines for psql.
    let is_sql = |line: &&str| !line.is_empty() && !line.starts_with("--") && !line.starts_with('\\');
    text.lines().filter(is_sql).collect::<Vec<_>>().join("\n") + "\n"
}

fn write_known(path: &Path, known: &Value) {
    fs::write(path, serde_json::to_string_pretty(known).unwrap() + "\n").unwrap();
}
