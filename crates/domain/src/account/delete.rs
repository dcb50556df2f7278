use std::iter;

use crate::account::{Account, ChangeUserError, Reauthentication, UserDeleted};
use crate::audit::EventKind;
use crate::client::ClientInfo;
use crate::error::{Throttled, Unavailable, unavailable};
use crate::password::{PlaintextPassword, ReauthenticateError};
use crate::ports::StoreError;
use crate::session::Proof;
use crate::token::VerifiedClaims;

impl Account {
    /// Deletes the account of the user who holds the token and knows the password. All sessions end, and the name is
    /// free again.
    ///
    /// # Errors
    /// [`DeleteAccountError`].
    pub fn delete(
        &self,
        bearer: &VerifiedClaims,
        current: &PlaintextPassword,
        client: &ClientInfo,
    ) -> Result<(), DeleteAccountError> {
        let user = self.core.ports.store.find_user(bearer.claims().user)?.ok_or(DeleteAccountError::Gone)?;
        let admitted = self.core.reauthenticate(&user, bearer, current, client)?;
        let now = self.core.ports.clock.now();
        let event = self.core.event(EventKind::AccountDeleted, now, client);
        let event = event.of_user(user.id).in_session(bearer.claims().session);
        let throttling_end = self.core.throttling_end(user.id, now, client);
        let reauthentication = Reauthentication {
            session: bearer.claims().session,
            credential_version: user.credential_version,
            proof: Proof::Password(admitted.successful()),
        };
        let events = |facts: &UserDeleted| {
            let end = facts.consumed.and_then(|consumed| throttling_end.by_success(consumed));
            iter::once(event.clone()).chain(end).collect::<Vec<_>>()
        };
        let deleted = self.core.ports.store.delete_user(user.id, Some(reauthentication), now, &events)?;
        self.core.mark_ended(deleted.ended, now);
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
    /// Too many passwords were tried before.
    #[error(transparent)]
    Throttled(#[from] Throttled),
    /// The store or the hasher failed.
    #[error(transparent)]
    Unavailable(Unavailable),
}

unavailable! {
    DeleteAccountError from Unavailable, StoreError;
}

impl From<ReauthenticateError> for DeleteAccountError {
    fn from(error: ReauthenticateError) -> Self {
        match error {
            ReauthenticateError::Incorrect => Self::Incorrect,
            ReauthenticateError::Throttled(error) => error.into(),
            ReauthenticateError::Unavailable(error) => error.into(),
        }
    }
}

impl From<ChangeUserError> for DeleteAccountError {
    fn from(error: ChangeUserError) -> Self {
        match error {
            ChangeUserError::NotFound => Self::Gone,
            ChangeUserError::Store(error) => error.into(),
        }
    }
}
