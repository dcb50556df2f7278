use std::time::Duration;

use portcullis_domain::ports::{StoreError, StoreHealth, StoreStatus};

use super::MemoryStore;

impl StoreHealth for MemoryStore {
    fn check(&self) -> Result<StoreStatus, StoreError> {
        Ok(StoreStatus { migrated: true, time: self.lock().store_time() })
    }

    fn check_writes(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Changes of the memory never wait.
    fn oldest_write(&self) -> Option<Duration> {
        None
    }
}
