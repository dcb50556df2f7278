use std::sync::Arc;

use crate::core::{AuthConfig, Core};
use crate::token::VerificationKey;

/// Registers, logs in, refreshes, logs out and authenticates.
///
/// No token is issued or accepted until [`Maintenance::sync`](crate::maintenance::Maintenance::sync) has succeeded once.
///
/// Every method blocks except [`AuthService::authenticate`], [`AuthService::refreshed_session`], [`AuthService::config`]
/// and [`AuthService::verification_keys`]. Clones are cheap and share all state.
#[derive(Clone, Debug)]
pub struct AuthService {
    pub(crate) core: Arc<Core>,
}

impl AuthService {
    /// Creates the service.
    pub fn new(core: &Arc<Core>) -> Self {
        Self { core: Arc::clone(core) }
    }

    /// Returns the configuration.
    pub fn config(&self) -> &AuthConfig {
        self.core.config()
    }

    /// Returns the public keys that verify the access tokens.
    pub fn verification_keys(&self) -> Vec<VerificationKey> {
        self.core.ports.access_tokens.verification_keys(self.core.ports.clock.now())
    }
}
