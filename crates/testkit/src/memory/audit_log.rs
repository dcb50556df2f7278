use portcullis_domain::audit::{AuditLog, SecurityEvent, StoredEvent};
use portcullis_domain::id::{EventId, UserId};
use portcullis_domain::ports::StoreError;

use super::MemoryStore;

impl AuditLog for MemoryStore {
    fn record_event(&self, event: &SecurityEvent) -> Result<(), StoreError> {
        self.lock().record(event.clone())
    }

    fn list_events(
        &self,
        user: UserId,
        before: Option<EventId>,
        most: u32,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        let state = self.lock();
        let theirs = state.events.iter().filter(|event| event.user == Some(user));
        let mut found: Vec<_> = theirs
            .filter(|event| before.is_none_or(|before| event.id < before))
            .map(StoredEvent::from)
            .collect();
        found.sort_by_key(|event| std::cmp::Reverse(event.id));
        found.truncate(most as usize);
        Ok(found)
    }
}
