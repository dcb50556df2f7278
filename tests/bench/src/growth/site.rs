//! Where databases are made, and a database with the folder its server works in. Each is gone when it goes out of
//! scope; those of a throwaway PostgreSQL go with it.

use std::cell::Cell;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use diesel::connection::SimpleConnection as _;
use diesel::{Connection as _, PgConnection};
use portcullis_testkit::postgres::ThrowawayPostgres;
use tempfile::TempDir;

use super::Kind;
use super::fill::say;
use super::server::Binary;

/// A place for databases.
pub(crate) enum Sites {
    Files,
    Throwaway(ThrowawayPostgres),
    /// A server that somebody named, and how many databases were made there.
    Given(String, Cell<u32>),
}

impl Sites {
    pub(crate) fn open(kind: Kind, postgres: Option<&str>) -> Result<Self> {
        Ok(match (kind, postgres) {
            (Kind::Sqlite, _) => Self::Files,
            (Kind::Postgres, None) => Self::Throwaway(ThrowawayPostgres::start()),
            (Kind::Postgres, Some(url)) => {
                ensure!(renamed(url, "x").is_some(), "--postgres: write postgres://user@host/database");
                Self::Given(url.to_owned(), Cell::new(0))
            }
        })
    }

    /// A database with the tables of `binary`, and nothing in them.
    pub(crate) fn create(&self, binary: &Binary) -> Result<Site> {
        // Not the system's folder for such: that may be memory, and a database is on a disk.
        let beside = std::env::current_exe()?;
        let beside = beside.parent().context("this program is in no folder")?;
        let folder = TempDir::with_prefix_in("growth-", beside).context("cannot make a folder")?;
        let (url, dropped) = match self {
            Self::Files => (format!("sqlite://{}/portcullis.db", folder.path().display()), None),
            Self::Throwaway(server) => (server.create_database(), None),
            Self::Given(server, made) => {
                made.set(made.get() + 1);
                let name = format!("portcullis_growth_{}_{}", std::process::id(), made.get());
                let url = renamed(server, &name).context("--postgres names no database")?;
                order(server, &format!("CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'"))?;
                (url, Some(Dropped { server: server.clone(), name }))
            }
        };
        let site = Site { url, _dropped: dropped, folder };
        binary.migrate(site.url(), site.folder())?;
        Ok(site)
    }
}

/// A database and a folder.
pub(crate) struct Site {
    url: String,
    _dropped: Option<Dropped>,
    folder: TempDir,
}

impl Site {
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// A database on a server that stays.
struct Dropped {
    server: String,
    name: String,
}

impl Drop for Dropped {
    fn drop(&mut self) {
        if let Err(error) = order(&self.server, &format!("DROP DATABASE {} WITH (FORCE)", self.name)) {
            say(&format!("cannot drop the database {}: {error:#}", self.name));
        }
    }
}

fn order(server: &str, sql: &str) -> Result<()> {
    let mut connection = PgConnection::establish(server).context("cannot connect to --postgres")?;
    connection.batch_execute(sql).context("--postgres")
}

/// The URL of another database of the same server.
fn renamed(url: &str, database: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let (server, old) = rest.split_once('/')?;
    let options = old.find('?').map_or("", |at| &old[at..]);
    Some(format!("{scheme}://{server}/{database}{options}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_database_of_a_server_has_the_same_url_but_for_its_name() {
        let renamed = |url| renamed(url, "b");
        assert_eq!(renamed("postgres://u:p@host:1/a").unwrap(), "postgres://u:p@host:1/b");
        assert_eq!(renamed("postgres:///a?host=%2Ftmp&user=u").unwrap(), "postgres:///b?host=%2Ftmp&user=u");
        assert_eq!(renamed("postgres://host"), None);
    }
}
