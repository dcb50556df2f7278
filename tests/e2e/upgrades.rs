//! Databases that earlier releases left (`tests/data`, written by `tests/upgrade/record.rs`): this version migrates and serves
//! them, and their audit logs still prove themselves.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::database::{Database, Kind};
use crate::server::{Server, run};

/// The releases that `migrations/releases.toml` lists, oldest first: their versions and last migrations.
fn releases() -> Vec<(String, String)> {
    let text = fs::read_to_string(root().join("migrations/releases.toml")).unwrap();
    let releases: toml::Table = text.parse().unwrap();
    let releases = releases["release"].as_array().unwrap().iter();
    let text = |release: &toml::Value, key: &str| release[key].as_str().unwrap().to_owned();
    releases.map(|release| (text(release, "version"), text(release, "last_migration"))).collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn data(version: &str) -> PathBuf {
    root().join("tests/data").join(version)
}

/// The database that a release left, and what its clients and its operator know.
fn restored(version: &str, database: Database) -> (Database, Value) {
    let (known, years) = match &database.kind {
        Kind::Sqlite => {
            fs::create_dir(database.folder.path().join("data")).unwrap();
            let file = database.folder.path().join("data/portcullis.db");
            fs::copy(data(version).join("portcullis.db"), file).unwrap();
            ("sqlite.json", "4102444800000000")
        }
        Kind::Postgres { server, url } => {
            let dump = fs::read_to_string(data(version).join("postgres.sql")).unwrap();
            server.execute(url, &format!("SET ROLE portcullis; {dump}"));
            ("postgres.json", "timestamptz '2100-01-01'")
        }
    };
    // The sessions must not expire before the test does.
    database.execute(&format!(
        "UPDATE sessions SET expires_at = {years}, absolute_expires_at = {years} WHERE ended_at IS NULL"
    ));
    let known = fs::read_to_string(data(version).join(known)).unwrap();
    (database, serde_json::from_str(&known).unwrap())
}

/// The database of the last release, before this version migrates it.
pub(crate) fn of_last_release(database: Database) -> Database {
    let (version, _) = releases().pop().unwrap();
    restored(&version, database).0
}

fn texts(value: &Value) -> impl Iterator<Item = &str> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap())
}

fn pairs(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value.as_object().unwrap().iter().map(|(key, value)| (key.as_str(), value))
}

fn serves_every_release(empty: fn() -> Database) {
    for (version, last_migration) in releases() {
        let (database, known) = restored(&version, empty());
        let url = database.url();
        let secret = known["secret"].as_str().unwrap();
        let settings = [("DATABASE__URL", url.as_str()), ("SECRET", secret), ("AUDIT__RETENTION", "forever")];
        let printed = |arguments: &[&str]| {
            let output = run(database.folder.path(), &settings, arguments);
            assert!(output.status.success(), "{version} {arguments:?}: {output:?}");
            String::from_utf8(output.stdout).unwrap()
        };
        let applied = |status: &str| {
            let applied = status.lines().filter_map(|line| line.strip_prefix("applied  "));
            applied.map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(applied(&printed(&["migrate", "--status"])).last(), Some(&last_migration), "{version}");

        let server = Server::start_with(&database, &settings);
        server.wait_until_ready();
        for (name, password) in pairs(&known["passwords"]) {
            let tokens = server.try_login(name, password.as_str().unwrap()).tokens();
            assert_eq!(server.get_as("/me", &tokens.access).json()["username"], name, "{version}");
            assert_eq!(server.logout(&tokens.refresh).status, 204, "{version}");
        }
        for (name, password) in pairs(&known["disabled"]) {
            let status = server.try_login(name, password.as_str().unwrap()).status;
            assert!([401, 403].contains(&status), "{version}: {name} got {status}");
        }
        for (name, sessions) in pairs(&known["live"]) {
            for refresh in texts(sessions) {
                let tokens = server.refresh(refresh).tokens();
                assert_eq!(server.get_as("/me", &tokens.access).json()["username"], name, "{version}");
            }
        }
        for refresh in texts(&known["ended"]) {
            server.refresh(refresh).is_problem(401, "invalid_refresh_token");
        }
        let (status, log) = server.terminate();
        assert!(status.success(), "{version}: {log:#?}");

        let status = printed(&["migrate", "--status"]);
        assert_eq!(applied(&status).len(), status.lines().count(), "{version}: {status}");
        printed(&["audit", "verify", "--head", known["audit_head"].as_str().unwrap()]);
        assert_eq!(
            database.number("SELECT count(*) FROM sessions WHERE ended_at IS NULL AND ended_xid IS NOT NULL"),
            0
        );
    }
}

#[test]
fn sqlite_databases_of_every_release_are_served() {
    serves_every_release(Database::sqlite);
}

#[test]
fn postgres_databases_of_every_release_are_served() {
    serves_every_release(Database::postgres);
}
