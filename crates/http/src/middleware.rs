//! What surrounds every request.

pub(crate) mod access_log;
pub(crate) mod catch_panic;
pub(crate) mod cors;
pub(crate) mod drain_body;
pub(crate) mod request_context;
pub(crate) mod security_headers;
