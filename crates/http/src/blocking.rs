//! The only bridge from the event loop to work that blocks: two pools of threads behind bounded queues.
//!
//! A use case with a password in it keeps a processor busy for a good part of a second, on purpose. Such work waits in
//! bounded queues of its own, one for recognized callers and one for anonymous callers: a crowd of wrong logins gets
//! 503, users at networks known to their accounts are served first, and all other requests proceed. The rest waits only
//! for the store, in the queues of threads of its own, and is refused if it has not begun in time.

pub(crate) mod data;
pub(crate) mod password;
mod queue;
#[cfg(test)]
mod tests;
pub(crate) mod thread;

use crate::limit::in_flight::Caller;

/// Which way work goes.
#[derive(Clone, Debug)]
pub(crate) enum Pool {
    /// To the store alone.
    Data,
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
}
