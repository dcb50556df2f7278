use std::sync::Arc;

use crate::core::Core;

/// Keeps an instance in step with its store. Every method blocks except [`Maintenance::purger`], [`Maintenance::writes`]
/// and [`Maintenance::revocations`].
///
/// Call [`Maintenance::sync`] several times per second, [`Maintenance::check_writes`] and
/// [`Maintenance::end_lost_sessions`] about once per second, and run a [`Purger`](super::Purger), each on a thread of its own.
#[derive(Clone, Debug)]
pub struct Maintenance {
    pub(super) core: Arc<Core>,
}

impl Maintenance {
    /// Creates the service.
    pub fn new(core: &Arc<Core>) -> Self {
        Self { core: Arc::clone(core) }
    }
}
