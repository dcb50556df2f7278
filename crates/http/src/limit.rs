//! Limits: requests per client address and per session over time, and password requests in flight. Without the feature
//! `governor` only the latter exist.

#[cfg(not(feature = "governor"))]
mod disabled;
#[cfg(feature = "governor")]
mod governor;
pub(crate) mod in_flight;
pub(crate) mod quota;

#[cfg(not(feature = "governor"))]
pub(crate) use disabled::Limits;
#[cfg(feature = "governor")]
pub(crate) use governor::Limits;
