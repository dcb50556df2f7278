#![doc = include_str!("../README.md")]
#![deny(missing_docs)]
#![expect(
    clippy::expect_used,
    clippy::missing_panics_doc,
    clippy::unwrap_used,
    reason = "fakes and contracts panic to fail the test that uses them"
)]

mod account_keys;
mod clock;
pub mod contract;
mod faulty;
pub mod fixtures;
mod hasher;
mod memory;
#[cfg(feature = "postgres")]
pub mod postgres;
mod random;
mod replay;
mod tokens;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub use account_keys::PlainAccountKeys;
pub use clock::FixedClock;
pub use faulty::FaultyStore;
pub use hasher::PlainHasher;
pub use memory::{Backup, MemoryStore, OpenEnd};
use portcullis_domain::Ports;
pub use random::SeededRandom;
pub use replay::replay;
pub use tokens::{PlainAccessTokens, PlainRefreshTokens};

/// Returns ports made only of fakes: an empty store in memory, a clock that stands still at [`fixtures::NOW`], and tokens
/// and hashes that protect nothing. Swap a part by record update.
///
/// Each call in a process seeds its randomness differently, so services over one store make different IDs. A run that calls it
/// in the same order makes the same IDs again. Over a store that outlives the process, those are recorded already: pass
/// randomness of your own.
pub fn ports() -> Ports {
    ports_over(&Arc::new(MemoryStore::new()))
}

/// Returns the same over a store that the caller keeps, to look into it.
pub fn ports_over(store: &Arc<MemoryStore>) -> Ports {
    Ports {
        store: Arc::clone(store) as _,
        hasher: Arc::new(PlainHasher::new()),
        access_tokens: Arc::new(PlainAccessTokens::new("fake")),
        refresh_tokens: Arc::new(PlainRefreshTokens::new("fake")),
        account_keys: Arc::new(PlainAccountKeys::new("fake")),
        clock: Arc::new(FixedClock::at(fixtures::NOW)),
        random: Arc::new(SeededRandom::new(NEXT_SEED.fetch_add(1, Ordering::Relaxed))),
    }
}

/// The seed of the next ports. It starts far from the small seeds that tests choose for randomness of their own.
static NEXT_SEED: AtomicU64 = AtomicU64::new(1 << 32);
