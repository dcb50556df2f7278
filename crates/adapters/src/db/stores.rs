//! The storage ports over [`Database`](super::Database), one file each.

pub(in crate::db) mod attempt;
pub(in crate::db) mod audit_log;
mod health;
pub(in crate::db) mod session;
mod user;
