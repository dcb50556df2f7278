//! User accounts: names, registration, the profile and deletion.

mod delete;
mod profile;
mod register;
mod service;
mod store;
mod user;
mod username;

pub use self::delete::DeleteAccountError;
pub use self::profile::ProfileError;
pub use self::register::{RegisterError, Registration, Rejections};
pub use self::service::Account;
#[cfg(feature = "mocks")]
pub use self::store::MockUserStore;
pub use self::store::{ChangeUserError, InsertUserError, UserDeleted, UserStore};
pub use self::user::{CredentialVersion, NewUser, Reauthentication, User, UserStatus};
#[cfg(any(test, fuzzing))]
pub use self::username::invariants as username_invariants;
pub(crate) use self::username::nfc;
pub use self::username::{CanonicalName, Username, UsernameViolation};
