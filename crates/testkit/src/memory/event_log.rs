use portcullis_domain::event::SecurityEvent;
use portcullis_domain::ports::{EventLog, StoreError};

use super::MemoryStore;

impl EventLog for MemoryStore {
    fn record(&self, event: &SecurityEvent) -> Result<(), StoreError> {
        self.lock().record(event.clone())
    }
}
