//! Passwords: the types they pass through, the policy for new ones, hashing, and changing one.

mod change;
pub mod common;
mod hasher;
pub mod policy;
mod text;

pub(crate) use self::change::ConfirmPasswordError;
pub use self::change::{ChangePasswordError, PasswordChange};
#[cfg(feature = "mocks")]
pub use self::hasher::MockPasswordHasher;
pub use self::hasher::{HashError, PasswordHasher, Verdict};
pub use self::text::{AcceptedPassword, PasswordHash, PlaintextPassword};
