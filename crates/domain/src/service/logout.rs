use super::AuthService;
use crate::client::ClientInfo;
use crate::event::EventKind;
use crate::id::SessionId;
use crate::ports::{InvalidToken, StoreError};
use crate::token::{AccessToken, RefreshToken, SignedClaims};

/// The token by which somebody logs out: any genuine one of the session will do, however old, since all it can do
/// is end it.
#[derive(Debug)]
pub enum LogoutToken {
    /// An access token, which may have expired.
    Access(AccessToken),
    /// A refresh token, which may have been rotated away.
    Refresh(RefreshToken),
}

impl AuthService {
    /// Ends the session of `token`. Ending a session that is over already succeeds.
    ///
    /// # Errors
    /// [`LogoutError`].
    pub fn logout(&self, token: &LogoutToken, client: &ClientInfo) -> Result<(), LogoutError> {
        let now = self.ports.clock.now();
        let session = self.session_of(token)?;
        let event = self.event(EventKind::LoggedOut, now, client).in_session(session);
        self.ports.sessions.end(session, &event)?;
        self.revocations.insert([session], now);
        Ok(())
    }

    fn session_of(&self, token: &LogoutToken) -> Result<SessionId, LogoutError> {
        match token {
            LogoutToken::Access(token) => {
                let signed = self.ports.access_tokens.verify(token.expose(), self.ports.clock.now());
                signed
                    .map(SignedClaims::session_to_end)
                    .map_err(|InvalidToken| LogoutError::InvalidAccessToken)
            }
            LogoutToken::Refresh(token) => {
                let claims = self.ports.refresh_tokens.open(token);
                claims.map(|claims| claims.session).map_err(|InvalidToken| LogoutError::InvalidRefreshToken)
            }
        }
    }
}

/// No session was ended.
#[derive(Debug, thiserror::Error)]
pub enum LogoutError {
    /// Not an access token of this service.
    #[error("the access token is not valid")]
    InvalidAccessToken,
    /// Not a refresh token of this service.
    #[error("the refresh token is not valid")]
    InvalidRefreshToken,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
