//! The storage ports over [`Database`](super::Database), one file each.

mod attempt;
pub(in crate::db) mod audit_log;
mod health;
mod session;
mod user;
