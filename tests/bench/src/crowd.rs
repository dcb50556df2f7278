//! Measures whether the owner of an account can log in while a crowd tries wrong passwords: each wrong login has a new name and comes
//! from a new network, so no counter and no limit of one client slows it down.
//!
//! The server runs with its default settings, except that it believes `X-Forwarded-For` from this machine. One owner logs in
//! from networks that the account knows, another from a new network each time.

use std::fmt;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use clap::Args;
use portcullis_testkit::postgres::ThrowawayPostgres;

use crate::growth::{Binary, Kind, PASSWORD, Site, Sites, say};
use crate::load::{Answer, Connection, post_from};
use crate::server::Server;
use crate::statistics::{count, longest, milliseconds, percentile};

/// The options of `portcullis-bench crowd`.
#[derive(Args, Debug)]
pub(crate) struct Crowd {
    /// How often each owner logs in during an attack
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    tries: u32,
    /// Wrong logins per second
    #[arg(long, value_name = "N,..", value_delimiter = ',', default_values_t = [25, 500], value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rates: Vec<u32>,
    /// The kinds of database
    #[arg(long, value_delimiter = ',', default_values_t = [Kind::Sqlite, Kind::Postgres])]
    databases: Vec<Kind>,
    /// A running PostgreSQL server to use: the URL of a database whose user may create others
    #[arg(long, value_name = "URL")]
    postgres: Option<String>,
    /// The server's binary [default: `portcullis` beside this program]
    #[arg(long, value_name = "PATH")]
    server: Option<PathBuf>,
}

/// Measures and prints a table.
///
/// # Errors
/// If a server cannot be started, or an owner at known networks is served less often than the goal requires.
pub(crate) fn run(options: &Crowd) -> Result<()> {
    let binary = Binary::find(options.server.as_deref())?;
    let mut rows = Vec::new();
    for kind in &options.databases {
        let sites = match (kind, &options.postgres) {
            (Kind::Postgres, None) => {
                Sites::Throwaway(ThrowawayPostgres::start_durable().map_err(|error| anyhow!(error))?)
            }
            (_, postgres) => Sites::open(*kind, postgres.as_deref())?,
        };
        let site = sites.create(&binary)?;
        for attack in attacks(&options.rates) {
            say(&format!("{kind}: {}", name(attack)));
            let outcome = measure(&binary, &site, attack, options.tries)?;
            rows.push(Row { kind: *kind, attack, outcome });
        }
    }
    print(&rows).context("cannot print the table")?;
    for Row { kind, attack, outcome } in &rows {
        let Logins { tries, served, .. } = &outcome.known;
        ensure!(
            served.len() * 100 >= *tries * GOAL_PERCENT,
            "{kind}, {}: only {} of {tries} logins from known networks were served within {IN_TIME:?}",
            name(*attack),
            served.len(),
        );
    }
    Ok(())
}

/// Without an attack, and then each source at each rate.
fn attacks(rates: &[u32]) -> Vec<Option<Attack>> {
    let of_source = |source| rates.iter().map(move |rate| Some(Attack { source, rate: *rate }));
    let attacks = [Source::Ipv4, Source::Ipv6Block].into_iter().flat_map(of_source);
    [None].into_iter().chain(attacks).collect()
}

/// Wrong logins, evenly spread over time.
#[derive(Clone, Copy, Debug)]
struct Attack {
    source: Source,
    /// Per second.
    rate: u32,
}

#[derive(Clone, Copy, Debug)]
enum Source {
    /// IPv4 addresses, each of another /24.
    Ipv4,
    /// The /64s of one IPv6 /48.
    Ipv6Block,
}

impl Source {
    /// The address of the nth wrong login.
    fn address(self, n: u32) -> String {
        let [_, high, middle, low] = n.to_be_bytes();
        match self {
            Self::Ipv4 => Ipv4Addr::new(20 + high, middle, low, 7).to_string(),
            Self::Ipv6Block => {
                let network = u16::from_be_bytes([middle, low]);
                Ipv6Addr::new(0x2001, 0xdb8, 7, network, 0, 0, 0, 1).to_string()
            }
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ipv4 => "IPv4 addresses",
            Self::Ipv6Block => "/64s of one /48",
        })
    }
}

/// The outcome of one attack.
struct Outcome {
    length: Duration,
    /// Answers to wrong logins.
    wrong: u32,
    overloaded: u32,
    limited: u32,
    /// Owners at networks that their account knows, and at new ones.
    known: Logins,
    unknown: Logins,
}

/// The logins of one owner.
#[derive(Default)]
struct Logins {
    tries: usize,
    /// How long those took that were served in time.
    served: Vec<Duration>,
    /// How many got 503.
    refused: usize,
}

fn measure(binary: &Binary, site: &Site, attack: Option<Attack>, tries: u32) -> Result<Outcome> {
    // Each attack meets a server that has counted nothing against any address.
    let server = binary.start_as_shipped(site, &[("SERVER__TRUSTED_PROXIES", "127.0.0.0/8")])?;
    let round = server.address.port();
    let (known_owner, unknown_owner) = (format!("known-{round}"), format!("unknown-{round}"));
    for (name, address) in [(&known_owner, "10.0.0.1"), (&unknown_owner, "10.0.1.1")] {
        ask(&server, "/register", name, PASSWORD, address)?.expect(201)?;
    }
    for n in 0..HOMES {
        ask(&server, "/login", &known_owner, PASSWORD, &home(n))?.expect(200)?;
    }
    let is_over = AtomicBool::new(false);
    let begun = Instant::now();
    let (known, unknown, statuses) = thread::scope(|scope| {
        let is_over = &is_over;
        let crowd = scope.spawn(move || attack.map(|attack| besiege(server.address, attack, is_over)));
        thread::sleep(HEAD_START);
        let log_in = |name: String, address: fn(u32) -> String| {
            scope.spawn(move || log_in_often(server.address, &name, address, tries))
        };
        let known = log_in(known_owner, |n| home(n % HOMES));
        let unknown = log_in(unknown_owner, |n| Ipv4Addr::from_bits(FIRST_NEW + (n << 8)).to_string());
        let owners = (known.join(), unknown.join());
        is_over.store(true, Ordering::Relaxed);
        (owners.0, owners.1, crowd.join())
    });
    let panicked = |_| anyhow!("a thread panicked");
    let length = begun.elapsed();
    let (known, unknown) = (known.map_err(panicked)??, unknown.map_err(panicked)??);
    let statuses = statuses.map_err(panicked)?.transpose()?.unwrap_or_default();
    let of = |status| u32::try_from(statuses.iter().filter(|answer| **answer == status).count());
    let (wrong, overloaded, limited) = (of(401)?, of(503)?, of(429)?);
    Ok(Outcome { length, wrong, overloaded, limited, known, unknown })
}

/// Sends wrong logins until it is over, and returns the statuses of the answers.
fn besiege(server: SocketAddr, attack: Attack, is_over: &AtomicBool) -> Result<Vec<u16>> {
    let (next, begun) = (AtomicU32::new(0), Instant::now());
    let attacker = || {
        let (mut connection, mut statuses) = (Connection::open(server)?, Vec::new());
        while !is_over.load(Ordering::Relaxed) {
            let n = next.fetch_add(1, Ordering::Relaxed);
            let due = begun + Duration::from_secs(1) * n / attack.rate;
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let body = credentials(&format!("guess-{}-{n}", server.port()), WRONG);
            let answer = connection.ask(&post_from(server, "/login", &body, &attack.source.address(n)))?;
            ensure!([401, 429, 503].contains(&answer.status), "{} to a wrong login", answer.status);
            statuses.push(answer.status);
        }
        Ok(statuses)
    };
    thread::scope(|scope| {
        let attackers: Vec<_> = (0..ATTACKERS).map(|_| scope.spawn(attacker)).collect();
        let mut statuses = Vec::new();
        for attacker in attackers {
            statuses.extend(attacker.join().map_err(|_panic| anyhow!("an attacker panicked"))??);
        }
        Ok(statuses)
    })
}

/// Logs in again and again, without repeating what is refused.
fn log_in_often(
    server: SocketAddr,
    name: &str,
    address: impl Fn(u32) -> String,
    tries: u32,
) -> Result<Logins> {
    let (mut connection, mut logins, begun) = (Connection::open(server)?, Logins::default(), Instant::now());
    for n in 0..tries {
        thread::sleep((begun + PAUSE * n).saturating_duration_since(Instant::now()));
        let sent = Instant::now();
        let answer =
            connection.ask(&post_from(server, "/login", &credentials(name, PASSWORD), &address(n)))?;
        let took = sent.elapsed();
        ensure!([200, 503].contains(&answer.status), "{} to the owner's login", answer.status);
        logins.tries += 1;
        match answer.status {
            503 => logins.refused += 1,
            _ => logins.served.extend(Some(took).filter(|took| *took <= IN_TIME)),
        }
    }
    Ok(logins)
}

fn ask(server: &Server, path: &str, name: &str, password: &str, address: &str) -> Result<Answer> {
    let request = post_from(server.address, path, &credentials(name, password), address);
    Connection::open(server.address)?.ask(&request)
}

fn credentials(name: &str, password: &str) -> String {
    format!(r#"{{"username":"{name}","password":"{password}"}}"#)
}

/// One of the networks where the owner logged in before.
fn home(n: u32) -> String {
    format!("10.1.{n}.1")
}

struct Row {
    kind: Kind,
    attack: Option<Attack>,
    outcome: Outcome,
}

fn print(rows: &[Row]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "| database | wrong logins from | offered/s | sent/s | 401/s | 503/s | 429/s | hashes/s \
         | known network: served | 503 | p50 | p95 | max | new network: served | 503 | p50 | p95 | max |"
    )?;
    writeln!(out, "|{}", "---|".repeat(18))?;
    for Row { kind, attack, outcome } in rows {
        let Outcome { length, wrong, overloaded, limited, known, unknown } = outcome;
        let rate = |number: f64| format!("{:.1}", number / length.as_secs_f64());
        let per_second = |number: u32| rate(number.into());
        let (source, offered) = match attack {
            Some(Attack { source, rate }) => (source.to_string(), rate.to_string()),
            None => ("none".to_owned(), "0".to_owned()),
        };
        let hashes = f64::from(*wrong) + count(known.hashed() + unknown.hashed());
        writeln!(
            out,
            "| {kind} | {source} | {offered} | {} | {} | {} | {} | {} | {known} | {unknown} |",
            per_second(wrong + overloaded + limited),
            per_second(*wrong),
            per_second(*overloaded),
            per_second(*limited),
            rate(hashes),
        )?;
    }
    let note = "Served: answered 200 within 3 s, without repeating; the times are of those.";
    writeln!(out, "\n{note} Goal: {GOAL_PERCENT} % at known networks.")
}

impl Logins {
    /// How many cost a hash, in time or not.
    fn hashed(&self) -> usize {
        self.tries - self.refused
    }
}

impl fmt::Display for Logins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let served = &self.served;
        let [p50, p95] = [50, 95].map(|percent| milliseconds(percentile(served, percent)));
        let max = milliseconds(longest(served));
        let (served, refused) = (served.len(), self.refused);
        write!(f, "{served} of {} | {refused} | {p50:.0} ms | {p95:.0} ms | {max:.0} ms", self.tries)
    }
}

fn name(attack: Option<Attack>) -> String {
    match attack {
        Some(Attack { source, rate }) => format!("{rate} wrong logins per second from {source}"),
        None => "no attack".to_owned(),
    }
}

/// As long as [`PASSWORD`].
const WRONG: &str = "Wr0ngly-horse battery";

/// When a login counts as served.
const IN_TIME: Duration = Duration::from_secs(3);

/// The least percentage of logins from known networks that must be served.
const GOAL_PERCENT: usize = 99;

/// How long the attack lasts before the owners come.
const HEAD_START: Duration = Duration::from_secs(3);

/// The time between two logins of an owner. With this number of homes, none is limited (30 logins per minute).
const PAUSE: Duration = Duration::from_millis(500);
const HOMES: u32 = 8;

/// 172.16.0.1: the first address of the owner at new networks.
const FIRST_NEW: u32 = 0xac10_0001;

/// How many connections the attack has: more than the server has places for, so that none is late.
const ATTACKERS: usize = 48;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::IpAddr;

    use portcullis_domain::client::Network;

    use super::*;

    #[test]
    fn wrong_logins_come_from_distinct_networks() {
        for (source, blocks) in [(Source::Ipv4, 10_000), (Source::Ipv6Block, 1)] {
            let networks: BTreeSet<IpAddr> =
                (0..10_000).map(|n| Network::of(source.address(n).parse().unwrap()).address()).collect();
            assert_eq!(networks.len(), 10_000, "{source}");
            let found: std::collections::HashSet<_> =
                networks.iter().map(|address| Network::of(*address).block()).collect();
            assert_eq!(found.len(), blocks, "{source}");
        }
    }

    #[test]
    fn owner_stays_below_the_login_limit_of_each_home() {
        let per_minute = Duration::from_mins(1).as_millis() / PAUSE.as_millis() / u128::from(HOMES);
        assert!(per_minute < 30, "{per_minute}");
    }
}
