//! SQLite honours the contract: a file of its own for every test.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use diesel::{Connection, RunQueryDsl, SqliteConnection};
use portcullis_adapters::db::{Database, DatabaseUrl, MigrationStatus, Migrations, PoolConfig, PrepareError};
use portcullis_domain::account::{CanonicalName, UserStore};
use portcullis_domain::audit::{AuditLog, EventKind};
use portcullis_domain::id::SessionId;
use portcullis_domain::ports::{StoreError, StoreErrorKind};
use portcullis_domain::session::{Generation, RotateOutcome, RotateRequest, SessionStore};
use portcullis_testkit::SeededRandom;
use portcullis_testkit::contract::TestedStore;
use portcullis_testkit::fixtures::{IDLE, NOW, event, new_session, new_user, opening_events};
use tempfile::TempDir;

use crate::schedules::all_sessions;
use crate::stores::{DatabaseBackend, EventRow, KEY};

portcullis_testkit::store_contract!(backend);

/// An empty file, in a folder that lives as long as the backend.
fn backend() -> DatabaseBackend {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("deep/er/portcullis.db");
    let open = {
        let path = path.clone();
        move || database(&path)
    };
    DatabaseBackend::new(open, move || {
        let _kept = &folder;
        let mut connection = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
        diesel::sql_query(
            "SELECT kind, detail, at, lower(hex(user_id)) AS user_id, lower(hex(session_id)) AS session_id, address,
                    agent
               FROM security_events ORDER BY id",
        )
        .load::<EventRow>(&mut connection)
        .unwrap()
    })
}

fn database(path: &Path) -> Database {
    Database::new(DatabaseUrl::parse(&format!("sqlite://{}", path.display())).unwrap(), PoolConfig::default())
}

fn in_folder() -> (TempDir, std::path::PathBuf) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("portcullis.db");
    (folder, path)
}

#[test]
fn nothing_is_served_before_the_schema_is_there() {
    let (_folder, path) = in_folder();
    let error = database(&path).find_user_by_name(&CanonicalName::of("alice")).unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    assert!(!path.exists(), "and nothing is made");
}

#[test]
fn many_may_prepare_one_empty_file_at_once() {
    let (_folder, path) = in_folder();
    std::thread::scope(|scope| {
        for handle in (0..8).map(|_| scope.spawn(|| database(&path).prepare(KEY, &[]))).collect::<Vec<_>>() {
            handle.join().unwrap().unwrap();
        }
    });
    let states = Migrations::of(database(&path).url()).states().unwrap();
    assert!(
        !states.is_empty() && states.iter().all(|state| state.status == MigrationStatus::Applied),
        "{states:?}"
    );
}

///
#[test]
fn older_binary_than_the_file_needs_is_refused() {
    let (_folder, path) = in_folder();
    let database = database(&path);
    Migrations::of(database.url()).run().unwrap();
    let mut other = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    crate::stores::heeds_the_oldest_binary(&database, |sql| other.batch_execute(sql).unwrap());
}

#[test]
fn listing_migrations_of_a_missing_file_creates_nothing() {
    let (folder, path) = in_folder();
    let error = Migrations::of(database(&path).url()).states().unwrap_err();
    assert!(
        matches!(&error, PrepareError::Absent(text) if text.contains(path.to_str().unwrap())),
        "{error:?}"
    );
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    std::fs::write(&path, "").unwrap();
    let states = Migrations::of(database(&path).url()).states().unwrap();
    assert!(
        !states.is_empty() && states.iter().all(|state| state.status == MigrationStatus::Pending),
        "{states:?}"
    );
}

#[test]
fn asking_for_the_migrations_changes_no_file() {
    let (_folder, path) = in_folder();
    let mut other = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    other.batch_execute("CREATE TABLE mine (x)").unwrap();
    let before = std::fs::read(&path).unwrap();
    let states = Migrations::of(database(&path).url()).states().unwrap();
    assert!(states.iter().all(|state| state.status == MigrationStatus::Pending), "{states:?}");
    assert_eq!(std::fs::read(&path).unwrap(), before, "no table, and the journal's mode as it was");
}

/// Asserts that preparing fails for the file's sake, and says which it is.
fn is_unusable(database: &Database, path: &Path) {
    let error = database.prepare(KEY, &[]).unwrap_err();
    assert!(matches!(&error, PrepareError::Unusable(..)), "{error:?}");
    let start = format!("cannot use the database file {}: ", path.display());
    assert!(error.to_string().starts_with(&start), "{error}");
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let (_folder, path) = in_folder();
    std::fs::write(&path, "not a folder").unwrap();
    let inside = path.join("portcullis.db");
    is_unusable(&database(&inside), &inside);
}

#[test]
fn a_file_that_is_no_database_is_left_alone() {
    let (_folder, path) = in_folder();
    let text = "these are somebody's notes, ".repeat(100);
    std::fs::write(&path, &text).unwrap();
    let database = database(&path);
    is_unusable(&database, &path);
    let asked = Migrations::of(database.url()).states().unwrap_err();
    assert!(matches!(&asked, PrepareError::Unusable(..)), "{asked}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
}

#[cfg(unix)]
#[test]
fn a_path_that_is_no_text_is_refused_not_mangled() {
    use std::os::unix::ffi::OsStrExt as _;
    let folder = TempDir::new().unwrap();
    let path = folder.path().join(std::ffi::OsStr::from_bytes(b"caf\xe9.db"));
    is_unusable(&Database::new(DatabaseUrl::Sqlite(path.clone()), PoolConfig::default()), &path);
}

#[test]
fn a_file_that_another_process_writes_may_be_tried_again() {
    let (_folder, path) = in_folder();
    let mut other = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    other.batch_execute("CREATE TABLE mine (x); BEGIN EXCLUSIVE").unwrap();
    let error = database(&path).prepare(KEY, &[]).unwrap_err();
    assert!(matches!(&error, PrepareError::Unreachable(_)), "{error}");
    other.batch_execute("ROLLBACK").unwrap();
    database(&path).prepare(KEY, &[]).unwrap();
}

#[cfg(unix)]
#[test]
fn the_folder_and_its_files_are_their_owners_alone() {
    use std::os::unix::fs::PermissionsExt;

    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    let database = database(&data.join("portcullis.db"));
    database.prepare(KEY, &[]).unwrap();
    assert!(database.find_user_by_name(&CanonicalName::of("alice")).unwrap().is_none());

    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&data), 0o700);
    let mut files: Vec<_> = std::fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let names: Vec<_> = files.iter().map(|file| file.file_name().unwrap().to_str().unwrap()).collect();
    let expected = ["portcullis.db", "portcullis.db-shm", "portcullis.db-wal", "portcullis.db.migrate.lock"];
    assert_eq!(names, expected);
    for file in files {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

/// SQLite's own waiting has no order, and some wait on and on until they may wait no longer. In a queue all come as far
/// as the fastest.
#[test]
fn no_writer_starves() {
    let tested = TestedStore::of(backend());
    let user = new_user("Alice", &*tested.random);
    let registered = event(EventKind::UserRegistered, NOW, &*tested.random);
    tested.store.insert_user(&user, &registered).unwrap();
    let rotate = |session: SessionId, generation: u32| {
        let generation = Generation::new(generation);
        let presented = RotateRequest { session, generation, now: NOW, grace: Duration::ZERO, idle: IDLE };
        let reused = event(EventKind::RefreshTokenReused, NOW, &*tested.random);
        let rotation = tested.store.rotate(&presented, &reused).unwrap();
        assert!(matches!(rotation, RotateOutcome::Rotated(_)), "{rotation:?}");
    };
    let is_over = AtomicBool::new(false);
    let work = || {
        let session = new_session(user.id, NOW, &*tested.random);
        tested.store.open_session(&session, &opening_events(&session, &*tested.random)).unwrap();
        let done = (0..300).take_while(|_| !is_over.load(Ordering::Relaxed));
        let done = done.map(|generation| rotate(session.id, generation)).count();
        is_over.store(true, Ordering::Relaxed);
        done
    };
    let done: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..16).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(done.iter().all(|done| *done > 200), "{done:?}");
}

#[test]
fn a_row_that_does_not_parse_is_corrupt_and_concerns_its_user_alone() {
    let (_folder, path) = in_folder();
    let database = Arc::new(database(&path));
    database.prepare(KEY, &[]).unwrap();
    let mut connection = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    for (id, shown, canonical) in [(1, "char(0)", "bad"), (2, "'good'", "good")] {
        diesel::sql_query(format!(
            "INSERT INTO users (id, username, canonical_name, password_hash, credential_version, created_at)
             VALUES (CAST(zeroblob(15) || x'0{id}' AS BLOB), {shown}, '{canonical}', 'x', 1, 0)"
        ))
        .execute(&mut connection)
        .unwrap();
    }
    let find = |name: &str| -> Result<_, StoreError> { database.find_user_by_name(&CanonicalName::of(name)) };
    assert_eq!(find("bad").unwrap_err().kind(), StoreErrorKind::Corrupt);
    assert!(find("good").unwrap().is_some());
}

#[test]
fn a_database_goes_with_its_secret() {
    let (_folder, path) = in_folder();
    crate::stores::goes_with_its_secret(&database(&path));
}

#[test]
fn a_database_stays_closed_to_another_secret() {
    let (_folder, path) = in_folder();
    crate::stores::stays_closed_to_another_secret(&database(&path), &database(&path));
}

#[test]
fn migrating_needs_no_secret_and_opens_no_store() {
    let (_folder, path) = in_folder();
    crate::stores::migrates_without_a_secret(&database(&path));
}

#[test]
fn the_file_tells_the_time() {
    let (_folder, path) = in_folder();
    crate::stores::tells_the_time(&database(&path));
}

#[test]
fn another_secret_is_noticed() {
    let (_folder, path) = in_folder();
    crate::stores::notices_another_secret(&database(&path), &database(&path));
}

#[test]
fn another_secret_can_be_adopted() {
    let (_folder, path) = in_folder();
    crate::stores::adopts_another_secret(&database(&path));
}

#[test]
fn a_refused_secret_never_comes_back() {
    let (_folder, path) = in_folder();
    let instances = [(); 4].map(|()| database(&path));
    crate::stores::shuts_out_all_but_the_adopted_secret(instances.each_ref());
}

#[test]
fn an_end_that_commits_after_two_looks_is_found_by_the_third() {
    let (_folder, path) = in_folder();
    let database = database(&path);
    database.prepare(KEY, &[]).unwrap();
    let mut other = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    let sql = |sql: &str| other.batch_execute(sql).unwrap();
    crate::stores::finds_what_commits_late(&database, sql, |time| time.as_micros().to_string());
}

#[test]
fn nobody_who_reads_waits_for_a_write_that_waits_for_another_process() {
    let (_folder, path) = in_folder();
    let config = PoolConfig { size: 1, ..PoolConfig::default() };
    let database = Database::new(DatabaseUrl::Sqlite(path.clone()), config);
    database.prepare(KEY, &[]).unwrap();
    let mut other = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    other.batch_execute("BEGIN IMMEDIATE").unwrap();
    let random = SeededRandom::new(4);
    let events = [(); 3].map(|()| event(EventKind::UserRegistered, NOW, &random));
    std::thread::scope(|scope| {
        let database = &database;
        let writes = events.each_ref().map(|event| scope.spawn(|| database.record_event(event)));
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(200) {
            assert!(database.find_user_by_name(&CanonicalName::of("nobody")).unwrap().is_none());
            assert!(database.session_changes(None, NOW, 10).unwrap().ended.is_empty());
        }
        assert!(writes.iter().all(|write| !write.is_finished()));
        other.batch_execute("ROLLBACK").unwrap();
        for write in writes {
            write.join().unwrap().unwrap();
        }
    });
}

#[test]
fn no_hot_statement_reads_a_whole_table() {
    for users in crate::stores::SIZES {
        let (_folder, path) = in_folder();
        crate::stores::reads_no_whole_table(&database(&path), users);
    }
}

#[test]
fn random_schedules_of_two_instances_keep_every_promise() {
    let (_folder, path) = in_folder();
    let instances = [database(&path), database(&path)];
    for instance in &instances {
        instance.prepare(KEY, &[]).unwrap();
    }
    crate::schedules::keep_every_promise(instances.each_ref(), || {
        let mut connection = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
        diesel::sql_query(all_sessions("lower(hex(id))")).load(&mut connection).unwrap()
    });
}
