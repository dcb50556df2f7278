//! Fills a database with users and sessions, by SQL that runs inside it.

use std::io::{self, Write as _};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use diesel::sql_types::BigInt;
use diesel::{QueryableByName, RunQueryDsl};
use portcullis_adapters::db::DatabaseUrl;
use portcullis_adapters::hashing::{BcryptCost, HashScheme, SchemeHasher};
use portcullis_adapters::system::{OsRandom, SystemClock};
use portcullis_domain::password::policy::PasswordPolicy;
use portcullis_domain::password::{PasswordHasher as _, PlaintextPassword};
use portcullis_domain::ports::Clock as _;

use super::plans::Direct;
use super::population::{Dialect, Population};

/// The password of every user.
pub(crate) const PASSWORD: &str = "Corr3ct-horse battery";

/// What a database was filled with.
#[derive(Debug)]
pub(super) struct Filled {
    pub(super) population: Population,
    pub(super) took: Duration,
    /// The bytes of the database.
    pub(super) size: u64,
}

/// Fills a database that is empty but for its schema, in transactions of [`CHUNK`] rows, and gathers its statistics.
pub(super) fn fill(
    direct: &mut Direct,
    url: &DatabaseUrl,
    scheme: HashScheme,
    users: u64,
    sessions_per_user: u64,
) -> Result<Filled> {
    let begun = Instant::now();
    let population = Population {
        dialect: Dialect::of(url),
        users,
        sessions_per_user,
        password_hash: hash(scheme)?,
        now: SystemClock::new().now(),
    };
    direct.execute(quickly(population.dialect))?;
    let sessions = population.sessions();
    let mut progress = Progress { url: url.to_string(), begun, done: 0, all: 3 * users + 3 * sessions };
    for chunk in chunks(users) {
        let rows = chunk.end - chunk.start;
        let inserts = [population.insert_users(chunk.clone()), population.insert_counters(chunk)].concat();
        direct.execute(&in_transaction(&inserts))?;
        progress.add(3 * rows);
    }
    for chunk in chunks(sessions) {
        let rows = chunk.end - chunk.start;
        direct.execute(&in_transaction(&population.insert_sessions(chunk)))?;
        progress.add(3 * rows);
    }
    for statement in settle(population.dialect) {
        direct.execute(statement)?;
    }
    let size = number(direct, size_of(population.dialect))?.try_into()?;
    Ok(Filled { population, took: begun.elapsed(), size })
}

/// How many rows a table has.
pub(crate) fn count(direct: &mut Direct, table: &str) -> Result<i64> {
    number(direct, &format!("SELECT count(*) AS number FROM {table}"))
}

/// Tells how far it is.
pub(crate) fn say(line: &str) {
    // Whoever closed standard error does not want to know.
    let _ = writeln!(io::stderr(), "{line}");
}

struct Progress {
    url: String,
    begun: Instant,
    done: u64,
    all: u64,
}

impl Progress {
    #[expect(clippy::cast_precision_loss, reason = "nobody counts the rows by this line")]
    fn add(&mut self, rows: u64) {
        self.done += rows;
        let a_second = self.done as f64 / self.begun.elapsed().as_secs_f64();
        let left = (self.all - self.done) as f64 / a_second;
        let Self { url, done, all, .. } = self;
        say(&format!("filling {url}: {done} of {all} rows, {a_second:.0} a second, {left:.0} s left"));
    }
}

/// The cheapest hashes there are: a login then shows the database, not the hash.
pub(crate) fn cheapest() -> Result<HashScheme> {
    let cost = BcryptCost::new(BcryptCost::MIN).context("the lowest cost is none")?;
    Ok(HashScheme::BcryptSha256 { cost })
}

fn hash(scheme: HashScheme) -> Result<String> {
    let hasher = SchemeHasher::new(scheme, Arc::new(OsRandom));
    let attempt = PlaintextPassword::new(PASSWORD.to_owned());
    let accepted = PasswordPolicy::default().accept(&attempt, "");
    let accepted = accepted.map_err(|broken| anyhow!("the password breaks {broken:?}"))?;
    Ok(hasher.hash(&accepted)?.expose().to_owned())
}

fn chunks(rows: u64) -> impl Iterator<Item = Range<u64>> {
    (0..rows).step_by(CHUNK).map(move |start| start..rows.min(start + CHUNK as u64))
}

fn in_transaction(statements: &str) -> String {
    format!("BEGIN; {statements} COMMIT;")
}

/// What a power cut would undo can be filled in again.
const fn quickly(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Sqlite => {
            "PRAGMA busy_timeout = 5000; PRAGMA synchronous = OFF; PRAGMA cache_size = -262144;"
        }
        Dialect::Postgres => "SET synchronous_commit TO off",
    }
}

/// Leaves the database as one that has grown over time: with statistics, and without work put off. (PostgreSQL runs
/// VACUUM alone.)
const fn settle(dialect: Dialect) -> &'static [&'static str] {
    match dialect {
        Dialect::Sqlite => &["ANALYZE", "PRAGMA wal_checkpoint(TRUNCATE)"],
        Dialect::Postgres => &["VACUUM ANALYZE"],
    }
}

const fn size_of(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Sqlite => "SELECT page_count * page_size AS number FROM pragma_page_count, pragma_page_size",
        Dialect::Postgres => "SELECT pg_database_size(current_database()) AS number",
    }
}

fn number(direct: &mut Direct, query: &str) -> Result<i64> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = BigInt)]
        number: i64,
    }
    let query = diesel::sql_query(query);
    let Row { number } = match direct {
        Direct::Sqlite(connection) => query.get_result(connection),
        Direct::Postgres(connection) => query.get_result(connection),
    }?;
    Ok(number)
}

/// Large enough that a commit costs nothing beside it, small enough to see it move.
const CHUNK: usize = 100_000;
