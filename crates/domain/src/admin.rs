//! Administration: what an operator does to users and sessions.

mod users;

pub use self::users::{AdminError, SetPasswordError};
