//! What clients and resource servers look up.

pub(crate) mod problems;
pub(crate) mod well_known;
