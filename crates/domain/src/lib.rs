#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

pub mod client;
pub mod event;
pub mod id;
pub mod password;
pub mod ports;
pub mod retention;
pub mod revocation;
pub mod service;
pub mod session;
pub mod throttle;
pub mod time;
pub mod token;
pub mod user;
pub mod username;

// The paved path: what a caller of the use cases names in every file.
pub use ports::Ports;
pub use service::{AuthService, Rules};
pub use user::User;
