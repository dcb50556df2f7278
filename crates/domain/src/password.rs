//! Passwords: the types they pass through, the policy for new ones, hashing, and changing one.

mod change;
pub mod common;
mod hasher;
pub mod policy;
mod reauthenticate;
mod text;

pub use self::change::{ChangePasswordError, PasswordChange};
#[cfg(feature = "mocks")]
pub use self::hasher::MockPasswordHasher;
pub use self::hasher::{HashError, PasswordHasher, Verdict};
pub(crate) use self::reauthenticate::ReauthenticateError;
pub use self::text::{AcceptedPassword, PasswordHash, PlaintextPassword};
