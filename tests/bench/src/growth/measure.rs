//! What calls take over a large database beside what they take over a small one: the same calls, by turns, so that
//! whatever else the machine does concerns both.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use portcullis_adapters::secret::{Secret, Secrets};
use portcullis_adapters::token::refresh::MacRefreshTokenCodec;
use portcullis_domain::session::Generation;
use portcullis_domain::token::{RefreshClaims, RefreshTokenCodec as _};
use serde_json::{Value, json};

use super::Stocked;
use super::fill::PASSWORD;
use super::plans::USED_UP;
use super::population::{session_id, username};
use super::server::Binary;
use crate::load::{Answer, Connection, get_as, post};

/// The calls, in the order in which each finds what it needs: `/me` takes the access tokens of the refreshes.
pub(super) const CALLS: [&str; 3] = ["login", "refresh", "me"];

/// What one call takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Figures {
    /// The medians over all rounds, of the small database and of the large one.
    pub(super) small: Duration,
    pub(super) large: Duration,
    /// Large to small, in each round, from the lowest to the highest.
    pub(super) ratios: [f64; ROUNDS],
}

impl Figures {
    pub(super) const fn ratio(&self) -> f64 {
        self.ratios[ROUNDS / 2]
    }
}

/// The figures of [`CALLS`].
#[derive(Debug)]
pub(super) struct Comparison(pub(super) [Figures; CALLS.len()]);

impl Comparison {
    /// Runs a server over each of two databases, the small one first, and calls them by turns.
    pub(super) fn measure(binary: &Binary, databases: [&Stocked; 2], secret: &Secret) -> Result<Self> {
        let [small, large] = databases.map(|database| binary.start(&database.site));
        let servers = [small?, large?];
        let side = |n: usize| -> Result<Side> {
            Side::new(servers[n].address, databases[n].filled.population.users, secret)
        };
        let mut sides = [side(0)?, side(1)?];
        // What a server does only once is done before anything counts.
        for side in &mut sides {
            for call in CALLS {
                side.block(call)?;
            }
        }
        let mut rounds: [Round; ROUNDS] = Default::default();
        for took in &mut rounds {
            *took = round(&mut sides)?;
        }
        Ok(Self(std::array::from_fn(|call| figures(&rounds, call))))
    }
}

/// What each call took on each side.
type Round = [[Vec<Duration>; 2]; CALLS.len()];

fn round(sides: &mut [Side; 2]) -> Result<Round> {
    let mut took = Round::default();
    for block in 0..BLOCKS {
        for (call, took) in CALLS.into_iter().zip(&mut took) {
            // Each goes first as often as the other.
            for side in [block % 2, 1 - block % 2] {
                took[side].extend(sides[side].block(call)?);
            }
        }
    }
    Ok(took)
}

fn figures(rounds: &[Round; ROUNDS], call: usize) -> Figures {
    let of_all = |side: usize| median(rounds.iter().flat_map(|round| round[call][side].iter().copied()));
    let mut ratios = rounds.each_ref().map(|round| {
        let [small, large] = round[call].each_ref().map(|took| median(took.iter().copied()));
        large.as_secs_f64() / small.as_secs_f64()
    });
    ratios.sort_by(f64::total_cmp);
    Figures { small: of_all(0), large: of_all(1), ratios }
}

fn median(durations: impl Iterator<Item = Duration>) -> Duration {
    let mut sorted: Vec<_> = durations.collect();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

/// A server, and what was not used yet of its database.
struct Side {
    address: SocketAddr,
    connection: Connection,
    users: u64,
    tokens: MacRefreshTokenCodec,
    logins: u64,
    refreshes: u64,
    /// The access tokens of the latest refreshes.
    access_tokens: Vec<String>,
}

impl Side {
    fn new(address: SocketAddr, users: u64, secret: &Secret) -> Result<Self> {
        let connection = Connection::open(address)?;
        let tokens = MacRefreshTokenCodec::new(&Secrets::new(secret.clone(), []));
        Ok(Self { address, connection, users, tokens, logins: 0, refreshes: 0, access_tokens: Vec::new() })
    }

    /// Makes [`BLOCK`] calls, one after the other, and says what each took.
    fn block(&mut self, call: &str) -> Result<Vec<Duration>> {
        (0..BLOCK).map(|n| self.call(call, n)).collect()
    }

    fn call(&mut self, call: &str, n: usize) -> Result<Duration> {
        match call {
            "login" => {
                let number = spread(self.logins, self.users);
                self.logins += 1;
                let body = json!({"username": username(number), "password": PASSWORD}).to_string();
                self.timed(call, &post(self.address, "/login", &body)).map(|(took, _)| took)
            }
            "refresh" => {
                let number = spread(self.refreshes, self.users);
                self.refreshes += 1;
                let claims = RefreshClaims { session: session_id(number), generation: Generation::FIRST };
                let token = self.tokens.issue(claims);
                let body = json!({"refresh_token": token.expose()}).to_string();
                let (took, answer) = self.timed(call, &post(self.address, "/refresh", &body))?;
                let answer: Value = serde_json::from_slice(&answer.body)?;
                let token = answer["access_token"].as_str().context("a refresh without a token")?;
                if n == 0 {
                    self.access_tokens.clear();
                }
                self.access_tokens.push(token.to_owned());
                Ok(took)
            }
            _ => {
                let token = self.access_tokens.get(n).context("no access token")?;
                self.timed(call, &get_as(self.address, "/me", token)).map(|(took, _)| took)
            }
        }
    }

    fn timed(&mut self, call: &str, request: &[u8]) -> Result<(Duration, Answer)> {
        let begun = Instant::now();
        let answer = self.connection.ask(request)?;
        let took = begun.elapsed();
        answer.expect(200).with_context(|| call.to_owned())?;
        Ok((took, answer))
    }
}

/// Numbers from all over the population, each once, and none of a row that the statements for the plans used up.
const fn spread(n: u64, population: u64) -> u64 {
    // A prime above every size, so that it takes that many steps to come back.
    USED_UP + n * 2_654_435_761 % (population - USED_UP)
}

/// An odd number, so that there is a middle one.
const ROUNDS: usize = 3;

/// How often the sides take turns in a round.
const BLOCKS: usize = 6;

/// How many calls of one kind follow each other; all in all less than the smallest database has sessions.
const BLOCK: usize = 50;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_smallest_database_lasts_for_all_calls() {
        let calls = BLOCK as u64 * (1 + (ROUNDS * BLOCKS) as u64);
        for users in [1_000, 1_001, 100_000] {
            let numbers: BTreeSet<_> = (0..calls).map(|n| spread(n, users)).collect();
            assert_eq!(numbers.len() as u64, calls, "each once");
            assert!(numbers.iter().all(|number| (USED_UP..users).contains(number)));
        }
    }

    #[test]
    fn a_median_is_one_of_the_middle() {
        let of = |micros: &[u64]| median(micros.iter().copied().map(Duration::from_micros));
        assert_eq!(of(&[9, 1, 5]), Duration::from_micros(5));
        assert_eq!(of(&[]), Duration::ZERO);
    }
}
