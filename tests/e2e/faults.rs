//! Faults while clients work: processes that are killed, disks that fail, databases that fail over. The rules of
//! [`crate::history`] hold afterwards.
//!
//! `make test-faults` runs the same functions with more rounds (`tests/faults`).

pub(crate) mod boot;
pub(crate) mod load;
pub(crate) mod random;
pub(crate) mod rounds;
pub(crate) mod strace;
pub(crate) mod tally;

#[cfg(test)]
mod tests;

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

/// Differs from run to run; a failure prints the one that repeats it.
pub(crate) fn new_seed() -> u64 {
    RandomState::new().hash_one(0)
}

/// How long writes may fail while a standby is promoted, of which the promotion itself takes a part.
pub(crate) const LONGEST_FAILOVER: Duration = Duration::from_secs(15);
