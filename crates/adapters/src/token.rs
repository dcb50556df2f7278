//! Access tokens are JWTs; refresh tokens carry a MAC.

pub mod jwt;
pub mod refresh;
