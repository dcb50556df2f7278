//! The service under attack: each request is sent, and judged by what holds for all of them.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::state::{State, Tables};
use super::wire::{Reply, Request, exchange};
use crate::database::Database;
use crate::server::{Answer, PASSWORD, SECRET, Server, TRACE, Tokens, run, tail, wait_until};

/// What every request holds somewhere, before a number of its own: no answer, line or row may hold it.
pub(crate) const CANARY: &str = "Canary-7f3a";

/// What no request is without.
const ALWAYS_SECRET: [&str; 3] = [CANARY, PASSWORD, SECRET];

/// How long an answer may take, without what the processes waited for a processor that others had.
const MOST_TIME: Duration = Duration::from_secs(1);

/// How many bytes the server may ever have beyond those it had at first. It takes about two million; who kept what is sent
/// until it is whole would take sixteen.
const MOST_GROWTH: usize = 8 * 1_024 * 1_024;

/// A server over a database, and somebody who only wants to be served.
pub(crate) struct Attack<'a> {
    pub(crate) database: &'a Database,
    tables: Tables,
    /// What the tables held after the last request, unless something was prepared since.
    before: Option<State>,
    /// The one that is attacked is the last.
    servers: Vec<Server>,
    log: Vec<String>,
    /// The ends of all secrets of all requests.
    secrets: BTreeSet<String>,
    bystander: Tokens,
    resident_at_first: usize,
    names: usize,
    requests: usize,
}

/// How a request is answered, and what it leaves behind: nothing, if nothing else is said.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    answers: Vec<(u16, &'static str)>,
    changes: Vec<&'static str>,
    events: Vec<&'static str>,
}

impl Expected {
    /// One of these statuses; with a code, if it has one, of a problem document.
    pub(crate) fn one_of(answers: &[(u16, &'static str)]) -> Self {
        Self { answers: answers.to_vec(), changes: Vec::new(), events: Vec::new() }
    }

    /// The tables that change.
    pub(crate) fn changing(self, changes: &[&'static str]) -> Self {
        Self { changes: changes.to_vec(), ..self }
    }

    /// The events that are recorded, in alphabetical order.
    pub(crate) fn recording(self, events: &[&'static str]) -> Self {
        Self { events: events.to_vec(), ..self }
    }
}

/// A problem of this code.
pub(crate) fn refused(status: u16, code: &'static str) -> Expected {
    Expected::one_of(&[(status, code)])
}

/// This status, without a problem.
pub(crate) fn answered(status: u16) -> Expected {
    Expected::one_of(&[(status, "")])
}

/// A 4xx of the HTTP parser, which has no body, or the end of the connection.
pub(crate) fn cut_off() -> Expected {
    Expected::one_of(&[(0, ""), (400, ""), (431, ""), (400, "malformed_request")])
}

/// A login that was tried and failed, whatever the reason.
pub(crate) fn login_failed() -> Expected {
    refused(401, "invalid_credentials").changing(&["attempt_counters"]).recording(&["login_failed"])
}

impl<'a> Attack<'a> {
    pub(super) fn begin(database: &'a Database) -> Self {
        let server = Server::start_with(database, TRACE);
        server.wait_until_ready();
        assert_eq!(server.register(BYSTANDER).status, 201);
        let bystander = server.login(BYSTANDER);
        let mut attack = Self {
            database,
            tables: Tables::sensitive(database),
            before: None,
            resident_at_first: server.resident_bytes(),
            servers: vec![server],
            log: Vec::new(),
            secrets: ALWAYS_SECRET.map(str::to_owned).into(),
            bystander: bystander.clone(),
            names: 0,
            requests: 0,
        };
        attack.keep(&bystander);
        attack
    }

    /// The server that is attacked, to prepare something that is no part of the attack.
    pub(crate) fn server(&mut self) -> &Server {
        self.before = None;
        self.servers.last().unwrap()
    }

    /// The same case against another server over the same database, with other settings.
    pub(crate) fn against(&mut self, settings: &[(&str, &str)], case: impl FnOnce(&mut Self)) {
        let server = Server::start_with(self.database, &[TRACE, settings].concat());
        server.wait_until_ready();
        let elsewhere = self.bystander.clone();
        // Tokens of other settings may be good for nothing here.
        if server.get_as("/me", &elsewhere.access).status != 200 {
            self.bystander = server.login(BYSTANDER);
        }
        self.before = None;
        self.servers.push(server);
        case(self);
        self.stop();
        self.bystander = elsewhere;
    }

    fn stop(&mut self) {
        let (status, log) = self.servers.pop().unwrap().terminate();
        assert!(status.success(), "{status}");
        self.log.extend(log);
        self.before = None;
    }

    /// Back to the first server, whatever the last case left.
    pub(super) fn recover(&mut self) {
        self.servers.truncate(1);
        self.bystander = self.login(BYSTANDER);
    }

    /// A name that nobody has yet.
    pub(crate) fn name(&mut self) -> String {
        self.names += 1;
        format!("victim{}", self.names)
    }

    /// Registers somebody.
    pub(crate) fn user(&mut self) -> String {
        let name = self.name();
        assert_eq!(self.server().register(&name).status, 201);
        name
    }

    /// Logs somebody in.
    pub(crate) fn login(&mut self, name: &str) -> Tokens {
        let tokens = self.server().login(name);
        self.keep(&tokens);
        tokens
    }

    /// Refreshes what was not attacked.
    pub(crate) fn refresh(&mut self, tokens: &Tokens) -> Tokens {
        let next = self.server().refresh(&tokens.refresh).tokens();
        self.keep(&next);
        next
    }

    /// Lets the operator do something.
    pub(crate) fn operate(&mut self, arguments: &[&str]) {
        self.before = None;
        let url = self.database.url();
        let output = run(self.database.folder.path(), &[("DATABASE__URL", &url)], arguments);
        assert!(output.status.success(), "{output:?}");
    }

    /// Does something past the server.
    pub(crate) fn meddle(&mut self, change: impl FnOnce(&Database)) {
        self.before = None;
        change(self.database);
    }

    /// Waits until a token is refused: the other process told the database alone, and the instance asks it in time for the
    /// promised second. Another one is for a machine that does other things.
    pub(crate) fn until_refused(&mut self, access_token: &str) {
        let begun = Instant::now();
        let server = self.server();
        wait_until("the end is known", || server.get_as("/protected", access_token).status == 401);
        let took = begun.elapsed();
        assert!(took < 2 * MOST_TIME, "the end was not known for {took:?}");
    }

    /// The same with the token of whoever is served all the time.
    pub(super) fn until_bystander_is_refused(&mut self) {
        let access_token = self.bystander.access.clone();
        self.until_refused(&access_token);
    }

    fn keep(&mut self, tokens: &Tokens) {
        self.secrets.extend([&tokens.access, &tokens.refresh].map(|token| tail(token).to_owned()));
    }

    /// Sends a request and judges what comes of it.
    #[track_caller]
    pub(crate) fn tries(&mut self, request: &Request, expected: &Expected) -> Reply {
        self.requests += 1;
        let canary = format!("{CANARY}-{}", self.requests);
        let bytes = request.bytes(&canary);
        let shown = request.shown();
        let is_told = String::from_utf8_lossy(&bytes).contains(CANARY);
        assert!(is_told, "there is nothing to tell in {shown}");
        self.secrets.extend(request.secrets.iter().cloned());

        let before = self.before.take().unwrap_or_else(|| self.tables.read(self.database));
        let server = self.servers.last().unwrap();
        let waited = server.waited_for_processor() + waited_for_processor();
        let reply = exchange(server.address, &bytes);
        let waited = (server.waited_for_processor() + waited_for_processor()).saturating_sub(waited);
        let after = self.tables.read(self.database);

        // G1
        let answer = (reply.status, reply.code());
        let is_expected = |(status, code): &(u16, &str)| {
            answer == (*status, (!code.is_empty()).then(|| (*code).to_owned()))
        };
        assert!(
            expected.answers.iter().any(is_expected),
            "G1: {answer:?} and not {:?}: {reply:?} to {shown}",
            expected.answers
        );
        assert!(
            reply.status < 500 || (reply.status == 503 && reply.field("retry-after").is_some()),
            "G1: {reply:?} to {shown}"
        );
        // Bytes beyond a request are no request that anything is done for.
        let is_nothing = reply.rest.is_empty() || reply.rest.starts_with("HTTP/1.1 400 ");
        assert!(is_nothing, "G1: {:?} after the answer to {shown}", reply.rest);
        // G2
        let traces = after.since(&before);
        assert_eq!(traces.tables, expected.changes, "G2: the tables that changed, by {shown}");
        // G3
        assert_eq!(traces.events, expected.events, "G3: the events that were recorded, by {shown}");
        // G4, of the answer; the rest is searched in the end.
        let told: Vec<_> = reply
            .fields
            .iter()
            .map(|(_, value)| value.as_str())
            .chain([reply.body.as_str(), &reply.rest])
            .collect();
        for secret in ALWAYS_SECRET.into_iter().chain(request.secrets.iter().map(String::as_str)) {
            assert!(!told.iter().any(|text| text.contains(secret)), "G4: {secret} in {reply:?} to {shown}");
        }
        // G5
        let took = reply.took.saturating_sub(waited);
        assert!(took < MOST_TIME, "G5: {took:?} (and {waited:?} of waiting for a processor) for {shown}");
        // G6
        let next = server.get_as("/me", &self.bystander.access);
        assert_eq!(next.status, 200, "G6: {next:?} after {shown}");
        assert_eq!(next.json()["username"], BYSTANDER, "G6: after {shown}");

        self.before = Some(after);
        reply
    }

    /// After each case somebody logs in, is let in and logs out.
    pub(super) fn serves(&mut self) {
        let tokens = self.login(BYSTANDER);
        let check = |answer: &Answer, status| assert_eq!(answer.status, status, "G6: {answer:?}");
        let server = self.server();
        check(&server.get_as("/protected", &tokens.access), 200);
        check(&server.refresh(&tokens.refresh), 200);
        check(&server.logout(&tokens.refresh), 204);
        check(&server.get_as("/protected", &tokens.access), 401);
    }

    /// What can only be judged in the end: memory, the chain of events, the log, and what is stored.
    pub(super) fn end(mut self) -> Outcome {
        let grown = self.servers[0].peak_bytes().saturating_sub(self.resident_at_first);
        let mut faults = Vec::new();
        if grown > MOST_GROWTH {
            faults.push(format!("G5: the server had grown by {} KiB", grown >> 10));
        }
        let url = self.database.url();
        wait_until("all is sealed", || {
            let verified = run(self.database.folder.path(), &[("DATABASE__URL", &url)], &["audit", "verify"]);
            assert!(verified.status.success(), "G3: {verified:?}");
            String::from_utf8(verified.stdout).unwrap().contains("not sealed yet: 0\n")
        });
        self.stop();
        let log = self.log.join("\n");
        assert!(self.log.len() > 2 * self.requests, "{} lines of {} requests", self.log.len(), self.requests);
        if log.contains("panicked") {
            faults.push("G1: something panicked".to_owned());
        }
        let stored = Tables::all(self.database).lines(self.database);
        for (place, text) in [("in the log", &log), ("stored", &stored)] {
            for secret in self.secrets.iter().filter(|secret| text.contains(*secret)) {
                let line = text.lines().find(|line| line.contains(secret));
                faults.push(format!("G4: {secret} is {place}: {line:?}"));
            }
        }
        Outcome { requests: self.requests, secrets: self.secrets.len(), grown, faults }
    }
}

/// What came of a corpus.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) requests: usize,
    /// How many secrets were looked for in the log and in the database.
    pub(super) secrets: usize,
    /// How many bytes of memory the server had at most, beyond those it had at first.
    pub(super) grown: usize,
    pub(super) faults: Vec<String>,
}

/// Who is served all the time.
pub(super) const BYSTANDER: &str = "bystander";

/// How long this thread was ready and had no processor.
fn waited_for_processor() -> Duration {
    crate::server::waited_of_thread("/proc/thread-self/schedstat".as_ref())
}
