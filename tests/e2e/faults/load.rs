//! Clients that do at random what clients do, and record it.

use std::collections::BTreeMap;

use serde_json::json;

use super::random::Random;
use crate::history::{Action, History, Outcome};
use crate::server::{Answer, PASSWORD, Server};

/// A client with accounts of its own, of which it knows everything that was acknowledged.
pub(crate) struct Client<'a> {
    history: &'a History,
    name: String,
    random: Random,
    accounts: Vec<Account>,
    /// The ids of registered users, by name.
    pub ids: BTreeMap<String, String>,
    /// Responses that no fault explains, such as a refused refresh of a live session.
    pub surprises: Vec<String>,
    /// How many writes got 503 `storage_full`.
    pub turned_away_full: usize,
}

struct Account {
    name: String,
    /// The password changes that were sent.
    changes: u32,
    /// Which passwords may be the current one. Two after a change with an unknown outcome.
    passwords: Vec<u32>,
    state: State,
    sessions: Vec<Session>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Alive,
    Deleted,
    /// It was registered or deleted with an unknown outcome.
    Doubtful,
}

#[derive(Clone)]
struct Session {
    id: String,
    access: String,
    refresh: String,
    generation: u32,
    /// None: its end has an unknown outcome.
    is_live: Option<bool>,
}

impl<'a> Client<'a> {
    /// A client whose users' names begin with `name`.
    pub(crate) fn new(history: &'a History, name: String, random: Random) -> Self {
        Self {
            history,
            name,
            random,
            accounts: Vec::new(),
            ids: BTreeMap::new(),
            surprises: Vec::new(),
            turned_away_full: 0,
        }
    }

    /// Does one thing at random. Returns its outcome.
    pub(crate) fn step(&mut self, server: &Server) -> Outcome {
        let alive = |account: &Account| account.state == State::Alive && account.passwords.len() == 1;
        let alive: Vec<usize> = (0..self.accounts.len()).filter(|n| alive(&self.accounts[*n])).collect();
        // The newest accounts have the most to lose.
        let recent = &alive[alive.len().saturating_sub(RECENT)..];
        let Some(account) = self.random.pick(recent).copied() else { return self.register(server) };
        let live: Vec<usize> = self.accounts[account].live_sessions();
        match (self.random.below(100), self.random.pick(&live).copied()) {
            (0..15, _) => self.register(server),
            (15..35, _) | (_, None) => self.login(server, account),
            (35..70, Some(session)) => self.refresh(server, account, session),
            (70..80, Some(session)) => self.authenticate(server, account, session),
            (80..88, Some(session)) => self.logout(server, account, session),
            (88..96, Some(session)) => self.change_password(server, account, session),
            (_, Some(session)) => self.delete(server, account, session),
        }
    }

    /// Reads the profile of a user who is logged in, if there is one. It must be there, whatever becomes of writes.
    pub(crate) fn read(&mut self, server: &Server) {
        let alive = self.accounts.iter().filter(|account| account.state == State::Alive);
        let live = alive.flat_map(|account| &account.sessions).find(|session| session.is_live == Some(true));
        let Some(session) = live.cloned() else { return };
        let bearer = format!("Bearer {}", session.access);
        let answer = attempt(|| server.try_call("GET", "/me", &[("authorization", &bearer)], None));
        if answer.as_ref().is_none_or(|answer| answer.status != 200) {
            self.surprises.push(format!("{}: /me gave {answer:?}", session.id));
        }
    }

    /// After the recovery: uses what the client knows, so that the history has what came of it.
    pub(crate) fn probe(&mut self, server: &Server) {
        for account in 0..self.accounts.len() {
            for session in 0..self.accounts[account].sessions.len() {
                match self.accounts[account].sessions[session].is_live {
                    Some(true) => {
                        self.refresh(server, account, session);
                    }
                    Some(false) => {
                        self.authenticate(server, account, session);
                    }
                    None => {}
                }
            }
            match self.accounts[account].state {
                State::Alive => self.probe_passwords(server, account),
                State::Deleted => {
                    let name = self.accounts[account].name.clone();
                    let answer = attempt(|| try_login(server, &name, PASSWORD));
                    self.expect(&name, "login of a deleted user", answer.as_ref(), Outcome::Fail);
                }
                State::Doubtful => {}
            }
        }
    }

    /// Exactly one of the possible passwords is the current one.
    fn probe_passwords(&mut self, server: &Server, account: usize) {
        let passwords = self.accounts[account].passwords.clone();
        let mut accepted = 0;
        for version in &passwords {
            self.accounts[account].passwords = vec![*version];
            let before = self.surprises.len();
            if self.login(server, account) == Outcome::Ok {
                accepted += 1;
            } else if passwords.len() > 1 {
                self.surprises.truncate(before);
            }
        }
        if accepted != 1 {
            let name = &self.accounts[account].name;
            self.surprises.push(format!("{name}: {accepted} of the passwords {passwords:?} are accepted"));
        }
        self.accounts[account].passwords = passwords;
    }

    /// Registers a user.
    pub(crate) fn register(&mut self, server: &Server) -> Outcome {
        let name = format!("{}-{}", self.name, self.accounts.len());
        let (outcome, answer) = self.history.call(
            0,
            || {
                attempt(|| {
                    server.try_send(
                        "POST",
                        "/register",
                        None,
                        &json!({"username": name, "password": PASSWORD}),
                    )
                })
            },
            |_| vec![(name.clone(), Action::Register), (name.clone(), Action::Consume)],
        );
        self.expect(&name, "register", answer.as_ref(), Outcome::Ok);
        if let Some(answer) = answer.filter(|_| outcome == Outcome::Ok) {
            self.ids.insert(name.clone(), answer.json()["id"].as_str().unwrap().to_owned());
        }
        let state = if outcome == Outcome::Ok { State::Alive } else { State::Doubtful };
        self.accounts.push(Account { name, changes: 0, passwords: vec![0], state, sessions: Vec::new() });
        outcome
    }

    fn login(&mut self, server: &Server, account: usize) -> Outcome {
        let (name, password) = (self.accounts[account].name.clone(), self.accounts[account].password());
        let (outcome, answer) = self.history.call(
            0,
            || attempt(|| try_login(server, &name, &password)),
            |answer| vec![(name.clone(), Action::Login(session_of(answer)))],
        );
        self.expect(&name, "login", answer.as_ref(), Outcome::Ok);
        self.opened(account, answer.as_ref().filter(|_| outcome == Outcome::Ok));
        outcome
    }

    fn refresh(&mut self, server: &Server, account: usize, session: usize) -> Outcome {
        let known = self.accounts[account].sessions[session].clone();
        let body = json!({"refresh_token": known.refresh});
        let (outcome, answer) = self.history.call(
            0,
            || attempt(|| server.try_send("POST", "/refresh", None, &body)),
            |answer| {
                let ok = answer.filter(|answer| answer.status == 200);
                let successor = ok.map(|answer| answer.tokens().refresh);
                vec![(known.id.clone(), Action::Refresh { generation: known.generation, successor })]
            },
        );
        self.expect(&known.id, "refresh", answer.as_ref(), Outcome::Ok);
        if let Some(answer) = answer.filter(|_| outcome == Outcome::Ok) {
            let tokens = answer.tokens();
            let session = &mut self.accounts[account].sessions[session];
            (session.access, session.refresh) = (tokens.access, tokens.refresh);
            session.generation += 1;
        }
        outcome
    }

    fn authenticate(&mut self, server: &Server, account: usize, session: usize) -> Outcome {
        let known = self.accounts[account].sessions[session].clone();
        let bearer = format!("Bearer {}", known.access);
        let (outcome, answer) = self.history.record(&known.id, Action::Authenticate, || {
            attempt(|| server.try_call("GET", "/protected", &[("authorization", &bearer)], None))
        });
        let expected = if known.is_live == Some(true) { Outcome::Ok } else { Outcome::Fail };
        self.expect(&known.id, "authenticate", answer.as_ref(), expected);
        outcome
    }

    fn logout(&mut self, server: &Server, account: usize, session: usize) -> Outcome {
        let known = self.accounts[account].sessions[session].clone();
        let body = json!({"refresh_token": known.refresh});
        let (outcome, answer) = self.history.record(&known.id, Action::Logout, || {
            attempt(|| server.try_send("POST", "/logout", None, &body))
        });
        self.expect(&known.id, "logout", answer.as_ref(), Outcome::Ok);
        self.accounts[account].sessions[session].is_live = ended(outcome);
        outcome
    }

    fn change_password(&mut self, server: &Server, account: usize, session: usize) -> Outcome {
        let current = self.accounts[account].password();
        self.accounts[account].changes += 1;
        let version = self.accounts[account].changes;
        let body = json!({"current_password": current, "new_password": password(version)});
        let (outcome, answer) =
            self.with_all_sessions(account, &Action::ChangePassword(version), session, |access| {
                attempt(|| server.try_send("PUT", "/me/password", Some(access), &body))
            });
        let account_of = &mut self.accounts[account];
        match outcome {
            Outcome::Ok => account_of.passwords = vec![version],
            Outcome::Unknown => account_of.passwords.push(version),
            Outcome::Fail => {}
        }
        self.opened(account, answer.as_ref().filter(|_| outcome == Outcome::Ok));
        outcome
    }

    fn delete(&mut self, server: &Server, account: usize, session: usize) -> Outcome {
        let body = json!({"current_password": self.accounts[account].password()});
        let (outcome, _) = self.with_all_sessions(account, &Action::Delete, session, |access| {
            attempt(|| server.try_send("DELETE", "/me", Some(access), &body))
        });
        self.accounts[account].state = match outcome {
            Outcome::Ok => State::Deleted,
            Outcome::Unknown => State::Doubtful,
            Outcome::Fail => State::Alive,
        };
        outcome
    }

    /// Sends what ends all sessions of an account with the token of one of them.
    fn with_all_sessions(
        &mut self,
        account: usize,
        action: &Action,
        session: usize,
        send: impl FnOnce(&str) -> Option<Answer>,
    ) -> (Outcome, Option<Answer>) {
        let of = &self.accounts[account];
        let access = of.sessions[session].access.clone();
        let ends = of.sessions.iter().map(|session| (session.id.clone(), Action::EndWithUser));
        let mut subjects = vec![(of.name.clone(), action.clone())];
        subjects.extend(ends);
        let (outcome, answer) = self.history.call(0, || send(&access), |_| subjects);
        let name = self.accounts[account].name.clone();
        self.expect(&name, &format!("{action:?}"), answer.as_ref(), Outcome::Ok);
        if outcome != Outcome::Fail {
            for session in self.accounts[account].sessions.iter_mut().filter(|one| one.is_live == Some(true))
            {
                session.is_live = ended(outcome);
            }
        }
        (outcome, answer)
    }

    fn opened(&mut self, account: usize, answer: Option<&Answer>) {
        let Some(answer) = answer else { return };
        let tokens = answer.tokens();
        self.accounts[account].sessions.push(Session {
            id: tokens.session,
            access: tokens.access,
            refresh: tokens.refresh,
            generation: 0,
            is_live: Some(true),
        });
    }

    fn expect(&mut self, subject: &str, what: &str, answer: Option<&Answer>, expected: Outcome) {
        let outcome = Outcome::of(answer);
        self.turned_away_full +=
            usize::from(answer.is_some_and(|answer| answer.text.contains("storage_full")));
        let is_overload = answer.is_some_and(|answer| answer.status == 503);
        let is_fault = answer.is_some_and(|answer| answer.status == 500);
        if is_fault || (outcome != expected && outcome != Outcome::Unknown && !is_overload) {
            self.surprises.push(format!("{subject}: {what} was {outcome:?}: {answer:?}"));
        }
    }
}

impl Account {
    fn live_sessions(&self) -> Vec<usize> {
        (0..self.sessions.len()).filter(|n| self.sessions[*n].is_live == Some(true)).collect()
    }

    fn password(&self) -> String {
        password(self.passwords[0])
    }
}

/// The password after so many changes.
fn password(version: u32) -> String {
    match version {
        0 => PASSWORD.to_owned(),
        _ => format!("{PASSWORD} {version}"),
    }
}

/// Whether a session lives after its end was asked for.
fn ended(outcome: Outcome) -> Option<bool> {
    match outcome {
        Outcome::Ok => Some(false),
        Outcome::Fail => Some(true),
        Outcome::Unknown => None,
    }
}

fn session_of(answer: Option<&Answer>) -> Option<String> {
    answer.filter(|answer| answer.status == 200).map(|answer| answer.tokens().session)
}

fn try_login(server: &Server, name: &str, password: &str) -> Result<Answer, String> {
    server.try_send("POST", "/login", None, &json!({"username": name, "password": password}))
}

/// A call whose connection may break.
fn attempt(call: impl FnOnce() -> Result<Answer, String>) -> Option<Answer> {
    call().ok()
}

/// From how many of its newest accounts a client picks.
const RECENT: usize = 3;
