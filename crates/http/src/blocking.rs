//! The only bridge from the event loop to work that blocks: three pools of threads behind bounded queues.
//!
//! A use case with a password in it keeps a processor busy for a good part of a second, on purpose. Such work waits in
//! bounded queues of its own, one for recognized callers and one for anonymous callers: a crowd of wrong logins gets
//! 503, users at networks known to their accounts are served first, and all other requests proceed. The rest waits only
//! for the store: reads and writes each have a queue and threads of their own, so that reads go on while writes hang. Work
//! that has not begun in time is refused. Work that has begun is never cancelled: a caller who has waited too long is told
//! that the outcome is unknown, and the use case runs to its end on its thread.

pub(crate) mod data;
pub(crate) mod password;
mod queue;
#[cfg(test)]
mod tests;
pub(crate) mod thread;

use std::time::Duration;

use self::data::{LONGEST_WAIT, LONGEST_WORK};
use self::password::{LONGEST_PASSWORD_WAIT, LONGEST_PASSWORD_WORK};
use crate::extract::json::BODY_DEADLINE;
use crate::limit::in_flight::Caller;

/// How long a request may take from its head to its response, however long the store takes: its body, a check before a
/// login, and work with a password. A server that closes connections earlier leaves clients without a response.
pub const LONGEST_RESPONSE: Duration = Duration::from_secs(
    BODY_DEADLINE.as_secs()
        + LONGEST_WAIT.as_secs()
        + LONGEST_WORK.as_secs()
        + LONGEST_PASSWORD_WAIT.as_secs()
        + LONGEST_PASSWORD_WORK.as_secs(),
);

/// Which way work goes.
#[derive(Clone, Debug)]
pub(crate) enum Pool {
    /// To the store, to read.
    Read,
    /// To the store, to change something.
    Write,
    /// To the store, to check a login before it enters the password pool, a few at a time. Refused if the password pool is
    /// full for every class of callers.
    LoginCheck,
    /// Through a password hash, on behalf of this caller.
    Password(Caller),
}

/// The work was not done, or not to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BlockingError {
    /// There is too much work, or the service is stopping. Nothing was done.
    #[error("there is too much work")]
    Overloaded,
    /// It panicked.
    #[error("the work panicked")]
    Panicked,
    /// It has begun and takes too long. It goes on, and whether it succeeds is unknown.
    #[error("the work takes too long; it goes on, and its outcome is unknown")]
    Unfinished,
}
