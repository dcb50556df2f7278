//! Restored backups and copies of a database: nothing that had ended is valid again.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use portcullis_testkit::postgres::ThrowawayPostgres;

use crate::database::{Database, Kind};
use crate::on_both_databases;
use crate::server::{Server, Tokens, run, wait_until};

/// A line of the log about a restored database.
pub(crate) const RESTORED: &str =
    "the database was restored from a backup or copied, so every session was ended";

/// Copies the files of a SQLite database to another folder.
pub(crate) fn copied_folder(database: &Database) -> Database {
    let copy = Database::sqlite();
    fs::create_dir(copy.folder.path().join("data")).unwrap();
    for file in fs::read_dir(database.folder.path().join("data")).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), copy.folder.path().join("data").join(file.file_name())).unwrap();
    }
    copy
}

/// Copies a database whose server is stopped: the folder, or the database within the cluster.
fn copied(database: &Database) -> Database {
    match &database.kind {
        Kind::Sqlite => copied_folder(database),
        Kind::Postgres { server, url } => {
            let copy = server.create_database();
            let [name, copied] = [&copy, url].map(|url| ThrowawayPostgres::database_name(url));
            server.execute("postgres", &format!("DROP DATABASE {name}"));
            server.execute("postgres", &format!("CREATE DATABASE {name} TEMPLATE {copied} OWNER portcullis"));
            Database { folder: Database::sqlite().folder, kind: Kind::Postgres { server, url: copy } }
        }
    }
}

#[track_caller]
pub(crate) fn is_over(server: &Server, tokens: &Tokens) {
    server.get_as("/protected", &tokens.access).is_problem(401, "invalid_token");
    server.refresh(&tokens.refresh).is_problem(401, "invalid_refresh_token");
}

#[track_caller]
pub(crate) fn is_live(server: &Server, tokens: &Tokens) -> Tokens {
    assert_eq!(server.get_as("/me", &tokens.access).status, 200);
    server.refresh(&tokens.refresh).tokens()
}

/// Runs a command that succeeds, and returns what it printed.
#[track_caller]
pub(crate) fn done(database: &Database, arguments: &[&str]) -> String {
    let output = run(database.folder.path(), &[("DATABASE__URL", &database.url())], arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// How many events of a kind were recorded.
pub(crate) fn events(database: &Database, kind: &str) -> i64 {
    database.number(&format!("SELECT count(*) FROM security_events WHERE kind = '{kind}'"))
}

/// A user with a live, an ended and a rotated session.
struct Users {
    live: Tokens,
    ended: Tokens,
    used: Tokens,
}

impl Users {
    fn register(server: &Server) -> Self {
        server.register("alice");
        let [live, ended, used] = [(); 3].map(|()| server.login("alice"));
        assert_eq!(server.logout(&ended.refresh).status, 204);
        server.refresh(&used.refresh).tokens();
        Self { live, ended, used }
    }

    #[track_caller]
    fn are_signed_out(&self, server: &Server) {
        for tokens in [&self.live, &self.ended, &self.used] {
            is_over(server, tokens);
        }
    }
}

on_both_databases! {
    //
    fn restored_copy_ends_every_session_once(database: &Database) {
        let server = Server::start(database);
        let users = Users::register(&server);
        server.terminate();
        let copy = copied(database);
        let server = Server::start(database);
        let since = server.login("alice");
        assert_eq!(server.lines_with(RESTORED), 0);
        let live = is_live(&server, &users.live);

        let restored = Server::start(&copy);
        restored.wait_for_line(RESTORED);
        assert_eq!(restored.lines_with(RESTORED), 1, "one line");
        users.are_signed_out(&restored);
        is_over(&restored, &since);
        is_over(&restored, &live);
        assert_eq!(events(&copy, "database_restored"), 1);
        let new = restored.login("alice");
        restored.terminate();
        done(&copy, &["audit", "verify"]);

        let again = Server::start(&copy);
        is_live(&again, &new);
        assert_eq!((again.lines_with(RESTORED), events(&copy, "database_restored")), (0, 1));
        is_live(&server, &live);
    }

    fn database_declared_moved_keeps_its_sessions(database: &Database) {
        let server = Server::start(database);
        let users = Users::register(&server);
        server.terminate();
        let copy = copied(database);
        let url = copy.url();
        let asked = run(copy.folder.path(), &[("DATABASE__URL", &url)], &["db", "moved"]);
        assert_eq!(asked.status.code(), Some(2), "{asked:?}");
        assert!(done(&copy, &["db", "moved", "--yes"]).contains("its sessions stay"));
        assert!(done(&copy, &["db", "moved", "--yes"]).contains("nothing was changed"));
        assert_eq!((events(&copy, "database_moved"), events(&copy, "database_restored")), (1, 0));

        let server = Server::start(&copy);
        is_live(&server, &users.live);
        is_over(&server, &users.ended);
        assert_eq!(server.lines_with(RESTORED), 0);
    }

    fn database_without_a_home_keeps_its_sessions(database: &Database) {
        let server = Server::start(database);
        let users = Users::register(&server);
        server.terminate();
        let empty = if matches!(database.kind, Kind::Sqlite) { "x''" } else { "''" };
        database.execute(&format!("UPDATE deployment SET home = {empty}"));
        let server = Server::start(database);
        is_live(&server, &users.live);
        assert_eq!(database.number("SELECT length(home) FROM deployment"), 32);
    }

    fn command_on_a_restored_copy_ends_every_session(database: &Database) {
        let server = Server::start(database);
        let users = Users::register(&server);
        server.terminate();
        let copy = copied(database);
        // A command that only reads changes nothing.
        done(&copy, &["user", "sessions", "alice"]);
        assert_eq!(events(&copy, "database_restored"), 0);
        done(&copy, &["user", "enable", "alice"]);
        assert_eq!(events(&copy, "database_restored"), 1);
        users.are_signed_out(&Server::start(&copy));
    }
}

///
#[test]
fn second_server_on_a_copied_folder_ends_its_sessions() {
    let first = Database::sqlite();
    let server = Server::start(&first);
    let users = Users::register(&server);
    let copy = copied_folder(&first);
    let second = Server::start(&copy);
    second.wait_for_line(RESTORED);
    assert_eq!(second.lines_with(RESTORED), 1, "one line");
    users.are_signed_out(&second);
    is_live(&server, &users.live);
    assert_eq!(server.lines_with(RESTORED), 0);
}

#[test]
fn renamed_file_keeps_its_sessions() {
    let database = Database::sqlite();
    let server = Server::start(&database);
    let users = Users::register(&server);
    server.terminate();
    let data = database.folder.path().join("data");
    fs::rename(data.join("portcullis.db"), data.join("renamed.db")).unwrap();
    let server = Server::start_with(&database, &[("DATABASE__URL", "sqlite://data/renamed.db")]);
    is_live(&server, &users.live);
}

/// The numbers of transactions of another cluster are higher than any that this one assigned.
#[test]
fn restored_database_forgets_transactions_of_another_cluster() {
    let database = Database::postgres();
    let server = Server::start(&database);
    Users::register(&server);
    server.terminate();
    let copy = copied(&database);
    copy.execute("UPDATE sessions SET ended_xid = '9000000000' WHERE ended_at IS NOT NULL");
    copy.execute("UPDATE security_events SET recorded_xid = '9000000000'");
    let server = Server::start(&copy);
    server.wait_until_ready();
    let ahead = "WHERE {} >= pg_snapshot_xmax(pg_current_snapshot())";
    let count = |table: &str, column: &str| {
        copy.number(&format!("SELECT count(*) FROM {table} {}", ahead.replace("{}", column)))
    };
    assert_eq!((count("sessions", "ended_xid"), count("security_events", "recorded_xid")), (0, 0));
    assert_eq!(copy.number("SELECT count(*) FROM sessions WHERE ended_xid IS NOT NULL"), 0);
    wait_until("the events are sealed", || {
        copy.number("SELECT count(*) FROM security_events") == copy.number("SELECT count(*) FROM audit_chain")
    });
    server.terminate();
    done(&copy, &["audit", "verify"]);
}

/// Runs a program of PostgreSQL's client, which a Debian package brings.
pub(crate) fn client(server: &ThrowawayPostgres, program: &str, arguments: &[&str]) {
    let beside = server.programs().join(program);
    let mut command = Command::new(if beside.exists() { beside.as_path() } else { Path::new(program) });
    let output = command.args(arguments).stdin(Stdio::null()).output().unwrap_or_else(|error| {
        panic!("{program}: {error}; install it: apt-get install --yes postgresql-client")
    });
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The documented way (docs/operations/backup.md): the dump goes into a new database, or in place of the tables.
#[test]
fn dump_that_is_restored_ends_every_session() {
    let database = Database::postgres();
    let Kind::Postgres { server: postgres, url } = &database.kind else { unreachable!() };
    let server = Server::start(&database);
    let users = Users::register(&server);
    let dump = database.folder.path().join("portcullis.dump");
    let dump = dump.to_str().unwrap();
    client(postgres, "pg_dump", &["--format=custom", "--file", dump, "--dbname", url]);
    let since = server.login("alice");
    server.terminate();

    let copy = postgres.create_database();
    client(postgres, "pg_restore", &["--exit-on-error", "--no-owner", "--dbname", &copy, dump]);
    let restored =
        Database { folder: Database::sqlite().folder, kind: Kind::Postgres { server: postgres, url: copy } };
    client(postgres, "pg_restore", &["--clean", "--exit-on-error", "--no-owner", "--dbname", url, dump]);
    for database in [&restored, &database] {
        let server = Server::start(database);
        server.wait_for_line(RESTORED);
        users.are_signed_out(&server);
        is_over(&server, &since);
        assert_eq!(events(database, "database_restored"), 1);
        is_live(&server, &server.login("alice"));
        server.terminate();
        done(database, &["audit", "verify"]);
    }
}
