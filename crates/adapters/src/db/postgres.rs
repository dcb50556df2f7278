//! PostgreSQL: the poolers that may stand in front of it.

pub(super) mod pooler;
