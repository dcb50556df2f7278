use portcullis_domain::audit::EventsOf;
use portcullis_domain::ports::StoreError;
use portcullis_domain::throttle::{
    AccountKey, AttemptCounter, AttemptDecision, AttemptStore, LoginAttempt, PurgedCounter,
};
use portcullis_domain::time::UnixTime;

use super::{MemoryStore, StoredCounter};

impl AttemptStore for MemoryStore {
    fn find_counter(&self, counter: AccountKey) -> Result<Option<AttemptCounter>, StoreError> {
        Ok(self.lock().counters.get(&counter).map(|stored| stored.counter))
    }

    fn begin_attempt(&self, attempt: &LoginAttempt) -> Result<AttemptDecision, StoreError> {
        let mut state = self.lock();
        let before = state.counters.get(&attempt.counter).map(|stored| stored.counter);
        let Some(counter) = AttemptCounter::after_an_attempt(before, attempt.now) else {
            let until = before.map_or(attempt.now, |counter| counter.next_at);
            return Ok(AttemptDecision::Refused { until });
        };
        state.record_all(attempt.event.of(counter.attempts).cloned().into_iter().collect())?;
        state.counters.insert(attempt.counter, StoredCounter { counter, user: attempt.user });
        Ok(AttemptDecision::Granted { attempts: counter.attempts })
    }

    fn purge_counters(
        &self,
        now: UnixTime,
        most: u32,
        events: &dyn EventsOf<PurgedCounter>,
    ) -> Result<usize, StoreError> {
        let mut state = self.lock();
        let over = state.counters.iter().filter(|(_, stored)| stored.counter.is_over(now));
        let purged = over.take(most as usize).map(|(key, StoredCounter { counter, user })| PurgedCounter {
            counter: *key,
            user: *user,
            attempts: counter.attempts,
        });
        let purged: Vec<_> = purged.collect();
        state.record_all(purged.iter().flat_map(|purged| events.of(purged)).collect())?;
        for counter in &purged {
            state.counters.remove(&counter.counter);
        }
        Ok(purged.len())
    }
}
