use crate::account::{Account, User};
use crate::ports::StoreError;
use crate::token::VerifiedClaims;

impl Account {
    /// The user who holds the token.
    ///
    /// # Errors
    /// [`ProfileError`].
    pub fn profile(&self, bearer: &VerifiedClaims) -> Result<User, ProfileError> {
        self.core.ports.store.find_user(bearer.claims().user)?.ok_or(ProfileError::Gone)
    }
}

/// The user was not found.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// The user was deleted a moment ago.
    #[error("the user is gone")]
    Gone,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
