//! The use cases: one verb of [`AuthService`] each, in a file of its name.

mod authenticate;
mod login;
mod logout;
mod me;
mod readiness;
mod refresh;
mod register;

use std::sync::Arc;

pub use authenticate::ConfirmError;
pub use login::{Credentials, LoginError};
pub use logout::{LogoutError, LogoutToken};
pub use me::MeError;
pub use readiness::{Check, Readiness};
pub use refresh::RefreshError;
pub use register::{RegisterError, Registration};

use crate::client::ClientInfo;
use crate::event::{EventKind, SecurityEvent};
use crate::id::{SessionId, TokenId, UserId};
use crate::password::policy::{PasswordPolicy, PasswordViolation};
use crate::ports::{Ports, SignError};
use crate::revocation::Revocations;
use crate::session::{Generation, Lifetimes};
use crate::time::UnixTime;
use crate::token::{Claims, RefreshClaims, TokenSet, VerificationKey};
use crate::username::UsernameViolation;

/// Registers, logs in, refreshes, logs out and authenticates, over [`Ports`].
///
/// Every method blocks except [`AuthService::authenticate`], [`AuthService::rules`] and
/// [`AuthService::verification_keys`]. Cheap to clone and to share: clones are the same service.
#[derive(Clone, Debug)]
pub struct AuthService {
    ports: Ports,
    rules: Arc<Rules>,
    revocations: Arc<Revocations>,
}

/// What an operator decides about the use cases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Whether anybody may register.
    pub registration_enabled: bool,
    /// What new passwords must be like.
    pub password: PasswordPolicy,
    /// How long tokens and sessions last.
    pub lifetimes: Lifetimes,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            registration_enabled: true,
            password: PasswordPolicy::default(),
            lifetimes: Lifetimes::default(),
        }
    }
}

impl AuthService {
    /// A service over these ports, by these rules.
    pub fn new(ports: Ports, rules: Rules) -> Self {
        Self { ports, rules: Arc::new(rules), revocations: Arc::new(Revocations::new()) }
    }

    /// The rules it goes by.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// The public keys with which others verify the access tokens.
    pub fn verification_keys(&self) -> Vec<VerificationKey> {
        self.ports.access_tokens.verification_keys(self.ports.clock.now())
    }

    fn event(&self, kind: EventKind, at: UnixTime, client: &ClientInfo) -> SecurityEvent {
        SecurityEvent::new(kind, at, client, self.ports.entropy.as_ref())
    }

    /// The tokens of `session` at `generation`, issued at `now`: the time that the store was given.
    fn issue(
        &self,
        user: UserId,
        session: SessionId,
        generation: Generation,
        expires_at: UnixTime,
        now: UnixTime,
    ) -> Result<TokenSet, SignError> {
        let access_expires_in = self.rules.lifetimes.access;
        let claims = Claims {
            user,
            session,
            token: TokenId::new(now, self.ports.entropy.as_ref()),
            issued_at: now,
            not_before: now,
            expires_at: now + access_expires_in,
        };
        Ok(TokenSet {
            access: self.ports.access_tokens.sign(&claims)?,
            access_expires_in,
            refresh: self.ports.refresh_tokens.seal(RefreshClaims { session, generation }),
            refresh_expires_in: expires_at.since(now),
            session,
        })
    }
}

/// What is wrong with a username and a password, all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rejections {
    /// The rules that the username breaks.
    pub username: Vec<UsernameViolation>,
    /// The rules that the password breaks.
    pub password: Vec<PasswordViolation>,
}

impl Rejections {
    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.username.is_empty() && self.password.is_empty()
    }
}
