use super::AuthService;
use crate::ports::StoreError;
use crate::revocation::REMEMBERED;
use crate::token::{Authentication, LiveClaims, UnconfirmedClaims};

impl AuthService {
    /// Judges an access token. Never blocks: what only the store can tell comes back as
    /// [`Authentication::AskStore`].
    pub fn authenticate(&self, token: &str) -> Authentication {
        let now = self.ports.clock.now();
        match self.ports.access_tokens.verify(token, now) {
            Ok(claims) => claims.judge(now, &self.revocations),
            Err(_) => Authentication::Refused,
        }
    }

    /// Asks the store whether the session of `claims` is live.
    ///
    /// # Errors
    /// [`ConfirmError`].
    pub fn confirm(&self, claims: UnconfirmedClaims) -> Result<LiveClaims, ConfirmError> {
        let now = self.ports.clock.now();
        match self.ports.sessions.is_live(claims.session(), now)? {
            true => Ok(claims.confirmed()),
            false => Err(ConfirmError::Refused),
        }
    }

    /// Looks up which sessions ended lately, so that [`Self::authenticate`] need not ask. To be called a few times a
    /// second; until the first success and after five seconds without one, every token is looked up.
    ///
    /// # Errors
    /// [`StoreError`] when the store did not answer; the next call catches up.
    pub fn poll_revocations(&self) -> Result<(), StoreError> {
        let started = self.ports.clock.now();
        let since = self.revocations.look_from(started).max(started - REMEMBERED);
        let news = self.ports.sessions.ended_since(since)?;
        self.revocations.merge(news, started);
        Ok(())
    }
}

/// The session could not be confirmed.
#[derive(Debug, thiserror::Error)]
pub enum ConfirmError {
    /// It ended or expired.
    #[error("the session is over")]
    Refused,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
