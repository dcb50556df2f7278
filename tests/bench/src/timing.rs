//! Whether the time of a refused login tells why it was refused: no such user, a wrong password, or a disabled user.
//!
//! Logins of the three kinds take turns in random order on one connection: over bcrypt of the lowest cost, beside which
//! everything else shows most, and over Argon2id. Each name is tried fewer times than are free, so that nobody is told to
//! wait.
//!
//! A machine that did something else meanwhile makes some logins slow, and those drown small differences. So the slowest
//! are left out as well, by one bound for all kinds (as `dudect` does: Reparaz, Balasch, Verbauwhede 2017). But that would
//! hide a kind that is slow now and then. So three tests are made of each pair, and all have to hold: of all times, of
//! those that are left, and of how many each kind has among those left out.

use std::fmt;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use clap::{Args, ValueEnum};
use portcullis_adapters::hashing::HashScheme;
use portcullis_domain::ports::SecureRandom as _;
use portcullis_testkit::SeededRandom;

use crate::growth::{Crowd, PASSWORD, cheapest, say};
use crate::load::{Connection, post};
use crate::statistics::{median, percentile, welch_t};

/// What `portcullis-bench timing` is told.
#[derive(Args, Debug)]
pub(crate) struct Timing {
    /// How many logins of each kind; of Argon2id a quarter of them, since each takes so long
    #[arg(long, value_name = "N", default_value_t = 4_000, value_parser = clap::value_parser!(u64).range(400..=1_000_000))]
    logins: u64,
    /// How the passwords are hashed
    #[arg(long, value_delimiter = ',', default_values_t = [Hashes::Bcrypt, Hashes::Argon2id])]
    hashes: Vec<Hashes>,
    /// The server's binary [default: `portcullis` beside this program]
    #[arg(long, value_name = "PATH")]
    server: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Hashes {
    Bcrypt,
    Argon2id,
}

impl Hashes {
    fn scheme(self) -> Result<HashScheme> {
        match self {
            Self::Bcrypt => cheapest(),
            Self::Argon2id => Ok(HashScheme::Argon2id),
        }
    }

    const fn logins(self, asked: u64) -> u64 {
        match self {
            Self::Bcrypt => asked,
            Self::Argon2id => asked / 4,
        }
    }
}

impl fmt::Display for Hashes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bcrypt => "bcrypt",
            Self::Argon2id => "argon2id",
        })
    }
}

/// The kinds of refused logins.
const KINDS: [&str; 3] = ["unknown name", "wrong password", "disabled user"];

/// Measures and prints.
///
/// # Errors
/// Also where the times differ by more than the goal.
pub(crate) fn run(timing: &Timing) -> Result<()> {
    let (mut medians, mut tests, mut tells) = (Vec::new(), Vec::new(), Vec::new());
    for hashes in &timing.hashes {
        let logins = hashes.logins(timing.logins);
        let users = 2 * logins.div_ceil(TRIES);
        let crowd = Crowd::start(timing.server.as_deref(), hashes.scheme()?, users)?;
        say(&format!("{hashes}: {logins} logins of each kind"));
        let times = measure(crowd.server.address, logins)?;
        let bound = bound_of(&times);
        for (kind, times) in KINDS.iter().zip(&times) {
            let middle = median(&micros(times)).context("nothing was measured")?;
            let slow = times.iter().filter(|time| **time > bound).count();
            medians.push(format!("| {hashes}: {kind} | {} | {middle:.1} µs | {slow} |", times.len()));
        }
        for (one, other) in [(0, 1), (1, 2), (0, 2)] {
            let pair = format!("{hashes}: {}, {}", KINDS[one], KINDS[other]);
            let verdict = Verdict::of(&times[one], &times[other], bound).context("nothing was measured")?;
            tests.push(format!("| {pair} | {verdict} |"));
            if !verdict.holds() {
                tells.push(pair);
            }
        }
    }
    let print = |lines: &[String]| writeln!(io::stdout(), "{}", lines.join("\n"));
    print(&["| logins | counted | median | among the slowest |".to_owned(), "|---|---|---|---|".to_owned()])
        .and_then(|()| print(&medians))
        .and_then(|()| {
            print(&[
                "\n| two kinds | t of all | t without the slowest | t of being among them | medians apart | holds |"
                    .to_owned(),
                "|---|---|---|---|---|---|".to_owned(),
            ])
        })
        .and_then(|()| print(&tests))
        .and_then(|()| {
            print(&[format!(
                "\nThe slowest are those beyond {CROP} % of all three kinds. Goal: every |t| < {MOST_T}, medians less \
                 than {MOST_GAP} % apart."
            )])
        })
        .context("cannot print the tables")?;
    ensure!(tells.is_empty(), "the time tells the kinds apart: {}", tells.join("; "));
    Ok(())
}

/// How long the logins of each kind took.
fn measure(server: SocketAddr, logins: u64) -> Result<[Vec<Duration>; 3]> {
    let mut connection = Connection::open(server)?;
    let order = SeededRandom::new(logins);
    let mut times: [Vec<Duration>; 3] = Default::default();
    let mut told = Instant::now();
    for n in 0..logins {
        if told.elapsed() > Duration::from_secs(2) {
            told = Instant::now();
            say(&format!("{n} of {logins} logins of each kind"));
        }
        for kind in shuffled(&order) {
            let (name, password) = match kind {
                0 => (format!("nobody-{}", n / TRIES), PASSWORD),
                1 => (format!("user-{}", n / TRIES * 2), WRONG),
                _ => (format!("user-{}", n / TRIES * 2 + 1), PASSWORD),
            };
            let body = format!(r#"{{"username":"{name}","password":"{password}"}}"#);
            let request = post(server, "/login", &body);
            let begun = Instant::now();
            let answer = connection.ask(&request)?;
            let took = begun.elapsed();
            if answer.status != 401 {
                bail!("{name}: {} {}", answer.status, String::from_utf8_lossy(&answer.body));
            }
            // What happens only at first is no answer's own.
            if n >= WARM_UP {
                times[kind].push(took);
            }
        }
    }
    Ok(times)
}

/// The kinds in any order.
fn shuffled(order: &SeededRandom) -> [usize; 3] {
    const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    let mut random = [0; 4];
    order.fill(&mut random);
    ORDERS[u32::from_be_bytes(random) as usize % ORDERS.len()]
}

/// Within which time [`CROP`] percent of all logins were answered.
fn bound_of(times: &[Vec<Duration>; 3]) -> Duration {
    percentile(&times.concat(), CROP)
}

fn micros<'a>(times: impl IntoIterator<Item = &'a Duration>) -> Vec<f64> {
    times.into_iter().map(|time| time.as_secs_f64() * 1e6).collect()
}

/// How far the times of two kinds are apart.
#[derive(Clone, Copy, Debug)]
struct Verdict {
    /// Of all times.
    all: f64,
    /// Of those up to the bound.
    quick: f64,
    /// Of how many are beyond it.
    slow: f64,
    /// Of the medians of all, in percent.
    gap: f64,
}

impl Verdict {
    fn of(one: &[Duration], other: &[Duration], bound: Duration) -> Option<Self> {
        let quick = |times: &[Duration]| micros(times.iter().filter(|time| **time <= bound));
        let slow = |times: &[Duration]| -> Vec<_> {
            times.iter().map(|time| f64::from(u8::from(*time > bound))).collect()
        };
        let [middle, other_middle] = [median(&micros(one))?, median(&micros(other))?];
        Some(Self {
            all: welch_t(&micros(one), &micros(other)),
            quick: welch_t(&quick(one), &quick(other)),
            slow: welch_t(&slow(one), &slow(other)),
            gap: 100.0 * (middle - other_middle) / middle.min(other_middle),
        })
    }

    fn holds(self) -> bool {
        [self.all, self.quick, self.slow].iter().all(|t| t.abs() < MOST_T) && self.gap.abs() < MOST_GAP
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let holds = if self.holds() { "yes" } else { "**no**" };
        write!(f, "{:.2} | {:.2} | {:.2} | {:.2} % | {holds}", self.all, self.quick, self.slow, self.gap)
    }
}

/// As long as [`PASSWORD`].
const WRONG: &str = "Wr0ngly-horse battery";

/// How often each name is tried: once less than is free.
const TRIES: u64 = 4;

/// How many logins of each kind come before any counts.
const WARM_UP: u64 = 20;

/// How many percent of the logins are not among the slowest.
const CROP: usize = 90;

const MOST_T: f64 = 4.5;
const MOST_GAP: f64 = 2.0;

#[cfg(test)]
mod tests {
    use super::*;

    /// A thousand times around `middle`, in microseconds.
    fn around(middle: u64) -> Vec<Duration> {
        (0..1_000).map(|n| Duration::from_micros(middle + n * 37 % 101 - 50)).collect()
    }

    fn verdict(one: &[Duration], other: &[Duration]) -> Verdict {
        let bound = bound_of(&[one.to_vec(), other.to_vec(), one.to_vec()]);
        Verdict::of(one, other, bound).unwrap()
    }

    #[test]
    fn what_is_alike_tells_nothing_and_a_shift_of_three_percent_does() {
        let verdict = |other| verdict(&around(1_000), &around(other));
        assert!(verdict(1_000).holds());
        assert!(!verdict(1_030).holds() && !verdict(970).holds());
        assert!(!verdict(1_010).holds(), "less than the gap, but seen in so many");
        assert!(Verdict::of(&[], &around(1_000), Duration::ZERO).is_none());
    }

    #[test]
    fn a_kind_that_is_slow_now_and_then_is_not_hidden_by_leaving_out_the_slowest() {
        let usual = around(1_000);
        let at_times = |n: usize| -> Vec<_> {
            usual.iter().enumerate().map(|(at, time)| if at % n == 0 { *time * 2 } else { *time }).collect()
        };
        let other = verdict(&usual, &at_times(12));
        assert!(other.quick.abs() < MOST_T && other.gap.abs() < MOST_GAP, "{other:?}");
        assert!(other.all.abs() > MOST_T && other.slow.abs() > MOST_T && !other.holds(), "{other:?}");
    }

    #[test]
    fn both_passwords_are_of_one_length() {
        assert_eq!(WRONG.len(), PASSWORD.len());
    }

    #[test]
    fn every_order_comes_and_each_kind_once() {
        let order = SeededRandom::new(1);
        let orders: std::collections::BTreeSet<_> = (0..100).map(|_| shuffled(&order)).collect();
        assert_eq!(orders.len(), 6);
        assert!(orders.iter().all(|kinds| kinds.iter().sum::<usize>() == 3));
    }
}
