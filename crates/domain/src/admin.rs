//! Administration: what an operator does to users and sessions.

mod authority;
mod service;
mod sessions;
mod users;

pub use self::authority::Authority;
pub use self::service::Admin;
pub use self::users::{AdminError, SetPasswordError};
