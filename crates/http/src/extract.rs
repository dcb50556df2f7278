//! Extractors: what a handler takes from a request.

pub(crate) mod bearer;
pub(crate) mod client;
pub(crate) mod forwarded;
pub(crate) mod json;
pub(crate) mod page;
pub(crate) mod path;
pub(crate) mod query;
