use crate::AuthService;
use crate::audit::EventKind;
use crate::client::ClientInfo;
use crate::id::SessionId;
use crate::ports::StoreError;
use crate::session::{EndOutcome, Session};
use crate::token::VerifiedClaims;

impl AuthService {
    /// The live sessions of the user who holds the token, the latest opened first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn sessions(&self, bearer: &VerifiedClaims) -> Result<Vec<Session>, StoreError> {
        self.ports.store.list_sessions(bearer.claims().user, self.ports.clock.now())
    }

    /// Ends one of the sessions of the user who holds the token. Ending one that is over succeeds while it is
    /// remembered.
    ///
    /// # Errors
    /// [`EndSessionError`].
    pub fn end_session(
        &self,
        bearer: &VerifiedClaims,
        session: SessionId,
        client: &ClientInfo,
    ) -> Result<(), EndSessionError> {
        let (now, user) = (self.ports.clock.now(), bearer.claims().user);
        let event = self.event(EventKind::SessionEnded, now, client).in_session(session);
        match self.ports.store.end_session(session, Some(user), &event)? {
            EndOutcome::Ended | EndOutcome::AlreadyEnded => {
                self.mark_ended([session], now);
                Ok(())
            }
            EndOutcome::Unknown => Err(EndSessionError::NotFound),
        }
    }
}

/// The session was not ended.
#[derive(Debug, thiserror::Error)]
pub enum EndSessionError {
    /// The user has no such session.
    #[error("there is no such session")]
    NotFound,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
