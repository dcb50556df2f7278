//! A PostgreSQL cluster that is recovered to a point in time, the documented way (docs/operations/backup.md).

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use portcullis_testkit::postgres::ThrowawayPostgres;
use tempfile::TempDir;

use crate::database::{Database, Kind};
use crate::restored::{RESTORED, client, done, is_live, is_over};
use crate::server::{Server, wait, wait_until};

/// PostgreSQL refuses to run as root.
const NOBODY: u32 = 65_534;

/// A PostgreSQL server over a folder of this test. Its sockets are beside the data.
struct Recovered {
    process: Child,
    folder: PathBuf,
}

impl Recovered {
    fn start(programs: &Path, folder: &Path) -> Self {
        let data = folder.join("data");
        let mut server = Command::new(programs.join("postgres"));
        server.arg("-D").arg(&data).arg("-k").arg(folder).args(["-p", "5432", "-c", "listen_addresses="]);
        // At least as many as the lost server had, which names them on its command line.
        server.args(["-c", "max_connections=200"]);
        let log = fs::File::create(folder.join("log")).unwrap();
        server.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        if rustix::process::geteuid().is_root() {
            give_to_nobody(folder);
            server.uid(NOBODY).gid(NOBODY);
        }
        fs::set_permissions(&data, Permissions::from_mode(0o700)).unwrap();
        Self { process: server.spawn().unwrap(), folder: folder.to_owned() }
    }

    fn url(&self, database: &str) -> String {
        let host = self.folder.display().to_string().replace('/', "%2F");
        format!("postgres:///{database}?host={host}&port=5432&user=portcullis")
    }
}

impl Drop for Recovered {
    fn drop(&mut self) {
        // The immediate shutdown, which ends its children too.
        let pid = self.process.id().to_string();
        let _sent = Command::new("kill").args(["-QUIT", &pid]).status();
        wait(&mut self.process);
    }
}

fn give_to_nobody(path: &Path) {
    chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            give_to_nobody(&entry.unwrap().path());
        }
    }
}

/// The recovered cluster has the identity of the lost one, so the service cannot notice: the operator ends the sessions.
#[test]
fn recovered_cluster_revives_sessions_until_the_operator_ends_them() {
    let postgres = ThrowawayPostgres::start();
    let url = postgres.create_database();
    let database = Database {
        folder: TempDir::new().unwrap(),
        kind: Kind::Postgres { server: ThrowawayPostgres::shared(), url: url.clone() },
    };
    let recovery = TempDir::new().unwrap();
    let archive = recovery.path().join("archive");
    fs::create_dir(&archive).unwrap();
    for (folder, mode) in [(recovery.path(), 0o755), (&archive, 0o777)] {
        fs::set_permissions(folder, Permissions::from_mode(mode)).unwrap();
    }
    let archive = archive.display();
    postgres.execute("postgres", "ALTER SYSTEM SET archive_mode = 'on'");
    postgres.execute("postgres", &format!("ALTER SYSTEM SET archive_command = 'cp %p {archive}/%f'"));
    postgres.stop();
    postgres.restart();

    let data = recovery.path().join("data");
    let replication = url.replace("user=portcullis", "user=postgres");
    let backup = ["--checkpoint=fast", "--wal-method=none", "--pgdata", data.to_str().unwrap(), "--dbname"];
    client(&postgres, "pg_basebackup", &[&backup[..], &[&replication]].concat());
    let server = Server::start(&database);
    server.register("alice");
    let [live, ended] = [(); 2].map(|()| server.login("alice"));
    postgres.execute("postgres", "SELECT pg_create_restore_point('before_the_mistake')");
    assert_eq!(server.logout(&ended.refresh).status, 204);
    is_over(&server, &ended);
    server.terminate();
    let segment = postgres.execute("postgres", "SELECT pg_walfile_name(pg_switch_wal())");
    let segment = segment[0][0].clone().unwrap();
    wait_until("the log is archived", || recovery.path().join("archive").join(&segment).exists());
    postgres.stop();

    fs::write(data.join("recovery.signal"), "").unwrap();
    let settings = format!(
        "archive_mode = 'off'\nrestore_command = 'cp {archive}/%f %p'\n\
         recovery_target_name = 'before_the_mistake'\nrecovery_target_action = 'promote'\n"
    );
    let auto = data.join("postgresql.auto.conf");
    let before = fs::read_to_string(&auto).unwrap();
    fs::write(&auto, before + &settings).unwrap();
    let recovered = Recovered::start(postgres.programs(), recovery.path());
    let url = recovered.url(ThrowawayPostgres::database_name(&url));
    let kind = Kind::Postgres { server: ThrowawayPostgres::shared(), url };
    let restored = Database { folder: TempDir::new().unwrap(), kind };
    let server = Server::start(&restored);
    server.wait_until_ready();
    assert_eq!(server.lines_with(RESTORED), 0);
    let revived = is_live(&server, &ended);
    let live = is_live(&server, &live);
    done(&restored, &["sessions", "end", "--all", "--yes"]);
    wait_until("the sessions are over", || server.get_as("/me", &live.access).status == 401);
    for tokens in [&live, &revived, &ended] {
        is_over(&server, tokens);
    }
    is_live(&server, &server.login("alice"));
    done(&restored, &["audit", "verify"]);
}
