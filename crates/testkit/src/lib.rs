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

pub use account_keys::PlainAccountKeys;
pub use clock::FixedClock;
pub use faulty::FaultyStore;
pub use hasher::PlainHasher;
pub use memory::{Backup, MemoryStore};
use portcullis_domain::Ports;
pub use random::SeededRandom;
pub use replay::replay;
pub use tokens::{PlainAccessTokens, PlainRefreshTokens};

/// Ports made of fakes alone: an empty store in memory, a clock that stands still at [`fixtures::NOW`], and tokens
/// and hashes that protect nothing. Swap a part by record update.
pub fn ports() -> Ports {
    ports_over(&Arc::new(MemoryStore::new()))
}

/// The same over a store that the caller keeps, to look into it.
pub fn ports_over(store: &Arc<MemoryStore>) -> Ports {
    Ports {
        store: Arc::clone(store) as _,
        hasher: Arc::new(PlainHasher::new()),
        access_tokens: Arc::new(PlainAccessTokens::new("fake")),
        refresh_tokens: Arc::new(PlainRefreshTokens::new("fake")),
        account_keys: Arc::new(PlainAccountKeys::new("fake")),
        clock: Arc::new(FixedClock::at(fixtures::NOW)),
        random: Arc::new(SeededRandom::new(1)),
    }
}
