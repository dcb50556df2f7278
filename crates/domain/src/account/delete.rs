use std::time::Duration;

use crate::AuthService;
use crate::account::{ChangeUserError, Reauthentication};
use crate::audit::EventKind;
use crate::client::ClientInfo;
use crate::password::{ConfirmPasswordError, HashError, PlaintextPassword};
use crate::ports::StoreError;
use crate::token::VerifiedClaims;

impl AuthService {
    /// Deletes the account of the user who holds the token and knows the password. All sessions end, and the name is
    /// free again.
    ///
    /// # Errors
    /// [`DeleteAccountError`].
    pub fn delete_account(
        &self,
        bearer: &VerifiedClaims,
        current: &PlaintextPassword,
        client: &ClientInfo,
    ) -> Result<(), DeleteAccountError> {
        let user = self.ports.store.find_user(bearer.claims().user)?.ok_or(DeleteAccountError::Gone)?;
        let admitted = self.confirm_password(&user, bearer, current, client)?;
        let now = self.ports.clock.now();
        let event = self.event(EventKind::AccountDeleted, now, client);
        let event = event.of_user(user.id).in_session(bearer.claims().session);
        let session = bearer.claims().session;
        let attempt = self.successful_attempt(&admitted, user.id, now, client);
        let confirmed = Reauthentication { session, credential_version: user.credential_version, attempt };
        let ended = self.ports.store.delete_user(user.id, Some(confirmed), &event)?;
        self.mark_ended(ended, now);
        Ok(())
    }
}

/// The account was not deleted.
#[derive(Debug, thiserror::Error)]
pub enum DeleteAccountError {
    /// The session ended a moment ago, or the user was disabled, deleted or got a new password.
    #[error("the session is over or the user changed meanwhile")]
    Gone,
    /// The password is another one.
    #[error("the password is wrong")]
    Incorrect,
    /// Too many passwords were tried before. This one was not looked at.
    #[error("too many passwords were tried")]
    Throttled {
        /// How long the next one has to wait.
        wait: Duration,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The hasher failed.
    #[error(transparent)]
    Hash(#[from] HashError),
}

impl From<ConfirmPasswordError> for DeleteAccountError {
    fn from(error: ConfirmPasswordError) -> Self {
        match error {
            ConfirmPasswordError::Incorrect => Self::Incorrect,
            ConfirmPasswordError::Throttled { wait } => Self::Throttled { wait },
            ConfirmPasswordError::Store(error) => Self::Store(error),
            ConfirmPasswordError::Hash(error) => Self::Hash(error),
        }
    }
}

impl From<ChangeUserError> for DeleteAccountError {
    fn from(error: ChangeUserError) -> Self {
        match error {
            ChangeUserError::NotFound => Self::Gone,
            ChangeUserError::Store(error) => Self::Store(error),
        }
    }
}
