use crate::admin::{Admin, AdminError, Authority};
use crate::audit::EventKind;
use crate::client::ClientInfo;
use crate::ports::StoreError;
use crate::session::Session;

impl Admin {
    /// The live sessions of a user, the latest opened first.
    ///
    /// # Errors
    /// [`AdminError`].
    pub fn sessions_of(&self, _by: &Authority, username: &str) -> Result<Vec<Session>, AdminError> {
        let user = self.user_named(username)?;
        Ok(self.core.ports.store.list_sessions(user.id, self.core.ports.clock.now())?)
    }

    /// Ends all sessions of a user. Says how many.
    ///
    /// # Errors
    /// [`AdminError`].
    pub fn end_sessions_of(&self, _by: &Authority, username: &str) -> Result<usize, AdminError> {
        let user = self.user_named(username)?;
        let event = self.event_of(EventKind::UserSessionsEnded, &user);
        let ended = self.core.ports.store.end_sessions(user.id, None, &event)?;
        self.core.mark_ended(ended.iter().copied(), event.at);
        Ok(ended.len())
    }

    /// Ends all sessions of all users.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn end_all_sessions(&self, _by: &Authority) -> Result<(), StoreError> {
        let now = self.core.ports.clock.now();
        let event = self.core.event(EventKind::AllSessionsEnded, now, &ClientInfo::default());
        self.core.revocations.invalidate_all(self.core.ports.store.invalidate_sessions(&event)?);
        Ok(())
    }
}
