use crate::AuthService;
use crate::account::User;
use crate::ports::StoreError;
use crate::token::LiveClaims;

impl AuthService {
    /// The user who holds the token.
    ///
    /// # Errors
    /// [`MeError`].
    pub fn me(&self, bearer: &LiveClaims) -> Result<User, MeError> {
        self.ports.users.find(bearer.claims().user)?.ok_or(MeError::Gone)
    }
}

/// The user was not found.
#[derive(Debug, thiserror::Error)]
pub enum MeError {
    /// The user was deleted a moment ago.
    #[error("the user is gone")]
    Gone,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
