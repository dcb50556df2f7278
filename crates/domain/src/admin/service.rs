use std::sync::Arc;

use crate::core::Core;

/// Administers users and sessions. Every method blocks, and takes the [`Authority`](super::Authority) to do so.
#[derive(Clone, Debug)]
pub struct Admin {
    pub(super) core: Arc<Core>,
}

impl Admin {
    /// Creates the service.
    pub fn new(core: &Arc<Core>) -> Self {
        Self { core: Arc::clone(core) }
    }
}
