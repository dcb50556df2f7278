//! The adapters honour the contracts of their ports, and a few promises of their own.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod audit;
mod hashing;
mod hosts;
mod plans;
mod population;
mod postgres;
mod remembered_tokens;
mod schedules;
mod schema;
mod sqlite;
mod stores;
mod system;
mod tokens;
