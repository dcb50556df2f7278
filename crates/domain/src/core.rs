//! What the services of an instance share.

use std::num::NonZeroU32;
use std::sync::Arc;

use crate::audit::{EventKind, SecurityEvent};
use crate::client::ClientInfo;
use crate::id::SessionId;
use crate::maintenance::{Losses, Skew, Writes};
use crate::password::policy::PasswordPolicy;
use crate::ports::{Clock, Ports, SecureRandom};
use crate::session::Lifetimes;
use crate::session::revocation::Revocations;
use crate::time::UnixTime;

/// The state that all services of an instance share: the ports, the configuration, and what is known of ended sessions and
/// of the store's clock.
///
/// Each subject has a service over it. Build those that are needed, and keep
/// [`Maintenance`](crate::maintenance::Maintenance) running: no token is issued or accepted until its
/// [`sync`](crate::maintenance::Maintenance::sync) has succeeded once.
///
/// ```
/// use portcullis_domain::{AuthConfig, AuthService, Core, maintenance::Maintenance};
///
/// let core = Core::new(portcullis_testkit::ports(), AuthConfig::default());
/// let auth = AuthService::new(&core);
/// Maintenance::new(&core).sync()?;
/// # Ok::<(), portcullis_domain::maintenance::SyncError>(())
/// ```
#[derive(Debug)]
pub struct Core {
    pub(crate) ports: Ports,
    pub(crate) config: AuthConfig,
    pub(crate) revocations: Revocations,
    pub(crate) skew: Skew,
    pub(crate) writes: Writes,
    pub(crate) losses: Losses,
}

impl Core {
    /// Combines the ports and the configuration of one instance.
    pub fn new(ports: Ports, config: AuthConfig) -> Arc<Self> {
        Arc::new(Self {
            ports,
            config,
            revocations: Revocations::default(),
            skew: Skew::default(),
            writes: Writes::default(),
            losses: Losses::default(),
        })
    }

    /// Returns the configuration.
    pub fn config(&self) -> &AuthConfig {
        &self.config
    }

    /// Returns the clock.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.ports.clock
    }

    /// Returns the source of randomness.
    pub fn random(&self) -> &Arc<dyn SecureRandom> {
        &self.ports.random
    }

    pub(crate) fn event(&self, kind: EventKind, at: UnixTime, client: &ClientInfo) -> SecurityEvent {
        SecurityEvent::new(kind, at, client, self.ports.random.as_ref())
    }

    /// Takes sessions for ended from now on: after the store committed, and before anybody is told.
    pub(crate) fn mark_ended(&self, ended: impl IntoIterator<Item = SessionId>, at: UnixTime) {
        self.revocations.insert(ended, at, self.ports.clock.uptime());
    }
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
