//! How the server keeps pace as its database grows (goal P12): databases full of users, and what login, refresh and
//! `/me` take over them beside what they take over a small one.

mod fill;
mod measure;
#[path = "../../../crates/adapters/tests/contract/plans.rs"]
mod plans;
#[path = "../../../crates/adapters/tests/contract/population.rs"]
mod population;
mod server;
mod site;
mod table;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Error, Result, ensure};
use clap::{Args, ValueEnum};
use portcullis_adapters::db::{Database, DatabaseUrl, PoolConfig};
use portcullis_adapters::hashing::HashScheme;
use portcullis_adapters::keys::SecretFingerprint;
use portcullis_adapters::secret::Secret;

use self::fill::{Filled, fill};
pub(crate) use self::fill::{PASSWORD, cheapest, count, say};
use self::measure::Comparison;
use self::plans::{Direct, Statement};
pub(crate) use self::server::Binary;
pub(crate) use self::site::{Site, Sites};
use self::table::{Planned, Row};
use crate::server::{SECRET, Server};

/// What `portcullis-bench growth` is told.
#[derive(Args, Debug)]
pub(crate) struct Growth {
    /// How many users there are, each with a session; every size is measured beside the first
    #[arg(long, value_name = "N,..", value_delimiter = ',', default_values_t = [1_000, 100_000, 1_000_000], value_parser = clap::value_parser!(u64).range(1_000..=100_000_000))]
    sizes: Vec<u64>,
    /// The kinds of database
    #[arg(long, value_delimiter = ',', default_values_t = [Kind::Sqlite, Kind::Postgres])]
    databases: Vec<Kind>,
    /// A PostgreSQL server in whose place none is started: the URL of a database whose user may create others
    #[arg(long, value_name = "URL")]
    postgres: Option<String>,
    /// The server's binary [default: `portcullis` beside this program]
    #[arg(long, value_name = "PATH")]
    server: Option<PathBuf>,
}

/// What `portcullis-bench fill` is told.
#[derive(Args, Debug)]
pub(crate) struct Fill {
    /// Its URL, as the setting `database.url` has it; its schema is brought up to date first
    #[arg(long, value_name = "URL")]
    database: String,
    /// How many users to add
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    users: u64,
    /// How many sessions each of them has
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(0..=50))]
    sessions_per_user: u64,
    /// The server's binary [default: `portcullis` beside this program]
    #[arg(long, value_name = "PATH")]
    server: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    Sqlite,
    Postgres,
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        })
    }
}

/// Fills the databases, measures and prints the tables.
pub(crate) fn run(growth: &Growth) -> Result<()> {
    let binary = Binary::find(growth.server.as_deref())?;
    let smallest = growth.sizes.first().context("no size to measure")?;
    let largest = growth.sizes.iter().max();
    plans::record()?;
    let (mut rows, mut planned) = (Vec::new(), Vec::new());
    for kind in &growth.databases {
        let sites = Sites::open(*kind, growth.postgres.as_deref())?;
        for size in &growth.sizes {
            let small = Stocked::make(&binary, &sites, *smallest)?;
            let large = Stocked::make(&binary, &sites, *size)?;
            if Some(size) == largest {
                planned.extend(large.plans(*kind)?);
            }
            say(&format!("measuring {kind} with {size} users beside one with {smallest}"));
            let comparison = Comparison::measure(&binary, [&small, &large], &secret()?)?;
            rows.push(Row { kind: *kind, filled: large.filled, comparison });
        }
    }
    table::print(&rows, &planned)
}

/// Fills the database that somebody names.
pub(crate) fn fill_one(told: &Fill) -> Result<()> {
    let url = DatabaseUrl::parse(&told.database).context("--database")?;
    let binary = Binary::find(told.server.as_deref())?;
    binary.migrate(&told.database, Path::new("."))?;
    let mut direct = connect(&url)?;
    ensure!(count(&mut direct, "users")? == 0, "{url} has users; fill one that has none");
    let filled = fill(&mut direct, &url, cheapest()?, told.users, told.sessions_per_user)?;
    say(&format!(
        "added {} users and {} sessions in {:.1} s; the password of every user is {}",
        filled.population.users,
        filled.population.sessions(),
        filled.took.as_secs_f64(),
        PASSWORD,
    ));
    Ok(())
}

/// A server over a fresh SQLite database of users without sessions, whose odd ones are disabled.
pub(crate) struct Crowd {
    pub(crate) server: Server,
    _site: Site,
}

impl Crowd {
    /// The server's hashes are of `scheme`, as all stored ones are.
    pub(crate) fn start(binary: Option<&Path>, scheme: HashScheme, users: u64) -> Result<Self> {
        let binary = Binary::find(binary)?;
        let site = Sites::open(Kind::Sqlite, None)?.create(&binary)?;
        let url = DatabaseUrl::parse(site.url())?;
        let mut direct = connect(&url)?;
        fill(&mut direct, &url, scheme, users, 0)?;
        let odd = "CAST(substr(username, 6) AS INTEGER) % 2 = 1";
        direct.execute(&format!("UPDATE users SET disabled_at = created_at WHERE {odd}"))?;
        let algorithm = match scheme {
            HashScheme::BcryptSha256 { .. } => "bcrypt",
            HashScheme::Argon2id => "argon2id",
        };
        Ok(Self { server: binary.start_with(&site, &[("HASHING__ALGORITHM", algorithm)])?, _site: site })
    }
}

/// A fresh database full of users with a session each.
struct Stocked {
    site: Site,
    filled: Filled,
}

impl Stocked {
    fn make(binary: &Binary, sites: &Sites, users: u64) -> Result<Self> {
        let site = sites.create(binary)?;
        let url = DatabaseUrl::parse(site.url())?;
        let filled = fill(&mut connect(&url)?, &url, cheapest()?, users, 1)?;
        Ok(Self { site, filled })
    }

    /// How it carries out each statement at its size.
    fn plans(&self, kind: Kind) -> Result<Vec<Planned>> {
        let url = DatabaseUrl::parse(self.site.url())?;
        let mut direct = connect(&url)?;
        let database = Database::new(url, PoolConfig::default());
        database.prepare(SecretFingerprint::of(&secret()?), &[])?;
        let population = &self.filled.population;
        let statements = plans::hot_statements(&database, population).map_err(Error::from_boxed)?;
        let plan = |Statement { call, sql }| {
            let plan = direct.explain(&sql)?;
            let is_by_index = direct.reads_in_full(&plan).is_empty();
            Ok(Planned { kind, users: population.users, call, plan, is_by_index })
        };
        statements.into_iter().map(plan).collect()
    }
}

pub(crate) fn connect(url: &DatabaseUrl) -> Result<Direct> {
    Direct::connect(url).map_err(Error::from_boxed).with_context(|| format!("cannot connect to {url}"))
}

/// The secret of every database that is measured.
fn secret() -> Result<Secret> {
    Ok(Secret::parse(SECRET)?)
}
