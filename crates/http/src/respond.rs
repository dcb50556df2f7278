//! Responses: bodies and header fields that several routes share, and problem documents for errors.

pub(crate) mod base_path;
pub(crate) mod catalogue;
pub(crate) mod error;
pub(crate) mod json;
pub(crate) mod problem;
pub(crate) mod problem_responses;
pub(crate) mod token_set;
pub(crate) mod user;
pub(crate) mod violation;
pub(crate) mod vocabulary;
