use std::sync::Arc;

use crate::core::Core;

/// Serves users their own account: the profile, the password, deletion and recent activity. Every method blocks.
#[derive(Clone, Debug)]
pub struct Account {
    pub(crate) core: Arc<Core>,
}

impl Account {
    /// Creates the service.
    pub fn new(core: &Arc<Core>) -> Self {
        Self { core: Arc::clone(core) }
    }
}
