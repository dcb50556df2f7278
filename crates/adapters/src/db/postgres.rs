//! PostgreSQL: its servers, its sessions, and the poolers that may stand in front of it.

pub(super) mod hosts;
pub(super) mod pooler;
pub(super) mod role;
pub(super) mod server;
pub(super) mod session;
