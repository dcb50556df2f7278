use crate::AuthService;
use crate::audit::{EventKind, LogoutScope};
use crate::client::ClientInfo;
use crate::id::{SessionId, UserId};
use crate::ports::StoreError;
use crate::session::ReuseCheck;
use crate::token::{AccessToken, Authentication, ConfirmSessionError, InvalidToken, RefreshToken};

/// The tokens of a logout request.
#[derive(Debug)]
pub enum LogoutToken {
    /// An access token.
    Access(AccessToken),
    /// A refresh token.
    Refresh(RefreshToken),
    /// A refresh token, and the access token that a client sends with every request.
    Both {
        /// The refresh token. It decides which session is meant.
        refresh: RefreshToken,
        /// The access token. It must not be a genuine token of another session; a token that does not verify is ignored.
        access: AccessToken,
    },
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
        let now = self.core.ports.clock.now();
        let event = |session| self.core.event(EventKind::LoggedOut(scope), now, client).in_session(session);
        match scope {
            LogoutScope::Current => {
                let session = self.session_of(token)?;
                let event = event(session);
                let events = |user: &UserId| [event.clone().of_user(*user)];
                self.core.ports.store.end_session(session, None, now, &events)?;
                self.core.mark_ended([session], now);
            }
            LogoutScope::Others | LogoutScope::All => {
                let (user, session) = self.holder_of(token)?;
                let except = (scope == LogoutScope::Others).then_some(session);
                let event = event(session).of_user(user);
                self.core.mark_ended(self.core.ports.store.end_sessions(user, except, &event)?, now);
            }
        }
        Ok(())
    }

    /// Returns the session of a genuine token.
    fn session_of(&self, token: &LogoutToken) -> Result<SessionId, LogoutError> {
        match token {
            LogoutToken::Access(access) => self.session_of_access(access),
            LogoutToken::Refresh(refresh) => self.session_of_refresh(refresh),
            LogoutToken::Both { refresh, access } => {
                let session = self.session_of_refresh(refresh)?;
                match self.session_of_access(access) {
                    Ok(other) if other != session => Err(LogoutError::DifferentSessions),
                    _ => Ok(session),
                }
            }
        }
    }

    fn session_of_access(&self, access: &AccessToken) -> Result<SessionId, LogoutError> {
        let signed = self.core.ports.access_tokens.verify(access.expose(), self.core.ports.clock.now());
        signed.map(|claims| claims.session_to_end()).map_err(|InvalidToken| LogoutError::InvalidAccessToken)
    }

    fn session_of_refresh(&self, refresh: &RefreshToken) -> Result<SessionId, LogoutError> {
        let claims = self.core.ports.refresh_tokens.verify(refresh);
        claims.map(|claims| claims.session).map_err(|InvalidToken| LogoutError::InvalidRefreshToken)
    }

    /// Returns the user and the session of a token that may end other sessions too. One such token is enough.
    fn holder_of(&self, token: &LogoutToken) -> Result<(UserId, SessionId), LogoutError> {
        match token {
            LogoutToken::Access(access) => self.holder_of_access(access),
            LogoutToken::Refresh(refresh) => self.holder_of_refresh(refresh),
            LogoutToken::Both { refresh, access } => {
                self.session_of(token)?;
                self.holder_of_refresh(refresh)
                    .or_else(|error| self.holder_of_access(access).map_err(|_no_better| error))
            }
        }
    }

    fn holder_of_access(&self, access: &AccessToken) -> Result<(UserId, SessionId), LogoutError> {
        let live = match self.authenticate(access.expose()) {
            Authentication::Live(live) => live,
            Authentication::NeedsLookup(claims) => self.confirm_session(claims)?,
            Authentication::Refused => return Err(LogoutError::InvalidAccessToken),
            Authentication::NotReady => return Err(LogoutError::NotReady),
        };
        Ok((live.claims().user, live.claims().session))
    }

    fn holder_of_refresh(&self, refresh: &RefreshToken) -> Result<(UserId, SessionId), LogoutError> {
        let claims = self.core.ports.refresh_tokens.verify(refresh);
        let claims = claims.map_err(|InvalidToken| LogoutError::InvalidRefreshToken)?;
        let now = self.core.ports.clock.now();
        let session = self.core.ports.store.find_session(claims.session, now)?;
        let session = session.ok_or(LogoutError::InvalidRefreshToken)?;
        let grace = self.core.config.lifetimes.refresh_grace;
        match ReuseCheck::of(claims.generation, session.newest, now, grace) {
            ReuseCheck::Current | ReuseCheck::Repeated => Ok((session.user, session.id)),
            ReuseCheck::Reused | ReuseCheck::Ahead => Err(LogoutError::InvalidRefreshToken),
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
    /// The access token is a genuine token of another session than the refresh token.
    #[error("the two tokens belong to different sessions")]
    DifferentSessions,
    /// This instance has just started and does not know which sessions ended.
    #[error("not ready yet")]
    NotReady,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<ConfirmSessionError> for LogoutError {
    fn from(error: ConfirmSessionError) -> Self {
        match error {
            ConfirmSessionError::Refused => Self::InvalidAccessToken,
            ConfirmSessionError::Store(error) => Self::Store(error),
        }
    }
}
