//! Databases and secret files that are missing, foreign, read-only or another user's.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::Path;
use std::process::{Command, Output};

use portcullis_testkit::postgres::ThrowawayPostgres;

use crate::database::{Database, Kind};
use crate::server::{PASSWORD, SECRET, Server, command, command_as, output_of, run, set};

/// Commands that change a database.
const CHANGING: [&[&str]; 11] = [
    &["user", "disable", "alice"],
    &["user", "enable", "alice"],
    &["user", "delete", "alice", "--yes"],
    &["user", "set-password", "alice"],
    &["user", "sessions", "alice", "--end"],
    &["sessions", "end", "--all", "--yes"],
    &["secret", "adopt", "--yes"],
    &["audit", "trim"],
    &["db", "moved", "--yes"],
    &["db", "copy", "--to", "sqlite://target.db", "--yes"],
    &["user", "disable", "nobody"],
];

/// Commands that read a database.
const READING: [&[&str]; 5] = [
    &["user", "sessions", "alice"],
    &["user", "check-hashes"],
    &["audit", "verify"],
    &["migrate", "--status"],
    &["migrate", "--plan"],
];

const NOBODY: u32 = 65_534;

/// Checks that a command failed with exit code 78, and returns its output besides the log.
#[track_caller]
fn refusal(output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(78), 0), "{output:?}");
    stderr.lines().filter(|line| !line.starts_with('{')).collect()
}

fn entries(folder: &Path) -> usize {
    fs::read_dir(folder).unwrap().count()
}

fn add_alice(database: &Database, settings: &[(&str, &str)]) {
    let mut add = command(database.folder.path());
    add.env("PORTCULLIS_DATABASE__URL", database.url());
    for (name, value) in settings {
        set(&mut add, name, value);
    }
    let password = database.folder.path().join("password");
    fs::write(&password, PASSWORD).unwrap();
    add.args(["user", "add", "alice"]).stdin(fs::File::open(&password).unwrap());
    let output = output_of(add);
    assert!(output.status.success(), "{output:?}");
    fs::remove_file(password).unwrap();
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The binary as a user whom permissions bind.
fn unprivileged(folder: &Path) -> Command {
    match is_root() {
        true => command_as(NOBODY, NOBODY, folder),
        false => command(folder),
    }
}

#[test]
fn command_without_a_database_creates_nothing() {
    let database = Database::sqlite();
    let folder = database.folder.path();
    let path = folder.join("data/portcullis.db");
    for secret in [SECRET, ""] {
        for arguments in CHANGING.iter().chain(&READING) {
            let error = refusal(&run(folder, &[("SECRET", secret)], arguments));
            assert!(error.contains(path.to_str().unwrap()), "{arguments:?}: {error}");
            assert_eq!(entries(folder), 0, "{arguments:?}");
        }
    }
    let error = refusal(&run(folder, &[("SECRET", "")], &["keys", "list"]));
    assert!(error.contains(folder.join("data/portcullis.secret").to_str().unwrap()), "{error}");
    for arguments in [&["config", "check"][..], &["openapi"], &["healthcheck"]] {
        run(folder, &[("SECRET", "")], arguments);
        assert_eq!(entries(folder), 0, "{arguments:?}");
    }
}

#[test]
fn command_on_a_foreign_file_changes_nothing() {
    let database = Database::sqlite();
    let folder = database.folder.path();
    let path = folder.join("data/portcullis.db");
    fs::create_dir(folder.join("data")).unwrap();
    for kind in ["empty", "foreign"] {
        fs::write(&path, "").unwrap();
        if kind == "foreign" {
            database.execute("CREATE TABLE mine (x)");
        }
        let before = fs::read(&path).unwrap();
        for arguments in CHANGING.iter().chain(&READING).filter(|arguments| arguments[0] != "migrate") {
            let error = refusal(&run(folder, &[], arguments));
            assert!(
                error.contains(path.to_str().unwrap()) && error.contains("none of its tables"),
                "{error}"
            );
        }
        assert_eq!(fs::read(&path).unwrap(), before, "{kind}");
        assert_eq!(entries(&folder.join("data")), 1, "{kind}");
        let status = run(folder, &[], &["migrate", "--status"]);
        assert!(String::from_utf8_lossy(&status.stdout).starts_with("pending  "), "{status:?}");
    }
}

#[test]
fn command_on_an_empty_server_database_creates_no_table() {
    let database = Database::postgres();
    let url = database.url();
    for arguments in CHANGING.iter().chain(&READING).filter(|arguments| arguments[0] != "migrate") {
        let error = refusal(&run(database.folder.path(), &[("DATABASE__URL", &url)], arguments));
        assert!(error.contains("none of its tables"), "{arguments:?}: {error}");
    }
    // `migrate --status` also distinguishes a missing database from an unreachable server.
    let (server, options) = url.split_once('?').unwrap();
    let name = server.trim_start_matches("postgres:///");
    let missing = format!("postgres:///{name}_missing?{options}");
    for arguments in CHANGING.iter().chain(&READING) {
        let error = refusal(&run(database.folder.path(), &[("DATABASE__URL", &missing)], arguments));
        assert!(error.contains(&format!("{name}_missing does not exist")), "{arguments:?}: {error}");
    }
    let tables = "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace";
    assert_eq!(database.number(tables), 0);
}

#[test]
fn folder_or_dangling_link_is_no_database() {
    let database = Database::sqlite();
    let folder = database.folder.path();
    fs::create_dir(folder.join("folder.db")).unwrap();
    symlink("/nonexistent/volume.db", folder.join("link.db")).unwrap();
    symlink("/nonexistent/volume", folder.join("data")).unwrap();
    for (file, words) in [
        ("folder.db", "leads to a folder"),
        ("link.db", "is a link to /nonexistent/volume.db, which does not exist"),
        ("data/portcullis.db", "data is a link to /nonexistent/volume, which does not exist"),
    ] {
        let url = format!("sqlite://{file}");
        for arguments in
            [&["serve"][..], &["migrate"], &["sessions", "end", "--all", "--yes"], &["audit", "verify"]]
        {
            let error = refusal(&run(folder, &[("DATABASE_URL", &url), ("DATABASE__URL", "")], arguments));
            let is_missing = file.starts_with("data") && !matches!(arguments[0], "serve" | "migrate");
            assert!(error.contains(words) || is_missing, "{file} {arguments:?}: {error}");
            assert!(error.contains(folder.to_str().unwrap()), "{file} {arguments:?}: {error}");
        }
    }
}

#[test]
fn lost_secret_file_is_not_replaced() {
    let database = Database::sqlite();
    let folder = database.folder.path();
    add_alice(&database, &[("SECRET", "")]);
    let file = folder.join("data/portcullis.secret");
    fs::remove_file(&file).unwrap();
    let serving = [&["serve"][..], &["user", "add", "bob"]];
    for arguments in CHANGING.iter().copied().chain(serving) {
        let error = refusal(&run(folder, &[("SECRET", "")], arguments));
        assert!(error.contains(file.to_str().unwrap()) && error.contains("secret adopt"), "{error}");
        assert!(!file.exists(), "{arguments:?}");
    }
    let adopted = run(folder, &[], &["secret", "adopt", "--yes"]);
    assert!(adopted.status.success(), "the advice works: {adopted:?}");
}

/// Only root can create files for another user, so only root can prove it.
#[test]
fn service_uses_what_root_created_in_its_folder() {
    if !is_root() {
        return;
    }
    for first in [&["migrate"][..], &["user", "add", "alice"], &["serve"]] {
        let database = Database::sqlite();
        let folder = database.folder.path();
        chown(folder, Some(NOBODY), Some(NOBODY)).unwrap();
        match first[0] {
            "serve" => Server::start_with(&database, &[("SECRET", "")]).kill(),
            "user" => add_alice(&database, &[("SECRET", "")]),
            _ => assert!(run(folder, &[("SECRET", "")], first).status.success()),
        }
        for file in fs::read_dir(folder.join("data")).unwrap() {
            let file = file.unwrap().path();
            let data = fs::metadata(&file).unwrap();
            assert_eq!((data.uid(), data.mode() & 0o777), (NOBODY, 0o600), "{}", file.display());
        }
        let mut service = command_as(NOBODY, NOBODY, folder);
        service.env_remove("PORTCULLIS_SECRET");
        let server = Server::of(service);
        assert_eq!(server.register("bob").status, 201, "after {first:?}");
    }
}

/// As on platforms that give a container any user, and the group 0.
#[test]
fn users_of_one_group_share_a_folder() {
    if !is_root() {
        return;
    }
    let database = Database::sqlite();
    let folder = database.folder.path();
    chown(folder, Some(NOBODY), Some(0)).unwrap();
    fs::set_permissions(folder, Permissions::from_mode(0o770)).unwrap();
    for user in [1_000_650_000, 1_000_650_001] {
        let mut service = command_as(user, 0, folder);
        service.env_remove("PORTCULLIS_SECRET");
        let server = Server::of(service);
        assert_eq!(server.register(&format!("user{user}")).status, 201);
        server.terminate();
    }
    let mode = |name: &str| fs::metadata(folder.join("data").join(name)).unwrap().mode() & 0o777;
    assert_eq!((mode("portcullis.db"), mode("portcullis.secret")), (0o660, 0o640), "nothing for others");
}

#[test]
fn another_users_file_is_named_with_its_owner() {
    if !is_root() {
        return;
    }
    let database = Database::sqlite();
    add_alice(&database, &[]);
    let folder = database.folder.path();
    let data = folder.join("data");
    for path in [folder, &data] {
        chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    for arguments in [&["serve"][..], &["user", "sessions", "alice"]] {
        let mut service = command_as(NOBODY, NOBODY, folder);
        service.args(arguments);
        let error = refusal(&output_of(service));
        let path = data.join("portcullis.db");
        let expected = format!("chown {NOBODY} '{}'", path.display());
        assert!(error.contains("owner 0") && error.contains(&expected), "{arguments:?}: {error}");
    }
    for file in fs::read_dir(&data).unwrap() {
        let file = file.unwrap().path();
        chown(&file, Some(NOBODY), Some(NOBODY)).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o400)).unwrap();
    }
    let mut service = command_as(NOBODY, NOBODY, folder);
    service.arg("serve");
    let error = refusal(&output_of(service));
    assert!(error.contains("chmod u+rw '") && !error.contains("chown"), "{error}");
}

#[test]
fn reading_commands_work_on_read_only_storage() {
    let database = Database::sqlite();
    add_alice(&database, &[("SECRET", "")]);
    let folder = database.folder.path();
    let data = folder.join("data");
    fs::set_permissions(folder, Permissions::from_mode(0o755)).unwrap();
    for file in fs::read_dir(&data).unwrap() {
        fs::set_permissions(file.unwrap().path(), Permissions::from_mode(0o444)).unwrap();
    }
    fs::set_permissions(&data, Permissions::from_mode(0o555)).unwrap();
    let before = entries(&data);
    let on_it = |arguments: &[&str]| {
        let mut command = unprivileged(folder);
        command.args(arguments).env_remove("PORTCULLIS_SECRET");
        output_of(command)
    };
    for arguments in READING.iter().copied().chain([&["keys", "list"][..], &["config", "check"]]) {
        let output = on_it(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
    }
    let writing = [&["serve"][..], &["migrate"], &["user", "add", "bob"]];
    for arguments in CHANGING.iter().copied().chain(writing) {
        let error = refusal(&on_it(arguments));
        assert!(error.contains("portcullis.db cannot be written by user"), "{arguments:?}: {error}");
    }
    assert_eq!(entries(&data), before);
    fs::set_permissions(&data, Permissions::from_mode(0o755)).unwrap();
}

/// A copy of a running service's files: the newest changes are in the log, which SQLite cannot read without writing.
#[test]
fn unread_log_on_read_only_storage_is_refused() {
    let database = Database::sqlite();
    let server = Server::start(&database);
    assert_eq!(server.register("alice").status, 201);
    let folder = database.folder.path();
    let copy = folder.join("copy");
    fs::create_dir(&copy).unwrap();
    for name in ["portcullis.db", "portcullis.db-wal"] {
        fs::copy(folder.join("data").join(name), copy.join(name)).unwrap();
        fs::set_permissions(copy.join(name), Permissions::from_mode(0o444)).unwrap();
    }
    fs::set_permissions(folder, Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&copy, Permissions::from_mode(0o555)).unwrap();
    let mut command = unprivileged(folder);
    command
        .env("PORTCULLIS_DATABASE__URL", "sqlite://copy/portcullis.db")
        .args(["user", "sessions", "alice"]);
    let error = refusal(&output_of(command));
    assert!(error.contains("the newest changes are in the log beside the file"), "{error}");
    fs::set_permissions(&copy, Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn reading_commands_work_on_a_read_only_server() {
    let database = Database::postgres();
    let Kind::Postgres { server: postgres, url } = &database.kind else { unreachable!() };
    add_alice(&database, &[]);
    let name = ThrowawayPostgres::database_name(url);
    postgres.execute(url, &format!("ALTER DATABASE {name} SET default_transaction_read_only TO on"));
    for arguments in READING {
        let output = run(database.folder.path(), &[("DATABASE__URL", url)], arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
    }
    // `audit trim` has nothing to delete, and the database did not move.
    for arguments in CHANGING.iter().filter(|arguments| !matches!(arguments[0], "audit" | "db")) {
        let output = run(database.folder.path(), &[("DATABASE__URL", url)], arguments);
        assert!(!output.status.success() && output.stdout.is_empty(), "{arguments:?}: {output:?}");
    }
}
