//! Sessions: login, refresh, logout, and how an instance knows which sessions ended.

mod list;
mod login;
mod logout;
mod open;
mod refresh;
pub mod revocation;
mod rotation;
mod store;

use std::sync::Arc;

pub use self::list::EndSessionError;
pub use self::login::{Credentials, LoginError, LoginOutcome};
pub use self::logout::{LogoutError, LogoutToken};
pub use self::refresh::RefreshError;
pub use self::rotation::{
    CLOCK_TOLERANCE, CurrentGeneration, EndOutcome, Generation, Lifetimes, MAX_ACCESS_LIFETIME, NewSession,
    ReuseCheck, RotateOutcome, RotateRequest, Session, SessionChanges,
};
#[cfg(feature = "mocks")]
pub use self::store::MockSessionStore;
pub use self::store::{OpenSessionError, SessionStore};
use crate::core::Core;

/// Serves users their own sessions. Every method blocks.
#[derive(Clone, Debug)]
pub struct Sessions {
    pub(crate) core: Arc<Core>,
}

impl Sessions {
    /// Creates the service.
    pub fn new(core: &Arc<Core>) -> Self {
        Self { core: Arc::clone(core) }
    }
}
