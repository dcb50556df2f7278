//! Where the database is and how it is reached.

use portcullis_adapters::db::{DatabaseUrl, Pooler};

use super::InvalidSetting;
use super::values::Values;
// By path from here, because the fuzz target includes this module at another place.
use super::advice;

/// Reads `database.url`, `database.pooler` and `database.migrate_url`.
pub(super) fn database(values: &Values) -> Result<DatabaseUrl, InvalidSetting> {
    let parse = |url: &str| DatabaseUrl::parse(url).map_err(|error| advice::on_database_url(&error));
    let url = values.parsed("database.url", parse)?;
    let pooler =
        values.one_of("database.pooler", &[("none", Pooler::None), ("transaction", Pooler::Transaction)])?;
    let migrate_url = values.optional("database.migrate_url", parse)?;
    match (url, migrate_url) {
        (DatabaseUrl::Postgres(url), None) => Ok(DatabaseUrl::Postgres(url.reached(pooler, None))),
        (DatabaseUrl::Postgres(url), Some(DatabaseUrl::Postgres(direct))) => {
            Ok(DatabaseUrl::Postgres(url.reached(pooler, Some(direct))))
        }
        (DatabaseUrl::Sqlite(path), None) if pooler == Pooler::None => Ok(DatabaseUrl::Sqlite(path)),
        (DatabaseUrl::Sqlite(_), None) => values.checked(
            "database.pooler",
            Err("database.url is an SQLite file, which has no pooler: leave it at none"),
        ),
        (DatabaseUrl::Sqlite(_), Some(_)) => values.checked(
            "database.migrate_url",
            Err("database.url is an SQLite file, which every command opens by its path: leave it empty"),
        ),
        (DatabaseUrl::Postgres(_), Some(DatabaseUrl::Sqlite(_))) => {
            values.checked("database.migrate_url", Err("must be a URL of the same PostgreSQL database"))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::path::PathBuf;

    use super::super::{Settings, Sources, describe};

    const SECRET: (&str, &str) = ("PORTCULLIS_SECRET", "pcs_kCaD3cvDJhSoAWdL8fbAfYwTXiWyOo4nPoXAw0GDJ5Q");
    const URL: (&str, &str) = ("DATABASE_URL", "postgres://me:hunter2@localhost:6432/p");
    const POOLER: (&str, &str) = ("PORTCULLIS_DATABASE__POOLER", "transaction");
    const MIGRATE_URL: &str = "PORTCULLIS_DATABASE__MIGRATE_URL";
    const DIRECT: &str = "postgres://owner:hunter3@localhost/p";

    fn sources(variables: &[(&str, &str)]) -> Sources {
        let variables = variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let mut sources = Sources::new(None, variables).unwrap();
        sources.folder = PathBuf::from("/nonexistent");
        sources
    }

    #[test]
    fn migrate_url_is_masked_and_may_come_from_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("url");
        std::fs::write(&file, format!("{DIRECT}\n")).unwrap();
        let name_of_file = format!("{MIGRATE_URL}_FILE");
        for variable in [(MIGRATE_URL, DIRECT), (&name_of_file, file.to_str().unwrap())] {
            let sources = sources(&[SECRET, URL, POOLER, variable]);
            let settings = Settings::load(&sources).unwrap();
            let text = format!("{settings:?} {}", describe(&sources).unwrap().join(" "));
            assert!(!text.contains("hunter") && text.contains("database.pooler = \"transaction\""), "{text}");
            let line = format!("database.migrate_url = \"postgres://localhost/p\"  # {}", variable.0);
            assert!(text.contains(&line), "{text}");
        }
        assert!(Settings::load(&sources(&[SECRET, URL, (MIGRATE_URL, DIRECT)])).is_ok(), "without a pooler");
    }

    #[test]
    fn settings_that_do_not_fit_the_database_are_refused() {
        let sqlite = ("DATABASE_URL", "sqlite://x.db");
        for (variables, setting) in [
            (&[sqlite, POOLER][..], "database.pooler"),
            (&[sqlite, (MIGRATE_URL, DIRECT)], "database.migrate_url"),
            (&[sqlite, (MIGRATE_URL, "sqlite://y.db")], "database.migrate_url"),
            (&[URL, (MIGRATE_URL, "sqlite://y.db")], "database.migrate_url"),
            (&[URL, (MIGRATE_URL, "postgres://o:hunter3@localhost/p?port=x")], "database.migrate_url"),
            (&[URL, ("PORTCULLIS_DATABASE__POOLER", "session")], "database.pooler"),
        ] {
            let text = Settings::load(&sources(&[&[SECRET], variables].concat())).unwrap_err().to_string();
            assert!(text.starts_with(setting) && !text.contains("hunter"), "{variables:?}: {text}");
        }
    }
}
