//! The HTTP contract of Portcullis on actix-web: routes, extractors, problem documents, limits and headers.
//!
//! The server and the tests run the very same stack: [`Api::new`] builds what all requests share, once per process,
//! and [`app`] makes the application of one worker over it.
//!
//! ```no_run
//! use std::sync::Arc;
//! use portcullis_domain::{AuthConfig, Core};
//! use portcullis_http::{Api, HttpConfig};
//!
//! # async fn serve() -> std::io::Result<()> {
//! let core = Core::new(portcullis_testkit::ports(), AuthConfig::default());
//! let api = Arc::new(Api::new(&core, HttpConfig::default())?);
//! let server = actix_web::HttpServer::new(move || portcullis_http::app(&api));
//! server.bind(("127.0.0.1", 8080))?.run().await
//! # }
//! ```
//!
//! The service gives out and accepts no tokens before it has caught up with its store. Call
//! [`Maintenance::sync`](portcullis_domain::maintenance::Maintenance::sync) a few times a second, and
//! [`Maintenance::check_writes`](portcullis_domain::maintenance::Maintenance::check_writes) about once a second: without
//! it, `/ready` answers 503.
//!
//! The crate knows the domain and nothing of databases: whatever needs one is a use case, called through
//! `blocking`.

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
pub use blocking::{PasswordPoolConfig, PoolCounts};
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
