//! Health checks for operators and load balancers.

pub(crate) mod health;
pub(crate) mod readiness;
