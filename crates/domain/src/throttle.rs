//! How often a password may be guessed: a few times at once, then ever more slowly, then once a day.
//!
//! Attempts are counted before the password is looked at, so that asking in parallel gains nothing, and the count begins
//! anew with the right password. They count against the account, from wherever they come; but from a network where
//! somebody logged in to it lately they count against the account there alone. So nobody elsewhere can lock that somebody
//! out.

mod account_keys;
mod begin;
mod counter;
mod store;

pub use self::account_keys::AccountKeys;
#[cfg(feature = "mocks")]
pub use self::account_keys::MockAccountKeys;
pub(crate) use self::begin::{Admitted, NotAdmitted};
pub(crate) use self::counter::ThrottlingEnd;
pub use self::counter::{
    AccountKey, AttemptCounter, AttemptDecision, AttemptEvent, FORGOTTEN_AFTER, KNOWN_FOR, KnownNetwork,
    LoginAttempt, PurgedCounter, SCHEDULE, Schedule, SuccessfulAttempt,
};
pub use self::store::AttemptStore;
#[cfg(feature = "mocks")]
pub use self::store::MockAttemptStore;
