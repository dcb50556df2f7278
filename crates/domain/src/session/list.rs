use crate::audit::EventKind;
use crate::client::ClientInfo;
use crate::id::SessionId;
use crate::ports::StoreError;
use crate::session::{EndOutcome, Session, Sessions};
use crate::token::VerifiedClaims;

impl Sessions {
    /// The live sessions of the user who holds the token, the latest opened first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn list(&self, bearer: &VerifiedClaims) -> Result<Vec<Session>, StoreError> {
        self.core.ports.store.list_sessions(bearer.claims().user, self.core.ports.clock.now())
    }

    /// Ends one of the sessions of the user who holds the token. Ending one that is over succeeds while it is
    /// remembered.
    ///
    /// # Errors
    /// [`EndSessionError`].
    pub fn end(
        &self,
        bearer: &VerifiedClaims,
        session: SessionId,
        client: &ClientInfo,
    ) -> Result<(), EndSessionError> {
        let (now, user) = (self.core.ports.clock.now(), bearer.claims().user);
        let event = self.core.event(EventKind::SessionEnded, now, client).of_user(user).in_session(session);
        match self.core.ports.store.end_session(session, Some(user), now, &event)? {
            EndOutcome::Ended | EndOutcome::AlreadyEnded => {
                self.core.mark_ended([session], now);
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
