#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

mod api;
mod blocking;
mod config;
mod extract;
mod limit;
mod middleware;
mod openapi;
mod readiness;
mod request_id;
mod respond;
mod routes;
mod state;

pub use api::{Api, app, configure};
pub use blocking::LONGEST_RESPONSE;
pub use blocking::password::{PasswordPoolConfig, PoolCounts};
pub use config::HttpConfig;
pub use extract::bearer::{Bearer, BearerFuture};
#[cfg(any(test, fuzzing))]
pub use extract::forwarded::invariants as forwarded_invariants;
pub use extract::forwarded::{Cidr, ClientAddress, InvalidCidr, TrustedProxies};
#[cfg(any(test, fuzzing))]
pub use extract::json::invariants as json_invariants;
pub use extract::json::{BODY_DEADLINE, MAX_BODY};
pub use limit::quota::{LimitsConfig, Quota, RateLimit};
pub use middleware::access_log::ACCESS_LOG;
pub use middleware::cors::{AllowedOrigins, InvalidOrigin, Origin};
pub use openapi::openapi;
pub use request_id::{RequestId, current_request_id};
pub use respond::catalogue::ProblemCode;
pub use respond::problem::Problem;
pub use respond::violation::ViolationCode;
pub use routes::route::{Access, Route};
pub use routes::routes;
