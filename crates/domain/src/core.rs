//! [`AuthService`], the use cases over [`Ports`]: one verb each, in the file of its subject.

use std::num::NonZeroU32;
use std::sync::Arc;

use crate::account::User;
use crate::audit::{EventKind, SecurityEvent};
use crate::client::ClientInfo;
use crate::id::{SessionId, TokenId, UserId};
use crate::maintenance::{Skew, Writes};
use crate::password::policy::PasswordPolicy;
use crate::ports::Ports;
use crate::session::revocation::Revocations;
use crate::session::{Generation, Lifetimes, NewSession};
use crate::throttle::{Admitted, SuccessfulAttempt};
use crate::time::UnixTime;
use crate::token::{Claims, RefreshClaims, SignError, TokenSet, VerificationKey};

/// Registers, logs in, refreshes, logs out and authenticates, over [`Ports`].
///
/// It gives out no token and takes none for good before the first [`AuthService::sync`], which is to be called a few
/// times a second from then on.
///
/// Every method blocks except [`AuthService::authenticate`], [`AuthService::refreshed_session`], [`AuthService::rules`],
/// [`AuthService::purger`] and [`AuthService::verification_keys`]. Cheap to clone and to share: clones are the same service.
#[derive(Clone, Debug)]
pub struct AuthService {
    pub(crate) ports: Ports,
    pub(crate) rules: Arc<AuthConfig>,
    pub(crate) revocations: Arc<Revocations>,
    pub(crate) skew: Arc<Skew>,
    pub(crate) writes: Arc<Writes>,
}

/// What an operator decides about the use cases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthConfig {
    /// Whether anybody may register.
    pub registration_enabled: bool,
    /// What new passwords must be like.
    pub password: PasswordPolicy,
    /// How long tokens and sessions last.
    pub lifetimes: Lifetimes,
    /// How many live sessions a user may have; a login beyond it ends the oldest.
    pub max_sessions_per_user: NonZeroU32,
}

impl Default for AuthConfig {
    fn default() -> Self {
        Self {
            registration_enabled: true,
            password: PasswordPolicy::default(),
            lifetimes: Lifetimes::default(),
            max_sessions_per_user: MAX_SESSIONS_PER_USER,
        }
    }
}

/// More devices than anybody has; and a bound on what one account can make the store keep.
const MAX_SESSIONS_PER_USER: NonZeroU32 = NonZeroU32::new(50).unwrap();

impl AuthService {
    /// A service over these ports, by these rules.
    pub fn new(ports: Ports, rules: AuthConfig) -> Self {
        Self {
            ports,
            rules: Arc::new(rules),
            revocations: Arc::default(),
            skew: Arc::default(),
            writes: Arc::default(),
        }
    }

    /// The rules it goes by.
    pub fn rules(&self) -> &AuthConfig {
        &self.rules
    }

    /// The public keys with which others verify the access tokens.
    pub fn verification_keys(&self) -> Vec<VerificationKey> {
        self.ports.access_tokens.verification_keys(self.ports.clock.now())
    }

    pub(crate) fn event(&self, kind: EventKind, at: UnixTime, client: &ClientInfo) -> SecurityEvent {
        SecurityEvent::new(kind, at, client, self.ports.random.as_ref())
    }

    /// A new session of `user`, as it was when the password of `attempt` was verified.
    pub(crate) fn new_session(
        &self,
        user: &User,
        attempt: SuccessfulAttempt,
        now: UnixTime,
        client: &ClientInfo,
    ) -> NewSession {
        let lifetimes = self.rules.lifetimes;
        let absolute_expires_at = now + lifetimes.refresh_absolute;
        NewSession {
            id: SessionId::new(now, self.ports.random.as_ref()),
            user: user.id,
            credential_version: user.credential_version,
            opened_at: now,
            expires_at: absolute_expires_at.min(now + lifetimes.refresh_idle),
            absolute_expires_at,
            max_per_user: self.rules.max_sessions_per_user,
            client: client.clone(),
            attempt,
        }
    }

    /// The first tokens of a session just opened, for somebody whom the gate let in.
    pub(crate) fn first_tokens(
        &self,
        _let_in: &Admitted,
        session: &NewSession,
    ) -> Result<TokenSet, SignError> {
        let carried_on = CarriedOn {
            user: session.user,
            session: session.id,
            generation: Generation::FIRST,
            opened_at: session.opened_at,
            expires_at: session.expires_at,
        };
        self.issue(&carried_on, session.opened_at)
    }

    /// The tokens of a session, issued at `now`: the time that the store was given. No token outlives its session.
    pub(crate) fn issue(&self, session: &CarriedOn, now: UnixTime) -> Result<TokenSet, SignError> {
        let refresh_expires_in = session.expires_at.since(now);
        let access_expires_in = self.rules.lifetimes.access.min(refresh_expires_in);
        let claims = Claims {
            user: session.user,
            session: session.session,
            token: TokenId::new(now, self.ports.random.as_ref()),
            opened_at: session.opened_at,
            issued_at: now,
            not_before: now,
            expires_at: now + access_expires_in,
        };
        let refresh = RefreshClaims { session: session.session, generation: session.generation };
        Ok(TokenSet {
            access: self.ports.access_tokens.sign(&claims)?,
            access_expires_in,
            refresh: self.ports.refresh_tokens.issue(refresh),
            refresh_expires_in,
            session: session.session,
        })
    }

    /// Takes sessions for ended from now on: after the store committed, and before anybody is told.
    pub(crate) fn mark_ended(&self, ended: impl IntoIterator<Item = SessionId>, at: UnixTime) {
        self.revocations.insert(ended, at, self.ports.clock.uptime());
    }
}

/// A session that gets tokens.
pub(crate) struct CarriedOn {
    pub(crate) user: UserId,
    pub(crate) session: SessionId,
    pub(crate) generation: Generation,
    pub(crate) opened_at: UnixTime,
    pub(crate) expires_at: UnixTime,
}
