//! What clients did and what came of it, and the rules that every history obeys, whatever failed meanwhile.
//!
//! Clients record each operation with its times and its outcome: acknowledged, refused or unknown. An outcome is unknown
//! if no response came, or a response that leaves it open: the server may have applied the operation or not. After the
//! recovery, [`Observed`] reads what the database has, and [`check`] returns every violation:
//!
//! | rule | holds if |
//! |---|---|
//! | I1 | every acknowledged change is present |
//! | I2 | a session has one live generation of refresh tokens, and each generation one successor |
//! | I3 | an operation with an unknown outcome is applied once or not at all, a refused one never |
//! | I4 | no token of a session is accepted after its end was acknowledged; other instances have a second |
//! | I5 | a single-use secret, or a unique name, is consumed once |
//! | I6 | every acknowledged security operation has its event, and the audit chain verifies |

mod checks;
mod observed;
#[cfg(test)]
mod tests;

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

pub(crate) use self::checks::check;
pub(crate) use self::observed::Observed;
use crate::server::Answer;

/// The operations of all clients of a test, in the order in which they ended.
pub(crate) struct History {
    begun: Instant,
    operations: Mutex<Vec<Operation>>,
}

/// What a client did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Operation {
    /// The user's name, the session's id, or the secret.
    pub subject: String,
    pub action: Action,
    /// The instance that was asked, for tests with several.
    pub instance: usize,
    /// Since the history began.
    pub started: Duration,
    pub ended: Duration,
    pub outcome: Outcome,
}

/// The kind of an operation. The subject is a user up to [`Action::Delete`], then a session, then a secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Action {
    Register,
    /// Opens the session with this id, if it is known.
    Login(Option<String>),
    /// Changes the password for the n-th time, and opens a session.
    ChangePassword(u32),
    Delete,
    /// Presents the refresh token of a generation. The successor is known if the operation was acknowledged.
    Refresh {
        generation: u32,
        successor: Option<String>,
    },
    Logout,
    /// Ends with the user's other sessions: by a change of the password or the deletion of the account.
    EndWithUser,
    /// Presents an access token. Acknowledged means that it was accepted.
    Authenticate,
    /// Uses a single-use secret, or claims a name.
    Consume,
}

/// What is known of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Acknowledged.
    Ok,
    /// Refused: it has changed nothing.
    Fail,
    /// Applied or not.
    Unknown,
}

impl Outcome {
    /// Judges a response, or its absence. `503 overloaded` is sent before anything is done; any other 5xx leaves the
    /// outcome open.
    pub(crate) fn of(response: Option<&Answer>) -> Self {
        match response {
            Some(answer) if answer.status < 300 => Self::Ok,
            Some(answer) if answer.status < 500 || answer.text.contains("\"overloaded\"") => Self::Fail,
            _ => Self::Unknown,
        }
    }
}

impl History {
    /// An empty history that begins now.
    pub(crate) fn new() -> Self {
        Self { begun: Instant::now(), operations: Mutex::default() }
    }

    /// Sends a request and records it for all the subjects that it concerns, with an action for each that may depend on
    /// the response. `None` is a connection that broke.
    pub(crate) fn call(
        &self,
        instance: usize,
        send: impl FnOnce() -> Option<Answer>,
        subjects: impl FnOnce(Option<&Answer>) -> Vec<(String, Action)>,
    ) -> (Outcome, Option<Answer>) {
        let started = self.begun.elapsed();
        let answer = send();
        let (ended, outcome) = (self.begun.elapsed(), Outcome::of(answer.as_ref()));
        let operations = subjects(answer.as_ref()).into_iter();
        let operations = operations.map(|(subject, action)| Operation {
            subject,
            action,
            instance,
            started,
            ended,
            outcome,
        });
        self.operations.lock().unwrap_or_else(PoisonError::into_inner).extend(operations);
        (outcome, answer)
    }

    /// Records an operation on one subject.
    pub(crate) fn record(
        &self,
        subject: &str,
        action: Action,
        send: impl FnOnce() -> Option<Answer>,
    ) -> (Outcome, Option<Answer>) {
        self.call(0, send, |_| vec![(subject.to_owned(), action)])
    }

    /// Returns a copy of all operations.
    pub(crate) fn operations(&self) -> Vec<Operation> {
        self.operations.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
