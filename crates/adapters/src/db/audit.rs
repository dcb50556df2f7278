//! The SQL of the audit log's chain.

pub(super) mod chain;
pub(super) mod reader;
pub(super) mod sealing;
pub(super) mod statements;
