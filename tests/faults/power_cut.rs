//! A power cut: the server writes to a file system of its own on a loop device, and the device's image is copied between
//! two instructions of the server. The copy has what was sent to the disk, and nothing that was only in memory.
//!
//! Two controls prove that the test notices a commit that was not synced: the same server while `strace` lets every sync
//! succeed without doing it, and a writer with SQLite's `synchronous = NORMAL`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection as _;
use diesel::{Connection as _, QueryableByName, RunQueryDsl as _, SqliteConnection};
use tempfile::TempDir;

use crate::database::{Database, Kind};
use crate::faults::load::Client;
use crate::faults::random::Random;
use crate::faults::rounds;
use crate::faults::strace::{SYNCS, TracedServer, inject};
use crate::faults::tally::Tally;
use crate::history::{Action, History, Observed, Outcome, check};
use crate::server::Server;
use crate::{new_seed, say};

/// Cuts the power in each round, and runs the controls once.
pub(crate) fn run(rounds: usize) -> Tally {
    let mut total = Tally::default();
    if let Err(reason) = is_possible() {
        total.violations.push(format!(
            "NOT TESTED: {reason}. The power cut needs root and loop devices: run `sudo make test-faults` on a machine, \
             or in a container that was started with --privileged. Without them, run the other parts by name"
        ));
        return total;
    }
    for writer in [Writer::Full, Writer::Normal] {
        let (acknowledged, present) = writer.cut();
        say(&format!("a writer with {}: {present} of {acknowledged} commits present", writer.pragma()));
        let is_right = (acknowledged == present) == (writer == Writer::Full) && acknowledged > 0;
        let wrong = || format!("{present} of {acknowledged} with {}", writer.pragma());
        total.violations.extend((!is_right).then(wrong));
    }
    let (acknowledged, present) = without_syncs();
    say(&format!("a server whose syncs do nothing: {present} of {acknowledged} users present"));
    let is_blind = present >= acknowledged;
    total.violations.extend(is_blind.then(|| "the test does not notice that nothing is synced".to_owned()));
    for _ in 0..rounds.div_ceil(4) {
        total.add(round(new_seed()));
        say(&total.to_string());
    }
    total
}

/// One round of the server as it is.
fn round(seed: u64) -> Tally {
    let mut random = Random::new(seed);
    let disk = Disk::new();
    let database = disk.database();
    let history = History::new();
    let mut clients = rounds::clients(&history, "cut", &mut random);
    let server = Server::start(&database);
    server.wait_until_ready();
    let mut cut = None;
    rounds::under_load(&server, &mut clients, true, |progress| {
        progress.wait_for_more("the round begins");
        std::thread::sleep(Duration::from_millis(random.below(LONGEST_ROUND_MILLIS)));
        server.signal("STOP");
        cut = Some(disk.cut());
        server.signal("KILL");
    });
    drop(server);
    let cut = cut.expect("the power was cut");
    let database = cut.database_of(&database);
    let server = Server::start(&database);
    server.wait_until_ready();
    rounds::probe(&server, &mut clients);
    drop(server);
    let (mut ids, mut violations) = (BTreeMap::new(), Vec::new());
    rounds::take(clients, &mut ids, &mut violations);
    let operations = history.operations();
    let observed = Observed::read(&database, "", &ids, &operations, Observed::verify_chain(&database));
    violations.extend(check(&operations, &observed));
    violations.extend(rounds::integrity(&database).err());
    if !violations.is_empty() {
        violations.push(format!("power cut, seed {seed}"));
    }
    Tally::of(1, &operations, violations)
}

/// The control with the real server: how many users were acknowledged, and how many are there.
fn without_syncs() -> (usize, usize) {
    let disk = Disk::new();
    let database = disk.database();
    let history = History::new();
    let mut client = Client::new(&history, "control".to_owned(), Random::new(new_seed()));
    // It believes that its syncs succeed, and none is done.
    let (server, _) = TracedServer::start(&database, &[], &inject(SYNCS, "retval=0"));
    let server = server.expect("the server starts");
    for _ in 0..CONTROL_WRITES {
        assert_eq!(client.register(&server.server), Outcome::Ok);
    }
    let cut = disk.cut();
    server.kill();
    let is_user = |action: &Action| *action == Action::Register;
    let acknowledged = history.operations().iter().filter(|one| is_user(&one.action)).count();
    (acknowledged, rows(&cut.folder_of(&database).join("data/portcullis.db"), "users"))
}

/// A writer that is not the server.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Writer {
    Full,
    Normal,
}

impl Writer {
    fn pragma(self) -> &'static str {
        match self {
            Self::Full => "synchronous = FULL",
            Self::Normal => "synchronous = NORMAL",
        }
    }

    /// Returns how many commits returned before the power was cut, and how many rows are there afterwards.
    fn cut(self) -> (usize, usize) {
        let disk = Disk::new();
        let file = disk.mount.0.join("control.db");
        let mut connection = SqliteConnection::establish(file.to_str().unwrap()).unwrap();
        // As the adapters set it, but for this pragma.
        connection.batch_execute(&format!("PRAGMA journal_mode = WAL; PRAGMA {}", self.pragma())).unwrap();
        connection.batch_execute("CREATE TABLE commits (n INTEGER)").unwrap();
        for n in 0..CONTROL_WRITES {
            connection.batch_execute(&format!("INSERT INTO commits VALUES ({n})")).unwrap();
        }
        let cut = disk.cut();
        (CONTROL_WRITES, rows(&cut.mount.0.join("control.db"), "commits"))
    }
}

/// How many rows a table has, or 0 if the file or the table is lost.
fn rows(file: &Path, table: &str) -> usize {
    #[derive(QueryableByName)]
    struct Count {
        #[diesel(sql_type = diesel::sql_types::BigInt)]
        count: i64,
    }
    if !file.exists() {
        return 0;
    }
    let mut connection = SqliteConnection::establish(file.to_str().unwrap()).unwrap();
    let count =
        diesel::sql_query(format!("SELECT count(*) AS count FROM {table}")).get_result(&mut connection);
    count.map_or(0, |Count { count }| usize::try_from(count).unwrap())
}

/// A file system on a loop device that writes nothing by itself for ten minutes.
struct Disk {
    /// Unmounted before the image is removed.
    mount: Mount,
    image: PathBuf,
    _folder: TempDir,
}

struct Mount(PathBuf);

impl Disk {
    fn new() -> Self {
        let folder = TempDir::new_in("/var/tmp").unwrap();
        let image = folder.path().join("image");
        succeed(Command::new("truncate").args(["--size", IMAGE_SIZE]).arg(&image));
        succeed(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image));
        Self::mount(folder, image)
    }

    fn mount(folder: TempDir, image: PathBuf) -> Self {
        let mount = folder.path().join("mount");
        fs::create_dir(&mount).unwrap();
        succeed(Command::new("mount").args(["-o", "loop,commit=600"]).arg(&image).arg(&mount));
        Self { mount: Mount(mount), image, _folder: folder }
    }

    /// Copies what the device has at this moment, and mounts the copy. Nothing may write meanwhile.
    fn cut(&self) -> Self {
        let folder = TempDir::new_in("/var/tmp").unwrap();
        let image = folder.path().join("image");
        succeed(Command::new("cp").arg("--sparse=always").arg(&self.image).arg(&image));
        Self::mount(folder, image)
    }

    fn database(&self) -> Database {
        Database { folder: TempDir::new_in(&self.mount.0).unwrap(), kind: Kind::Sqlite }
    }

    /// Where this copy has the folder of a database.
    fn folder_of(&self, database: &Database) -> PathBuf {
        self.mount.0.join(database.folder.path().file_name().unwrap())
    }

    /// The database as this copy has it.
    fn database_of(&self, database: &Database) -> Database {
        let copy = self.folder_of(database);
        assert!(copy.exists(), "the database's folder is lost with everything in it");
        let folder = TempDir::new_in(&self.mount.0).unwrap();
        fs::rename(copy.join("data"), folder.path().join("data")).unwrap();
        Database { folder, kind: Kind::Sqlite }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        // A process that was killed may not have closed its files yet.
        while !Command::new("umount").arg(&self.0).status().is_ok_and(|status| status.success()) {
            if Instant::now() > deadline {
                say(&format!("cannot unmount {}", self.0.display()));
                return;
            }
            std::thread::sleep(PAUSE);
        }
    }
}

/// Why the power cannot be cut here, if so.
fn is_possible() -> Result<(), String> {
    let folder = TempDir::new_in("/var/tmp").map_err(|error| error.to_string())?;
    let script = format!(
        "[ \"$(id -u)\" = 0 ] || {{ echo 'this user is not root' >&2; exit 1; }}
         cd '{}' && truncate -s 8M image && mkdir mount && mkfs.ext4 -q -F image && mount -o loop image mount \
         && umount mount",
        folder.path().display()
    );
    let output = Command::new("sh").args(["-c", &script]).output().map_err(|error| error.to_string())?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}

fn succeed(command: &mut Command) {
    let status = command.status();
    assert!(status.as_ref().is_ok_and(ExitStatus::success), "{command:?}: {status:?}");
}

/// Large enough for a database of some hundred users.
const IMAGE_SIZE: &str = "96M";

/// How many commits a control makes.
const CONTROL_WRITES: usize = 200;

/// The longest time from the first acknowledged operation to the cut, in milliseconds.
const LONGEST_ROUND_MILLIS: u64 = 500;

/// How long a file system may be in use after its processes were killed.
const PATIENCE: Duration = Duration::from_secs(10);

const PAUSE: Duration = Duration::from_millis(20);
