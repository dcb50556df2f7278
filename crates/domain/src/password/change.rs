use std::time::Duration;

use crate::AuthService;
use crate::account::User;
use crate::audit::EventKind;
use crate::client::ClientInfo;
use crate::maintenance::ClockNotTrusted;
use crate::password::policy::PasswordViolation;
use crate::password::{HashError, PlaintextPassword, Verdict};
use crate::ports::StoreError;
use crate::session::OpenSessionError;
use crate::throttle::{Admitted, NotAdmitted};
use crate::token::{SignError, TokenSet, VerifiedClaims};

/// What somebody who changes the own password typed.
#[derive(Debug)]
pub struct PasswordChange {
    /// The password so far.
    pub current: PlaintextPassword,
    /// The password wanted.
    pub new: PlaintextPassword,
}

impl AuthService {
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
        self.trusted_time()?;
        let user = self.ports.store.find_user(bearer.claims().user)?.ok_or(ChangePasswordError::Gone)?;
        let new = self.rules.password.accept(&form.new, user.username.as_str());
        let new = new.map_err(ChangePasswordError::Rejected)?;
        let admitted = self.confirm_password(&user, bearer, &form.current, client)?;
        if new.is_same_as(&form.current) {
            return Err(ChangePasswordError::Unchanged);
        }
        let new = self.ports.hasher.hash(&new)?;
        let now = self.trusted_time()?;
        let attempt = self.successful_attempt(&admitted, user.id, now, client);
        let session = self.new_session(&user, attempt, now, client);
        let event =
            self.event(EventKind::PasswordChanged, now, client).of_user(user.id).in_session(session.id);
        let ended = self.ports.store.change_password(bearer.claims().session, &new, &session, &event)?;
        self.mark_ended(ended, now);
        Ok(self.first_tokens(&admitted, &session)?)
    }

    /// Makes sure that somebody who is logged in knows the password; who does not is recorded. Attempts count as those to
    /// log in do.
    pub(crate) fn confirm_password(
        &self,
        user: &User,
        bearer: &VerifiedClaims,
        attempt: &PlaintextPassword,
        client: &ClientInfo,
    ) -> Result<Admitted, ConfirmPasswordError> {
        let can_be_one = attempt.length().is_some_and(|length| length <= PlaintextPassword::MAX_LENGTH)
            && !attempt.expose().contains('\0');
        if can_be_one {
            let admitted = self.begin_attempt(user.username.canonical(), Some(user.id), client)?;
            match self.verify(&admitted, attempt, user) {
                Ok(Verdict::Mismatch) | Err(HashError::Unusable(_)) => {}
                Ok(Verdict::Match | Verdict::MatchOutdated) => return Ok(admitted),
                Err(error) => return Err(error.into()),
            }
        }
        let event = self.event(EventKind::PasswordNotConfirmed, self.ports.clock.now(), client);
        self.ports.store.record_event(&event.of_user(user.id).in_session(bearer.claims().session))?;
        Err(ConfirmPasswordError::Incorrect)
    }
}

/// Nobody knows the password, as far as can be told.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfirmPasswordError {
    #[error("the password is wrong")]
    Incorrect,
    #[error("too many passwords were tried")]
    Throttled { wait: Duration },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Hash(#[from] HashError),
}

impl From<NotAdmitted> for ConfirmPasswordError {
    fn from(error: NotAdmitted) -> Self {
        match error {
            NotAdmitted::Throttled { wait } => Self::Throttled { wait },
            NotAdmitted::Store(error) => Self::Store(error),
        }
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
    /// Too many passwords were tried before. The current one was not looked at.
    #[error("too many passwords were tried")]
    Throttled {
        /// How long the next one has to wait.
        wait: Duration,
    },
    /// The new password breaks rules.
    #[error("the new password breaks a rule")]
    Rejected(Vec<PasswordViolation>),
    /// The current password is right, and the new one is equal to it after NFC.
    #[error("the new password equals the current one")]
    Unchanged,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The hasher failed.
    #[error(transparent)]
    Hash(#[from] HashError),
    /// No token can be given out now.
    #[error(transparent)]
    Clock(#[from] ClockNotTrusted),
    /// The access token could not be signed.
    #[error(transparent)]
    Sign(#[from] SignError),
}

impl From<ConfirmPasswordError> for ChangePasswordError {
    fn from(error: ConfirmPasswordError) -> Self {
        match error {
            ConfirmPasswordError::Incorrect => Self::Incorrect,
            ConfirmPasswordError::Throttled { wait } => Self::Throttled { wait },
            ConfirmPasswordError::Store(error) => Self::Store(error),
            ConfirmPasswordError::Hash(error) => Self::Hash(error),
        }
    }
}

impl From<OpenSessionError> for ChangePasswordError {
    fn from(error: OpenSessionError) -> Self {
        match error {
            OpenSessionError::UserChanged => Self::Gone,
            OpenSessionError::Store(error) => Self::Store(error),
        }
    }
}
