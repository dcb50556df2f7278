use portcullis_domain::audit::SecurityEvent;
use portcullis_domain::ports::StoreError;
use portcullis_domain::throttle::{
    AccountKey, AttemptCounter, AttemptDecision, AttemptStore, LoginAttempt, end_of,
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
        state.record_all(attempt.event_after(counter.attempts).into_iter().collect())?;
        state.counters.insert(attempt.counter, StoredCounter { counter, user: attempt.user });
        Ok(AttemptDecision::Granted { attempts: counter.attempts })
    }

    fn purge_counters(&self, now: UnixTime, most: u32, ended: &SecurityEvent) -> Result<usize, StoreError> {
        let mut state = self.lock();
        let over = state.counters.iter().filter(|(_, stored)| stored.counter.is_over(now));
        let over: Vec<_> = over.take(most as usize).map(|(key, stored)| (*key, *stored)).collect();
        let ends = over.iter().filter_map(|(key, stored)| {
            let event = end_of(*key, stored.counter.attempts, ended)?;
            Some(SecurityEvent { user: stored.user, ..event })
        });
        state.record_all(ends.collect())?;
        for (key, _) in &over {
            state.counters.remove(key);
        }
        Ok(over.len())
    }
}
