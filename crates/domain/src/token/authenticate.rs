use crate::AuthService;
use crate::ports::StoreError;
use crate::token::{Authentication, UnconfirmedClaims, VerifiedClaims};

impl AuthService {
    /// Validates an access token. Never blocks: a token whose session only the store knows is
    /// [`Authentication::NeedsLookup`].
    pub fn authenticate(&self, token: &str) -> Authentication {
        let now = self.core.ports.clock.now();
        match self.core.ports.access_tokens.verify(token, now) {
            Ok(claims) => claims.validate(now, self.core.ports.clock.uptime(), &self.core.revocations),
            Err(_) => Authentication::Refused,
        }
    }

    /// Asks the store whether the session of `claims` is live.
    ///
    /// # Errors
    /// [`ConfirmSessionError`].
    pub fn confirm_session(&self, claims: UnconfirmedClaims) -> Result<VerifiedClaims, ConfirmSessionError> {
        let now = self.core.ports.clock.now();
        match self.core.ports.store.find_session(claims.session(), now)? {
            Some(_live) => Ok(claims.confirmed()),
            None => Err(ConfirmSessionError::Refused),
        }
    }
}

/// The session could not be confirmed.
#[derive(Debug, thiserror::Error)]
pub enum ConfirmSessionError {
    /// It ended or expired.
    #[error("the session is over")]
    Refused,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
