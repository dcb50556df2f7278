//! SQLite: its file, and the writers that take turns and commit together.

pub(super) mod file;
pub(super) mod group_commit;
pub(super) mod session;
mod writer_queue;
