//! The queue of this process's writers to one SQLite file.
//!
//! SQLite lets one connection write and makes the others try again now and then: under steady load an unlucky one
//! never hits the moment. Here they go in turn; SQLite's own waiting is left for other processes.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Lets one writer in at a time, in the order they came.
#[derive(Debug)]
pub(super) struct WriterGate {
    /// The one whose turn it is, then those who wait; each is woken by its own condition.
    queue: Mutex<Queue>,
    patience: Duration,
}

type Queue = VecDeque<Arc<Condvar>>;

impl WriterGate {
    /// A gate at which nobody waits longer than `patience`.
    pub(super) fn new(patience: Duration) -> Self {
        Self { queue: Mutex::default(), patience }
    }

    /// Waits for its turn; `None` when that did not come in time.
    pub(super) fn enter(&self) -> Option<Turn<'_>> {
        let this = Arc::new(Condvar::new());
        let mut queue = self.lock();
        queue.push_back(Arc::clone(&this));
        let must_wait = |queue: &mut Queue| !queue.front().is_some_and(|first| Arc::ptr_eq(first, &this));
        let (mut queue, waited) =
            this.wait_timeout_while(queue, self.patience, must_wait).unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            queue.retain(|other| !Arc::ptr_eq(other, &this));
            return None;
        }
        Some(Turn { gate: self })
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to write. Dropping it lets the next one in.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    gate: &'a WriterGate,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut queue = self.gate.lock();
        queue.pop_front();
        if let Some(next) = queue.front() {
            next.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writers_go_in_the_order_they_came() {
        let gate = WriterGate::new(Duration::from_mins(1));
        let order = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            let first = gate.enter().unwrap();
            for n in 0..8 {
                let (gate, order) = (&gate, &order);
                scope.spawn(move || {
                    let _turn = gate.enter().unwrap();
                    order.lock().unwrap().push(n);
                });
                while gate.lock().len() < n + 2 {
                    std::thread::yield_now();
                }
            }
            drop(first);
        });
        assert_eq!(*order.lock().unwrap(), [0, 1, 2, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn who_gives_up_leaves_the_queue() {
        let gate = WriterGate::new(Duration::from_millis(10));
        let turn = gate.enter().unwrap();
        assert!(gate.enter().is_none());
        drop(turn);
        assert!(gate.enter().is_some());
    }

    #[test]
    fn a_writer_that_panics_lets_the_next_one_in() {
        let gate = WriterGate::new(Duration::from_millis(10));
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _turn = gate.enter().unwrap();
            panic!("in the middle of a write");
        }));
        assert!(panicked.is_err());
        assert!(gate.enter().is_some());
    }
}
