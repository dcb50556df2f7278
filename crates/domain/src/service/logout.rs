use super::{AuthService, ConfirmError};
use crate::client::ClientInfo;
use crate::event::{EventKind, LogoutScope};
use crate::id::{SessionId, UserId};
use crate::ports::{InvalidToken, StoreError};
use crate::session::Presented;
use crate::token::{AccessToken, Authentication, RefreshToken, SignedClaims};

/// With what somebody logs out.
#[derive(Debug)]
pub enum LogoutToken {
    /// An access token.
    Access(AccessToken),
    /// A refresh token.
    Refresh(RefreshToken),
}

impl AuthService {
    /// Ends the session of `token`, or others of its user.
    ///
    /// To end its own session any genuine token will do, however old, since that is all it can do; ending a session
    /// that is over already succeeds. To end other sessions too, the token must be good for more: a live access
    /// token, or a refresh token that could be refreshed.
    ///
    /// # Errors
    /// [`LogoutError`].
    pub fn logout(
        &self,
        token: &LogoutToken,
        scope: LogoutScope,
        client: &ClientInfo,
    ) -> Result<(), LogoutError> {
        let now = self.ports.clock.now();
        let event = |session| self.event(EventKind::LoggedOut(scope), now, client).in_session(session);
        match scope {
            LogoutScope::Current => {
                let session = self.session_of(token)?;
                self.ports.sessions.end(session, None, &event(session))?;
                self.mark_ended([session], now);
            }
            LogoutScope::Others | LogoutScope::All => {
                let (user, session) = self.holder_of(token)?;
                let except = (scope == LogoutScope::Others).then_some(session);
                let event = event(session).of_user(user);
                self.mark_ended(self.ports.sessions.end_all(user, except, &event)?, now);
            }
        }
        Ok(())
    }

    /// The session of a genuine token.
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

    /// The user and the session of a token that is good now.
    fn holder_of(&self, token: &LogoutToken) -> Result<(UserId, SessionId), LogoutError> {
        match token {
            LogoutToken::Access(token) => {
                let live = match self.authenticate(token.expose()) {
                    Authentication::Live(live) => live,
                    Authentication::AskStore(claims) => self.confirm(claims)?,
                    Authentication::Refused => return Err(LogoutError::InvalidAccessToken),
                    Authentication::NotReady => return Err(LogoutError::NotReady),
                };
                Ok((live.claims().user, live.claims().session))
            }
            LogoutToken::Refresh(token) => {
                let claims = self.ports.refresh_tokens.open(token);
                let claims = claims.map_err(|InvalidToken| LogoutError::InvalidRefreshToken)?;
                let now = self.ports.clock.now();
                let session = self.ports.sessions.find(claims.session, now)?;
                let session = session.ok_or(LogoutError::InvalidRefreshToken)?;
                let grace = self.rules.lifetimes.refresh_grace;
                match Presented::judge(claims.generation, session.newest, now, grace) {
                    Presented::Current | Presented::Repeated => Ok((session.user, session.id)),
                    Presented::Reused | Presented::Ahead => Err(LogoutError::InvalidRefreshToken),
                }
            }
        }
    }
}

/// No session was ended.
#[derive(Debug, thiserror::Error)]
pub enum LogoutError {
    /// Not an access token of this service, or not one that may end other sessions.
    #[error("the access token is not valid")]
    InvalidAccessToken,
    /// Not a refresh token of this service, or not one that may end other sessions.
    #[error("the refresh token is not valid")]
    InvalidRefreshToken,
    /// This instance has just started and does not know which sessions ended.
    #[error("not ready yet")]
    NotReady,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<ConfirmError> for LogoutError {
    fn from(error: ConfirmError) -> Self {
        match error {
            ConfirmError::Refused => Self::InvalidAccessToken,
            ConfirmError::Store(error) => Self::Store(error),
        }
    }
}
