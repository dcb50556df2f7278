//! Administration: what an operator does to users and sessions.

mod authority;
mod sessions;
mod users;

use std::sync::Arc;

pub use self::authority::Authority;
pub use self::users::{AdminError, SetPasswordError};
use crate::core::Core;

/// Administers users and sessions. Every method blocks, and takes the [`Authority`] to do so.
#[derive(Clone, Debug)]
pub struct Admin {
    pub(crate) core: Arc<Core>,
}

impl Admin {
    /// Creates the service.
    pub fn new(core: &Arc<Core>) -> Self {
        Self { core: Arc::clone(core) }
    }
}
