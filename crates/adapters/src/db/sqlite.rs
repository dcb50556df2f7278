//! SQLite: its file and the backup of it, and the writers that take turns and commit together.

pub(super) mod backup;
pub(super) mod file;
pub(super) mod group_commit;
pub(super) mod session;
mod writer_queue;
