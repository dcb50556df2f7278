//! The queue of this process's writers to one SQLite file.
//!
//! SQLite lets one connection write and makes the others try again now and then: under steady load an unlucky one
//! never hits the moment. Here they go in turn; SQLite's own waiting is left for other processes.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Lets one writer in at a time, in the order they came. Each may leave the next one a `Baton`.
pub(super) struct WriterQueue<Baton> {
    state: Mutex<State<Baton>>,
    patience: Duration,
}

struct State<Baton> {
    /// The one whose turn it is, then those who wait; each is woken by its own condition.
    writers: VecDeque<Arc<Condvar>>,
    /// What the last one left for the next one.
    left: Option<Baton>,
}

impl<Baton> WriterQueue<Baton> {
    /// A queue in which nobody waits longer than `patience`.
    pub(super) fn new(patience: Duration) -> Self {
        Self { state: Mutex::new(State { writers: VecDeque::new(), left: None }), patience }
    }

    /// Waits for its turn and takes what was left for it; `None` when the turn did not come in time.
    pub(super) fn enter(&self) -> Option<(Turn<'_, Baton>, Option<Baton>)> {
        let this = Arc::new(Condvar::new());
        let mut state = self.lock();
        state.writers.push_back(Arc::clone(&this));
        let must_wait =
            |state: &mut State<Baton>| !state.writers.front().is_some_and(|first| Arc::ptr_eq(first, &this));
        let (mut state, waited) =
            this.wait_timeout_while(state, self.patience, must_wait).unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            state.writers.retain(|other| !Arc::ptr_eq(other, &this));
            return None;
        }
        let left = state.left.take();
        Some((Turn { queue: self, is_over: false }, left))
    }

    /// How many have the turn or wait for it.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.lock().writers.len()
    }

    fn lock(&self) -> MutexGuard<'_, State<Baton>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<Baton> fmt::Debug for WriterQueue<Baton> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriterQueue").field("patience", &self.patience).finish_non_exhaustive()
    }
}

/// The right to write. Dropping it lets the next one in.
pub(super) struct Turn<'a, Baton> {
    queue: &'a WriterQueue<Baton>,
    is_over: bool,
}

impl<Baton> Turn<'_, Baton> {
    /// Lets the next one in and leaves it `thing` as its baton. Where nobody waits, gives both back.
    pub(super) fn hand_over<T>(
        mut self,
        thing: T,
        as_baton: impl FnOnce(T) -> Baton,
    ) -> Result<(), (Self, T)> {
        let mut state = self.queue.lock();
        if state.writers.len() == 1 {
            drop(state);
            return Err((self, thing));
        }
        // Under the same lock, so that the next one cannot have given up: it has the turn with the baton.
        state.left = Some(as_baton(thing));
        self.is_over = true;
        let_next_in(state);
        Ok(())
    }

    /// Lets the next one in, now or when there is one, and leaves it something.
    pub(super) fn leave(self, baton: Baton) {
        self.queue.lock().left = Some(baton);
    }
}

impl<Baton> Drop for Turn<'_, Baton> {
    fn drop(&mut self) {
        if !self.is_over {
            let_next_in(self.queue.lock());
        }
    }
}

fn let_next_in<Baton>(mut state: MutexGuard<'_, State<Baton>>) {
    state.writers.pop_front();
    let next = state.writers.front().cloned();
    // Unlocked first: whoever wakes needs the lock.
    drop(state);
    if let Some(next) = next {
        next.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // ASVS 15.4.4
    #[test]
    fn writers_go_in_the_order_they_came() {
        let queue = WriterQueue::<()>::new(Duration::from_mins(1));
        let order = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            let first = queue.enter().unwrap();
            for n in 0..8 {
                let (queue, order) = (&queue, &order);
                scope.spawn(move || {
                    let _turn = queue.enter().unwrap();
                    order.lock().unwrap().push(n);
                });
                while queue.len() < n + 2 {
                    std::thread::yield_now();
                }
            }
            drop(first);
        });
        assert_eq!(*order.lock().unwrap(), [0, 1, 2, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn the_next_one_takes_what_was_left() {
        let queue = WriterQueue::new(Duration::from_millis(10));
        let (turn, left) = queue.enter().unwrap();
        assert_eq!(left, None);
        turn.leave("baton");
        let (turn, left) = queue.enter().unwrap();
        assert_eq!(left, Some("baton"));
        drop(turn);
        assert_eq!(queue.enter().unwrap().1, None);
    }

    #[test]
    fn who_gives_up_leaves_the_queue() {
        let queue = WriterQueue::<()>::new(Duration::from_millis(10));
        let (turn, _) = queue.enter().unwrap();
        assert!(queue.enter().is_none());
        assert!(turn.hand_over((), |()| ()).is_err(), "nobody waits any more, and the turn is over");
        assert!(queue.enter().is_some());
    }

    #[test]
    fn a_writer_that_panics_lets_the_next_one_in() {
        let queue = WriterQueue::<()>::new(Duration::from_millis(10));
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _turn = queue.enter().unwrap();
            panic!("in the middle of a write");
        }));
        assert!(panicked.is_err());
        assert!(queue.enter().is_some());
    }
}
