use std::sync::Arc;

use crate::core::Core;

/// Serves users their own sessions. Every method blocks.
#[derive(Clone, Debug)]
pub struct Sessions {
    pub(super) core: Arc<Core>,
}

impl Sessions {
    /// Creates the service.
    pub fn new(core: &Arc<Core>) -> Self {
        Self { core: Arc::clone(core) }
    }
}
