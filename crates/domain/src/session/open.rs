use crate::account::User;
use crate::client::ClientInfo;
use crate::core::Core;
use crate::id::SessionId;
use crate::session::{NewSession, Proof};
use crate::time::UnixTime;

impl Core {
    /// A new session of `user`, as it was when the client gave the proof.
    pub(crate) fn new_session(
        &self,
        user: &User,
        proof: Proof,
        now: UnixTime,
        client: &ClientInfo,
    ) -> NewSession {
        let lifetimes = self.config.lifetimes;
        let absolute_expires_at = now + lifetimes.refresh_absolute;
        NewSession {
            id: SessionId::new(now, self.ports.random.as_ref()),
            user: user.id,
            credential_version: user.credential_version,
            opened_at: now,
            expires_at: absolute_expires_at.min(now + lifetimes.refresh_idle),
            absolute_expires_at,
            max_per_user: self.config.max_sessions_per_user,
            client: client.clone(),
            proof,
        }
    }
}
