//! A small load generator: HTTP/1.1 over kept connections, from this process, light enough to share the machine with
//! the server that it asks. An answer that was not expected ends the measurement.

mod closed;
mod message;
mod open;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

pub(crate) use self::closed::{Window, closed_loop};
pub(crate) use self::message::{Answer, get, get_as, post, post_from};
pub(crate) use self::open::{Connection, Schedule, open_loop};

/// One client: the request it sends next, and what it makes of the answer.
#[derive(Debug)]
pub(crate) struct Client {
    requests: VecDeque<Vec<u8>>,
    habit: Habit,
}

#[derive(Clone, Copy, Debug)]
enum Habit {
    /// Asks the same again and again; every answer is a 200.
    Repeat,
    /// Presents the refresh token that the last answer gave.
    Refresh(SocketAddr),
    /// Logs in; a 503 is an answer too. Whoever is patient comes back when it says, the others at once.
    LogIn { is_patient: bool },
    /// Tries the same password for one name after another, which nobody has; every answer is a 401.
    Guess { server: SocketAddr, guesser: usize, guesses: u64 },
}

impl Client {
    /// Sends one request again and again.
    pub(crate) fn repeating(request: Vec<u8>) -> Self {
        Self { requests: [request].into(), habit: Habit::Repeat }
    }

    /// Refreshes a session, each time with the token that the time before gave.
    pub(crate) fn refreshing(server: SocketAddr, refresh_token: &str) -> Self {
        Self { requests: [refresh(server, refresh_token)].into(), habit: Habit::Refresh(server) }
    }

    /// Sends these logins in turn. Told to come back, it does so at once.
    pub(crate) fn logging_in(requests: impl IntoIterator<Item = Vec<u8>>) -> Self {
        Self { requests: requests.into_iter().collect(), habit: Habit::LogIn { is_patient: false } }
    }

    /// Logs in under names that nobody has, each time under another one.
    pub(crate) fn guessing(server: SocketAddr, guesser: usize) -> Self {
        let habit = Habit::Guess { server, guesser, guesses: 0 };
        Self { requests: [guess(server, guesser, 0)].into(), habit }
    }

    /// The same, but it comes back when it was told to.
    pub(crate) fn patiently(self) -> Self {
        Self { habit: Habit::LogIn { is_patient: true }, ..self }
    }

    /// How long the client waits before its next request.
    fn pause(&self, meaning: Meaning) -> Option<Duration> {
        match (self.habit, meaning) {
            (Habit::LogIn { is_patient: true }, Meaning::Refused { retry_after }) => retry_after,
            _ => None,
        }
    }

    fn request(&self) -> &[u8] {
        self.requests.front().map_or(&[], Vec::as_slice)
    }

    /// What an answer means, after which the next request is ready.
    ///
    /// # Errors
    /// When it is not one of those that the client expects.
    fn take(&mut self, answer: &Answer) -> Result<Meaning> {
        if let (Habit::LogIn { .. }, 503) = (self.habit, answer.status) {
            self.requests.rotate_left(1);
            return Ok(Meaning::Refused { retry_after: answer.retry_after });
        }
        let expected = if matches!(self.habit, Habit::Guess { .. }) { 401 } else { 200 };
        answer.expect(expected).context("under load")?;
        match &mut self.habit {
            Habit::Repeat => {}
            Habit::Refresh(server) => self.requests[0] = refresh(*server, answer.tokens()?.refresh_token),
            Habit::LogIn { .. } => self.requests.rotate_left(1),
            Habit::Guess { server, guesser, guesses } => {
                *guesses += 1;
                self.requests[0] = guess(*server, *guesser, *guesses);
            }
        }
        Ok(Meaning::Answered)
    }
}

fn refresh(server: SocketAddr, refresh_token: &str) -> Vec<u8> {
    post(server, "/refresh", &format!(r#"{{"refresh_token":"{refresh_token}"}}"#))
}

fn guess(server: SocketAddr, guesser: usize, n: u64) -> Vec<u8> {
    let body = format!(r#"{{"username":"guess-{guesser}-{n}","password":"Wr0ng-horse battery"}}"#);
    post(server, "/login", &body)
}

#[derive(Clone, Copy, Debug)]
enum Meaning {
    Answered,
    Refused { retry_after: Option<Duration> },
}

/// What came of a time of load.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// How long it lasted.
    pub length: Duration,
    /// How long each request took that was answered well.
    pub answered: Vec<Duration>,
    /// How long each took that was told to come back.
    pub refused: Vec<Duration>,
    /// How many of the refused were not told when.
    pub without_retry_after: usize,
    /// How long those had waited that had no answer at the end.
    pub waiting: Vec<Duration>,
}

impl Tally {
    /// Good answers in a second.
    pub(crate) fn rate(&self) -> f64 {
        crate::statistics::count(self.answered.len()) / self.length.as_secs_f64()
    }

    fn record(&mut self, meaning: Meaning, took: Duration) {
        match meaning {
            Meaning::Answered => self.answered.push(took),
            Meaning::Refused { retry_after } => {
                self.refused.push(took);
                self.without_retry_after += usize::from(retry_after.is_none());
            }
        }
    }

    fn add(&mut self, other: Self) {
        self.answered.extend(other.answered);
        self.refused.extend(other.refused);
        self.without_retry_after += other.without_retry_after;
        self.waiting.extend(other.waiting);
    }

    /// Where nothing at all was answered there is nothing to say about it.
    fn ensure_some(self) -> Result<Self> {
        ensure!(self.length > Duration::ZERO, "the load lasted no time");
        if self.answered.is_empty() && self.refused.is_empty() {
            bail!("no answer within {:?}", self.length);
        }
        Ok(self)
    }
}

/// How long anything may stay without an answer before that is an error.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refreshing_client_presents_what_the_last_answer_gave() {
        let server = SocketAddr::from(([127, 0, 0, 1], 80));
        let mut client = Client::refreshing(server, "first");
        let body = r#"{"access_token":"a","refresh_token":"second"}"#;
        let answer = Answer { status: 200, retry_after: None, closes: false, body: body.as_bytes().to_vec() };
        assert!(matches!(client.take(&answer), Ok(Meaning::Answered)));
        assert!(client.request().ends_with(br#"{"refresh_token":"second"}"#));
    }

    #[test]
    fn a_guessing_client_tries_another_name_each_time_and_gets_in_nowhere() {
        let server = SocketAddr::from(([127, 0, 0, 1], 80));
        let mut client = Client::guessing(server, 7);
        let refused = Answer { status: 401, retry_after: None, closes: false, body: Vec::new() };
        let mut requests = vec![client.request().to_vec()];
        for _ in 0..3 {
            assert!(matches!(client.take(&refused), Ok(Meaning::Answered)));
            assert!(!requests.contains(&client.request().to_vec()));
            requests.push(client.request().to_vec());
        }
        for status in [200, 429] {
            assert!(client.take(&Answer { status, ..refused.clone() }).is_err(), "{status}");
        }
    }

    #[test]
    fn a_status_that_was_not_expected_is_an_error() {
        let second = Some(Duration::from_secs(1));
        let refusal = Answer { status: 503, retry_after: second, closes: false, body: Vec::new() };
        assert!(Client::repeating(Vec::new()).take(&refusal).is_err());
        let mut client = Client::logging_in([Vec::new()]);
        let meaning = client.take(&refusal).unwrap();
        assert_eq!(client.pause(meaning), None);
        assert_eq!(client.patiently().pause(meaning), second);
        let broken = Answer { status: 500, ..refusal };
        assert!(Client::logging_in([Vec::new()]).take(&broken).is_err());
    }
}
