use crate::account::User;
use crate::audit::EventKind;
use crate::client::ClientInfo;
use crate::core::Core;
use crate::error::{Throttled, Unavailable, unavailable};
use crate::password::{HashError, PlaintextPassword, Verdict};
use crate::ports::StoreError;
use crate::throttle::{Admitted, NotAdmitted};
use crate::token::VerifiedClaims;

impl Core {
    /// Verifies the password of a user who is logged in already. Attempts are throttled together with logins, and a wrong
    /// password is recorded.
    pub(crate) fn reauthenticate(
        &self,
        user: &User,
        bearer: &VerifiedClaims,
        attempt: &PlaintextPassword,
        client: &ClientInfo,
    ) -> Result<Admitted, ReauthenticateError> {
        let is_possible = attempt.length().is_some_and(|length| length <= PlaintextPassword::MAX_LENGTH)
            && !attempt.expose().contains('\0');
        if is_possible {
            let admitted = self.begin_attempt(user.username.canonical(), Some(user.id), client)?;
            match self.verify(&admitted, attempt, user) {
                Ok(Verdict::Mismatch) | Err(HashError::Unusable(_)) => {}
                Ok(Verdict::Match | Verdict::MatchOutdated) => return Ok(admitted),
                Err(error) => return Err(error.into()),
            }
        }
        let event = self.event(EventKind::PasswordNotConfirmed, self.ports.clock.now(), client);
        self.ports.store.record_event(&event.of_user(user.id).in_session(bearer.claims().session))?;
        Err(ReauthenticateError::Incorrect)
    }
}

/// The user did not prove to know the password.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReauthenticateError {
    #[error("the password is wrong")]
    Incorrect,
    #[error(transparent)]
    Throttled(#[from] Throttled),
    #[error(transparent)]
    Unavailable(Unavailable),
}

unavailable! {
    ReauthenticateError from StoreError, HashError;
}

impl From<NotAdmitted> for ReauthenticateError {
    fn from(error: NotAdmitted) -> Self {
        match error {
            NotAdmitted::Throttled(error) => error.into(),
            NotAdmitted::Store(error) => error.into(),
        }
    }
}
