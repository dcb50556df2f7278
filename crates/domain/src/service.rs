//! The use cases: one verb of [`AuthService`] each, in a file of its name.

mod activity;
mod authenticate;
mod catch_up;
mod change_password;
mod delete_account;
mod gate;
mod login;
mod logout;
mod me;
mod operator;
mod readiness;
mod refresh;
mod register;
mod sessions;
mod sweep;

use std::num::NonZeroU32;
use std::sync::Arc;

pub use activity::Activity;
pub use authenticate::ConfirmError;
use catch_up::Skew;
pub use catch_up::{CatchUpError, ClockNotTrusted, MAX_SKEW};
pub use change_password::{ChangePasswordError, PasswordChange};
pub use delete_account::DeleteAccountError;
use gate::Admitted;
pub use login::{Credentials, LoginError};
pub use logout::{LogoutError, LogoutToken};
pub use me::MeError;
pub use operator::{OperatorError, SetPasswordError};
use readiness::Writes;
pub use readiness::{Check, Readiness, WRITES_SETTLE_WITHIN, WRITES_STALE_AFTER};
pub use refresh::RefreshError;
pub use register::{RegisterError, Registration};
pub use sessions::EndSessionError;
pub use sweep::Sweeper;

use crate::client::ClientInfo;
use crate::event::{EventKind, SecurityEvent};
use crate::id::{SessionId, TokenId, UserId};
use crate::password::policy::{PasswordPolicy, PasswordViolation};
use crate::ports::{Ports, SignError};
use crate::revocation::Revocations;
use crate::session::{Generation, Lifetimes, NewSession};
use crate::throttle::RightAttempt;
use crate::time::UnixTime;
use crate::token::{Claims, RefreshClaims, TokenSet, VerificationKey};
use crate::user::User;
use crate::username::UsernameViolation;

/// Registers, logs in, refreshes, logs out and authenticates, over [`Ports`].
///
/// It gives out no token and takes none for good before the first [`AuthService::catch_up`], which is to be called a few
/// times a second from then on.
///
/// Every method blocks except [`AuthService::authenticate`], [`AuthService::refreshed_session`], [`AuthService::rules`],
/// [`AuthService::sweeper`] and [`AuthService::verification_keys`]. Cheap to clone and to share: clones are the same service.
#[derive(Clone, Debug)]
pub struct AuthService {
    ports: Ports,
    rules: Arc<Rules>,
    revocations: Arc<Revocations>,
    skew: Arc<Skew>,
    writes: Arc<Writes>,
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
    /// How many live sessions a user may have; a login beyond it ends the oldest.
    pub max_sessions_per_user: NonZeroU32,
}

impl Default for Rules {
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
    pub fn new(ports: Ports, rules: Rules) -> Self {
        Self {
            ports,
            rules: Arc::new(rules),
            revocations: Arc::default(),
            skew: Arc::default(),
            writes: Arc::default(),
        }
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

    /// A new session of `user`, as it was when the password of `attempt` was verified.
    fn new_session(
        &self,
        user: &User,
        attempt: RightAttempt,
        now: UnixTime,
        client: &ClientInfo,
    ) -> NewSession {
        let lifetimes = self.rules.lifetimes;
        let absolute_expires_at = now + lifetimes.refresh_absolute;
        NewSession {
            id: SessionId::new(now, self.ports.entropy.as_ref()),
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
    fn first_tokens(&self, _let_in: &Admitted, session: &NewSession) -> Result<TokenSet, SignError> {
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
    fn issue(&self, session: &CarriedOn, now: UnixTime) -> Result<TokenSet, SignError> {
        let refresh_expires_in = session.expires_at.since(now);
        let access_expires_in = self.rules.lifetimes.access.min(refresh_expires_in);
        let claims = Claims {
            user: session.user,
            session: session.session,
            token: TokenId::new(now, self.ports.entropy.as_ref()),
            opened_at: session.opened_at,
            issued_at: now,
            not_before: now,
            expires_at: now + access_expires_in,
        };
        let refresh = RefreshClaims { session: session.session, generation: session.generation };
        Ok(TokenSet {
            access: self.ports.access_tokens.sign(&claims)?,
            access_expires_in,
            refresh: self.ports.refresh_tokens.seal(refresh),
            refresh_expires_in,
            session: session.session,
        })
    }

    /// Takes sessions for ended from now on: after the store committed, and before anybody is told.
    fn mark_ended(&self, ended: impl IntoIterator<Item = SessionId>, at: UnixTime) {
        self.revocations.insert(ended, at, self.ports.clock.uptime());
    }
}

/// A session that gets tokens.
struct CarriedOn {
    user: UserId,
    session: SessionId,
    generation: Generation,
    opened_at: UnixTime,
    expires_at: UnixTime,
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
