#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

pub mod account;
pub mod admin;
pub mod audit;
pub mod client;
// Shadows the crate `core` in paths that begin with it; `std` has the same items.
mod core;
mod error;
pub mod id;
pub mod maintenance;
pub mod password;
pub mod ports;
mod service;
pub mod session;
pub mod throttle;
pub mod time;
pub mod token;

// The paved path: what a caller of the use cases names in every file.
pub use self::account::User;
pub use self::core::{AuthConfig, Core};
pub use self::error::{Throttled, Unavailable};
pub use self::ports::Ports;
pub use self::service::AuthService;
