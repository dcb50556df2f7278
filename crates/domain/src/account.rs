//! User accounts: names, registration, the profile and deletion.

mod delete;
mod profile;
mod register;
mod store;
mod user;
mod username;

use std::sync::Arc;

pub use self::delete::DeleteAccountError;
pub use self::profile::ProfileError;
pub use self::register::{RegisterError, Registration, Rejections};
#[cfg(feature = "mocks")]
pub use self::store::MockUserStore;
pub use self::store::{ChangeUserError, InsertUserError, UserStore};
pub use self::user::{CredentialVersion, NewUser, Reauthentication, User, UserStatus};
#[cfg(any(test, fuzzing))]
pub use self::username::invariants as username_invariants;
pub(crate) use self::username::nfc;
pub use self::username::{CanonicalName, Username, UsernameViolation};
use crate::core::Core;

/// Serves users their own account: the profile, the password, deletion and recent activity. Every method blocks.
#[derive(Clone, Debug)]
pub struct Account {
    pub(crate) core: Arc<Core>,
}

impl Account {
    /// Creates the service.
    pub fn new(core: &Arc<Core>) -> Self {
        Self { core: Arc::clone(core) }
    }
}
