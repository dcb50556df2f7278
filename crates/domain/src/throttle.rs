//! How often a password may be guessed: a few times at once, then ever more slowly, then once a day.
//!
//! Attempts are counted before the password is looked at, so that asking in parallel gains nothing, and the count begins
//! anew with the right password. They count against the account, from wherever they come; but from a network where
//! somebody logged in to it lately they count against the account there alone. So nobody elsewhere can lock that somebody
//! out.

mod account_keys;
mod attempt;
mod begin;
mod counter;
mod schedule;
mod store;

#[cfg(feature = "mocks")]
pub use self::account_keys::MockAccountKeys;
pub use self::account_keys::{AccountKey, AccountKeys};
pub(crate) use self::attempt::ThrottlingEnd;
pub use self::attempt::{
    AttemptDecision, AttemptEvent, KnownNetwork, LoginAttempt, PurgedCounter, SuccessfulAttempt,
};
pub(crate) use self::begin::{Admitted, NotAdmitted};
pub use self::counter::AttemptCounter;
pub use self::schedule::{FORGOTTEN_AFTER, KNOWN_FOR, SCHEDULE, Schedule};
pub use self::store::AttemptStore;
#[cfg(feature = "mocks")]
pub use self::store::MockAttemptStore;
