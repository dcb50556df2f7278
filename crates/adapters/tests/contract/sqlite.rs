//! SQLite honours the contract: a file of its own for every test.

use std::path::Path;
use std::sync::Arc;

use diesel::{Connection, QueryableByName, RunQueryDsl, SqliteConnection};
use portcullis_adapters::db::{Database, DatabaseUrl, KeyCheckError, PoolConfig, PrepareError};
use portcullis_adapters::keys::KeyCheck;
use portcullis_domain::ports::{StoreError, StoreErrorKind, UserStore};
use portcullis_domain::username::CanonicalName;
use portcullis_testkit::contract::Stores;
use tempfile::TempDir;

use crate::stores::{EventRow, stores_over};

portcullis_testkit::store_contract!(stores);

/// Fresh stores, in a folder that lives as long as they do.
fn stores() -> Stores {
    let folder = Arc::new(TempDir::new().unwrap());
    let path = folder.path().join("deep/er/portcullis.db");
    let database = Arc::new(database(&path));
    database.prepare().unwrap();
    stores_over(&database, move || {
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
    let error = database(&path).find_by_name(&CanonicalName::of("alice")).unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    assert!(!path.exists(), "and nothing is made");
}

#[test]
fn many_may_prepare_one_empty_file_at_once() {
    let (_folder, path) = in_folder();
    std::thread::scope(|scope| {
        for handle in (0..8).map(|_| scope.spawn(|| database(&path).prepare())).collect::<Vec<_>>() {
            handle.join().unwrap().unwrap();
        }
    });
    let states = database(&path).migrations().unwrap();
    assert!(!states.is_empty() && states.iter().all(|state| state.applied), "{states:?}");
}

#[test]
fn asking_for_the_migrations_makes_no_file() {
    let (_folder, path) = in_folder();
    let states = database(&path).migrations().unwrap();
    assert!(!states.is_empty() && states.iter().all(|state| !state.applied), "{states:?}");
    assert!(!path.exists());
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let (_folder, path) = in_folder();
    std::fs::write(&path, "not a folder").unwrap();
    let error = database(&path.join("portcullis.db")).prepare().unwrap_err();
    assert!(matches!(&error, PrepareError::Unwritable(text) if text.contains("portcullis.db")), "{error}");
}

#[test]
fn a_file_that_is_no_database_is_left_alone() {
    let (_folder, path) = in_folder();
    let text = "these are somebody's notes, ".repeat(100);
    std::fs::write(&path, &text).unwrap();
    let error = database(&path).prepare().unwrap_err();
    assert!(matches!(&error, PrepareError::Unwritable(_)), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
}

#[cfg(unix)]
#[test]
fn the_folder_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;

    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    database(&data.join("portcullis.db")).prepare().unwrap();
    assert_eq!(std::fs::metadata(&data).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn acknowledged_commits_survive_a_power_cut() {
    #[derive(QueryableByName)]
    struct Pragma {
        #[diesel(sql_type = diesel::sql_types::Text)]
        journal_mode: String,
    }
    let (_folder, path) = in_folder();
    database(&path).prepare().unwrap();
    let mut connection = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    let Pragma { journal_mode } =
        diesel::sql_query("PRAGMA journal_mode").get_result(&mut connection).unwrap();
    assert_eq!(journal_mode, "wal", "and every connection sets synchronous = FULL");
}

#[test]
fn a_row_that_does_not_parse_is_corrupt_and_concerns_its_user_alone() {
    let stores = stores();
    let (_folder, path) = in_folder();
    drop(stores);
    let database = Arc::new(database(&path));
    database.prepare().unwrap();
    let mut connection = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    for (id, shown, canonical) in [(1, "char(0)", "bad"), (2, "'good'", "good")] {
        diesel::sql_query(format!(
            "INSERT INTO users (id, username, canonical_name, password_hash, credential_version, created_at)
             VALUES (CAST(zeroblob(15) || x'0{id}' AS BLOB), {shown}, '{canonical}', 'x', 1, 0)"
        ))
        .execute(&mut connection)
        .unwrap();
    }
    let find = |name: &str| -> Result<_, StoreError> { database.find_by_name(&CanonicalName::of(name)) };
    assert_eq!(find("bad").unwrap_err().kind(), StoreErrorKind::Corrupt);
    assert!(find("good").unwrap().is_some());
}

#[test]
fn a_database_goes_with_its_secret() {
    let (_folder, path) = in_folder();
    let database = database(&path);
    database.prepare().unwrap();
    crate::stores::goes_with_its_secret(&database);
}

#[test]
fn a_key_check_before_the_schema_says_unavailable() {
    let (_folder, path) = in_folder();
    let result = database(&path).check_key(KeyCheck::from_bytes([1; 32]), &[]);
    assert!(matches!(result, Err(KeyCheckError::Store(_))), "{result:?}");
}
