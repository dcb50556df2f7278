//! `portcullis backup`: a copy of a SQLite database while the service runs.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::database::Database;
use crate::restored::{RESTORED, done, events, is_live, is_over};
use crate::server::{Server, command, command_as, output_of, race, run, wait_until};

const NOBODY: u32 = 65_534;

/// Puts a backup where a new service looks for its database.
fn restored(file: &Path) -> Database {
    let database = Database::sqlite();
    let data = database.folder.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::copy(file, data.join("portcullis.db")).unwrap();
    database
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn entries(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

///
#[test]
fn backup_during_writes_loses_and_revives_nothing() {
    let database = Database::sqlite();
    let server = Server::start(&database);
    server.register("alice");
    let [live, ended, used, ended_later] = [(); 4].map(|()| server.login("alice"));
    assert_eq!(server.logout(&ended.refresh).status, 204);
    let current = server.refresh(&used.refresh).tokens();
    let file = database.folder.path().join("backup.db");
    let (acknowledged, is_over_now) = (Mutex::new(Vec::new()), AtomicBool::new(false));
    let count = || acknowledged.lock().unwrap().len();
    let before = race(4, |n| {
        if n == 3 {
            wait_until("some users are there", || count() >= 10);
            let before = acknowledged.lock().unwrap().clone();
            let told = done(&database, &["backup", "backup.db"]);
            assert!(told.starts_with("backed up sqlite://data/portcullis.db to "), "{told}");
            let enough = count() + 10;
            wait_until("the writers went on", || count() >= enough);
            is_over_now.store(true, Ordering::SeqCst);
            return before;
        }
        for m in 0.. {
            if is_over_now.load(Ordering::SeqCst) {
                break;
            }
            let name = format!("user-{n}-{m}");
            assert_eq!(server.register(&name).status, 201);
            server.login(&name);
            acknowledged.lock().unwrap().push(name);
        }
        Vec::new()
    });
    assert_eq!(server.logout(&ended_later.refresh).status, 204);
    is_live(&server, &live);

    let copy = restored(&file);
    assert_eq!(copy.text("SELECT integrity_check FROM pragma_integrity_check"), "ok");
    for name in before.concat() {
        let found = copy.number(&format!("SELECT count(*) FROM users WHERE canonical_name = '{name}'"));
        assert_eq!(found, 1, "{name} was acknowledged before the backup began");
    }
    let second = Server::start(&copy);
    second.wait_for_line(RESTORED);
    for tokens in [&live, &ended, &used, &current, &ended_later] {
        is_over(&second, tokens);
    }
    assert_eq!(events(&copy, "database_restored"), 1);
    is_live(&second, &second.login("alice"));
    second.terminate();
    done(&copy, &["audit", "verify"]);
}

#[test]
fn backup_is_private_and_replaces_a_file_only_if_asked() {
    let database = Database::sqlite();
    done(&database, &["migrate"]);
    let folder = database.folder.path();
    fs::write(folder.join("backup.db"), "precious").unwrap();
    let refused = run(folder, &[], &["backup", "backup.db"]);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    assert!(stderr(&refused).contains("backup.db exists; pass --overwrite"), "{refused:?}");
    assert_eq!(fs::read(folder.join("backup.db")).unwrap(), b"precious");

    done(&database, &["backup", "backup.db", "--overwrite"]);
    let mode = fs::metadata(folder.join("backup.db")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(entries(folder), ["backup.db", "data"]);
    let copy = restored(&folder.join("backup.db"));
    assert_eq!(copy.number("SELECT count(*) FROM deployment WHERE home IS NULL"), 1, "marked as a backup");

    for same in ["data/portcullis.db", "./data/../data/portcullis.db"] {
        let refused = run(folder, &[], &["backup", same, "--overwrite"]);
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
        assert!(stderr(&refused).contains("is the database itself"), "{refused:?}");
    }
    let missing = run(folder, &[], &["backup", "nowhere/backup.db"]);
    assert_eq!(missing.status.code(), Some(1), "{missing:?}");
    assert!(stderr(&missing).contains("there is no backup: cannot write"), "{missing:?}");
}

#[test]
fn backup_replaces_what_an_interrupted_one_left() {
    let database = Database::sqlite();
    done(&database, &["migrate"]);
    let folder = database.folder.path();
    let part = folder.join("backup.db.part");
    fs::write(&part, "half of a backup").unwrap();
    fs::set_permissions(&part, Permissions::from_mode(0o666)).unwrap();
    let other = File::open(&part).unwrap();
    other.lock().unwrap();
    let refused = run(folder, &[], &["backup", "backup.db"]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(stderr(&refused).contains("another backup to") && part.exists(), "{refused:?}");
    drop(other);

    done(&database, &["backup", "backup.db"]);
    assert_eq!(entries(folder), ["backup.db", "data"]);
    let mode = fs::metadata(folder.join("backup.db")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "not that of the file that was there");
}

///
#[test]
fn backup_to_a_full_disk_leaves_no_file() {
    let database = Database::sqlite();
    done(&database, &["migrate"]);
    let folder = database.folder.path();
    let size = fs::metadata(folder.join("data/portcullis.db")).unwrap().len();
    let bare = command(folder);
    let mut limited = Command::new("/bin/sh");
    // In blocks of 512 bytes. The signal that would end the command is ignored.
    let limit = format!("trap '' XFSZ && ulimit -S -f {} && exec \"$0\" backup backup.db", size / 1024);
    limited.arg("-c").arg(limit).arg(bare.get_program()).current_dir(folder).env_clear().stdin(Stdio::null());
    limited.envs(bare.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = output_of(limited);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(stderr(&output).contains("there is no backup: cannot write"), "{output:?}");
    assert_eq!(entries(folder), ["data"]);
    done(&database, &["backup", "backup.db"]);
}

/// Only root can start a process as another user.
#[test]
fn backup_reads_from_read_only_storage() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let database = Database::sqlite();
    let server = Server::start(&database);
    server.register("alice");
    server.terminate();
    let folder = database.folder.path();
    let target = Database::sqlite().folder;
    for (path, mode) in [(folder, 0o755), (target.path(), 0o777)] {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }
    let data = folder.join("data");
    for file in fs::read_dir(&data).unwrap() {
        fs::set_permissions(file.unwrap().path(), Permissions::from_mode(0o444)).unwrap();
    }
    fs::set_permissions(&data, Permissions::from_mode(0o555)).unwrap();
    let file = target.path().join("backup.db");
    let mut command = command_as(NOBODY, NOBODY, folder);
    command.args(["backup", file.to_str().unwrap()]);
    let output = output_of(command);
    fs::set_permissions(&data, Permissions::from_mode(0o755)).unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(restored(&file).number("SELECT count(*) FROM users"), 1);
}

#[test]
fn backup_of_a_server_leads_to_its_own_programs() {
    let database = Database::postgres();
    done(&database, &["migrate"]);
    let folder = database.folder.path();
    let output = run(folder, &[("DATABASE__URL", &database.url())], &["backup", "backup.db"]);
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    assert!(stderr(&output).contains("pg_dump"), "{output:?}");
    assert_eq!(entries(folder), [""; 0]);
}
