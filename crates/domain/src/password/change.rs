use std::iter;

use crate::account::Account;
use crate::audit::EventKind;
use crate::client::ClientInfo;
use crate::error::{Throttled, Unavailable, unavailable};
use crate::maintenance::ClockNotTrusted;
use crate::password::policy::PasswordViolation;
use crate::password::{HashError, PlaintextPassword, ReauthenticateError};
use crate::ports::StoreError;
use crate::session::{OpenSessionError, Proof, SessionOpened};
use crate::token::{SignError, TokenSet, VerifiedClaims};

/// The input of a user who changes the password.
#[derive(Debug)]
pub struct PasswordChange {
    /// The password so far.
    pub current: PlaintextPassword,
    /// The password wanted.
    pub new: PlaintextPassword,
}

impl Account {
    /// Changes the password of the user who holds the token. All sessions end, and a new one is opened.
    ///
    /// # Errors
    /// [`ChangePasswordError`]. A new password that breaks a rule is refused before the current one is verified. A new
    /// password equal to the current one is refused after that, so the refusal reveals no more to a guesser than a
    /// counted attempt does. The attempt stays counted until one succeeds.
    pub fn change_password(
        &self,
        bearer: &VerifiedClaims,
        form: &PasswordChange,
        client: &ClientInfo,
    ) -> Result<TokenSet, ChangePasswordError> {
        // Before the hashes: nothing would come of them.
        self.core.trusted_time()?;
        let user = self.core.ports.store.find_user(bearer.claims().user)?.ok_or(ChangePasswordError::Gone)?;
        let new = self.core.config.password.accept(&form.new, user.username.as_str());
        let new = new.map_err(ChangePasswordError::Rejected)?;
        let admitted = self.core.reauthenticate(&user, bearer, &form.current, client)?;
        if new.is_same_as(&form.current) {
            return Err(ChangePasswordError::Rejected(vec![PasswordViolation::Unchanged]));
        }
        let new = self.core.ports.hasher.hash(&new)?;
        let now = self.core.trusted_time()?;
        let throttling_end = self.core.throttling_end(user.id, now, client);
        let session = self.core.new_session(&user, Proof::Password(admitted.successful()), now, client);
        let changed =
            self.core.event(EventKind::PasswordChanged, now, client).of_user(user.id).in_session(session.id);
        let events = |opened: &SessionOpened| {
            iter::once(changed.clone()).chain(throttling_end.by_success(opened.consumed)).collect::<Vec<_>>()
        };
        let acting = bearer.claims().session;
        let opened = self.core.ports.store.change_password(acting, &new, &session, &events)?;
        self.core.mark_ended(opened.ended, now);
        Ok(self.core.issue(&opened.grant, now)?)
    }
}

/// The password was not changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangePasswordError {
    /// The session ended a moment ago, or the user was disabled, deleted or got a new password.
    #[error("the session is over or the user changed meanwhile")]
    Gone,
    /// The current password is another one.
    #[error("the current password is wrong")]
    Incorrect,
    /// Too many passwords were tried before.
    #[error(transparent)]
    Throttled(#[from] Throttled),
    /// The new password breaks rules. [`PasswordViolation::Unchanged`] is found after the current password was verified,
    /// the others before.
    #[error("the new password breaks a rule")]
    Rejected(Vec<PasswordViolation>),
    /// The store, the hasher or the signing failed, or the clock is not trusted.
    #[error(transparent)]
    Unavailable(Unavailable),
}

unavailable! {
    ChangePasswordError from Unavailable, StoreError, HashError, ClockNotTrusted, SignError;
}

impl From<ReauthenticateError> for ChangePasswordError {
    fn from(error: ReauthenticateError) -> Self {
        match error {
            ReauthenticateError::Incorrect => Self::Incorrect,
            ReauthenticateError::Throttled(error) => error.into(),
            ReauthenticateError::Unavailable(error) => error.into(),
        }
    }
}

impl From<OpenSessionError> for ChangePasswordError {
    fn from(error: OpenSessionError) -> Self {
        match error {
            OpenSessionError::UserChanged => Self::Gone,
            OpenSessionError::Store(error) => error.into(),
        }
    }
}
