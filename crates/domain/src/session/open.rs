use std::num::NonZeroU32;

use crate::account::{CredentialVersion, User};
use crate::client::ClientInfo;
use crate::core::Core;
use crate::id::{SessionId, UserId};
use crate::ports::{StoreError, StoreErrorKind};
use crate::session::{Generation, SessionGrant};
use crate::throttle::SuccessfulAttempt;
use crate::time::UnixTime;

/// A session about to be opened, at generation zero.
#[derive(Clone, Debug)]
pub struct NewSession {
    /// The new id.
    pub id: SessionId,
    /// Whose session it is.
    pub user: UserId,
    /// The user's version when the password was verified; the session opens only if it still holds.
    pub credential_version: CredentialVersion,
    /// When it opens; also the `iat` of its first access token.
    pub opened_at: UnixTime,
    /// When it ends unless it is refreshed before.
    pub expires_at: UnixTime,
    /// When it ends however often it is refreshed.
    pub absolute_expires_at: UnixTime,
    /// How many live sessions its user may have with it; the oldest end to make room.
    pub max_per_user: NonZeroU32,
    /// Who opened it.
    pub client: ClientInfo,
    /// What the client proved to open it. The store consumes it with the opening.
    pub proof: Proof,
}

impl NewSession {
    /// Returns whether the session may be opened: one opened before `valid_from` would be over at once.
    pub fn is_valid(&self, valid_from: UnixTime) -> bool {
        self.opened_at >= valid_from
    }

    /// Refuses a session that is not [valid](Self::is_valid). The clock shows a later time when the client tries again.
    ///
    /// # Errors
    /// [`StoreErrorKind::Unavailable`].
    pub fn check_valid(&self, valid_from: UnixTime) -> Result<(), StoreError> {
        match self.is_valid(valid_from) {
            true => Ok(()),
            false => Err(StoreError::new(StoreErrorKind::Unavailable, "all sessions are being ended")),
        }
    }

    /// Returns what the first tokens of the session are issued from.
    pub fn grant(&self) -> SessionGrant {
        SessionGrant {
            session: self.id,
            user: self.user,
            generation: Generation::FIRST,
            opened_at: self.opened_at,
            expires_at: self.expires_at,
        }
    }
}

/// What a client proved to be let in. A store consumes it in the transaction of the change that it allows, so that it is
/// good for one change, and refuses a proof that it does not know.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Proof {
    /// The password of the user.
    Password(SuccessfulAttempt),
}

/// What a store decided in the transaction that opened a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionOpened {
    /// What the first tokens are issued from.
    pub grant: SessionGrant,
    /// The other sessions that it ended.
    pub ended: Vec<SessionId>,
    /// What it consumed.
    pub consumed: ConsumedProof,
}

/// What a store found when it consumed a [`Proof`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConsumedProof {
    /// The password of the user.
    Password {
        /// What the counter of the attempt stood at, this attempt included; zero if there was none.
        attempts: u32,
    },
}

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
