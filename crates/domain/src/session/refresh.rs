use crate::AuthService;
use crate::audit::EventKind;
use crate::client::ClientInfo;
use crate::error::{Unavailable, unavailable};
use crate::id::{SessionId, UserId};
use crate::maintenance::ClockNotTrusted;
use crate::ports::StoreError;
use crate::session::{RotateOutcome, RotateRequest};
use crate::token::{InvalidToken, RefreshToken, SignError, TokenSet};

impl AuthService {
    /// Carries a session on: gives out its next tokens.
    ///
    /// Presenting the newest token again within the grace gives the same successor again; presenting an older copy
    /// ends the session ([`ReuseCheck`](crate::session::ReuseCheck)).
    ///
    /// # Errors
    /// [`RefreshError`].
    pub fn refresh(&self, token: &RefreshToken, client: &ClientInfo) -> Result<TokenSet, RefreshError> {
        let claims = self.core.ports.refresh_tokens.verify(token)?;
        let now = self.core.trusted_time()?;
        // The store returns this too, unless it lost the end.
        if self.core.revocations.is_ended(claims.session) {
            return Err(RefreshError::Invalid);
        }
        let presented = RotateRequest {
            session: claims.session,
            generation: claims.generation,
            now,
            grace: self.core.config.lifetimes.refresh_grace,
            idle: self.core.config.lifetimes.refresh_idle,
        };
        let reused = self.core.event(EventKind::RefreshTokenReused, now, client).in_session(claims.session);
        let on_reuse = |user: &UserId| [reused.clone().of_user(*user)];
        match self.core.ports.store.rotate(&presented, &on_reuse)? {
            RotateOutcome::Rotated(grant) => Ok(self.core.issue(&grant, now)?),
            RotateOutcome::Reused => {
                self.core.mark_ended([claims.session], now);
                Err(RefreshError::Reused)
            }
            RotateOutcome::Ahead => {
                self.core.losses.count_token_ahead();
                Err(RefreshError::Ahead)
            }
            RotateOutcome::Gone => Err(RefreshError::Invalid),
        }
    }

    /// The session that a refresh token is of, be it live or not; `None` for what is no such token. Never blocks.
    pub fn refreshed_session(&self, token: &RefreshToken) -> Option<SessionId> {
        self.core.ports.refresh_tokens.verify(token).ok().map(|claims| claims.session)
    }
}

/// The session does not go on.
#[derive(Debug, thiserror::Error)]
pub enum RefreshError {
    /// Not a refresh token, or not one of a live session.
    #[error("the refresh token is not valid")]
    Invalid,
    /// A copy of an old token: this call ended the session.
    #[error("the refresh token was used before; the session has been ended")]
    Reused,
    /// The token is newer than the store, which [lost changes](crate::maintenance::LostChanges). For the client it is
    /// [`Self::Invalid`].
    #[error("the refresh token is newer than the store; was a backup restored?")]
    Ahead,
    /// The store or the signing failed, or the clock is not trusted.
    #[error(transparent)]
    Unavailable(Unavailable),
}

unavailable! {
    RefreshError from StoreError, ClockNotTrusted, SignError;
}

impl From<InvalidToken> for RefreshError {
    fn from(InvalidToken: InvalidToken) -> Self {
        Self::Invalid
    }
}
