//! The queue of this process's writers to one SQLite file.
//!
//! SQLite lets one connection write and makes the others try again now and then: under steady load an unlucky one
//! never hits the moment. Here they go in turn; SQLite's own waiting is left for other processes.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Lets one writer in at a time, in the order they came. Each may leave the next one a `Baton`. Who waits may leave a
/// `Job` in line, which another does whose turn it is.
pub(super) struct WriterQueue<Baton, Job> {
    state: Mutex<State<Baton, Job>>,
    patience: Duration,
}

struct State<Baton, Job> {
    /// The one whose turn it is, then those who wait.
    writers: VecDeque<Writer<Job>>,
    /// What the last one left for the next one.
    left: Option<Baton>,
}

struct Writer<Job> {
    /// Each is woken by its own condition.
    wake: Arc<Condvar>,
    job: Option<Job>,
}

impl<Baton, Job> State<Baton, Job> {
    fn position(&self, of: &Arc<Condvar>) -> Option<usize> {
        self.writers.iter().position(|writer| Arc::ptr_eq(&writer.wake, of))
    }
}

/// What came of waiting.
pub(super) enum Entered<'a, Baton, Job> {
    /// Its turn: with what was left for it, and its own job.
    Turn(Turn<'a, Baton, Job>, Option<Baton>, Option<Job>),
    /// Another took its job.
    Taken,
}

impl<Baton, Job> WriterQueue<Baton, Job> {
    /// A queue in which nobody waits longer than `patience`.
    pub(super) fn new(patience: Duration) -> Self {
        Self { state: Mutex::new(State { writers: VecDeque::new(), left: None }), patience }
    }

    /// Waits for its turn, or until `job` was taken; `None` when neither came in time.
    pub(super) fn enter(&self, job: Option<Job>) -> Option<Entered<'_, Baton, Job>> {
        let wake = Arc::new(Condvar::new());
        let mut state = self.lock();
        state.writers.push_back(Writer { wake: Arc::clone(&wake), job });
        let must_wait = |state: &mut State<Baton, Job>| state.position(&wake).is_some_and(|place| place > 0);
        let (mut state, _timeout) =
            wake.wait_timeout_while(state, self.patience, must_wait).unwrap_or_else(PoisonError::into_inner);
        match state.position(&wake) {
            None => Some(Entered::Taken),
            Some(0) => {
                let job = state.writers.front_mut().and_then(|writer| writer.job.take());
                Some(Entered::Turn(Turn { queue: self, is_over: false }, state.left.take(), job))
            }
            Some(place) => {
                state.writers.remove(place);
                None
            }
        }
    }

    /// How many have the turn or wait for it.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.lock().writers.len()
    }

    fn lock(&self) -> MutexGuard<'_, State<Baton, Job>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<Baton, Job> fmt::Debug for WriterQueue<Baton, Job> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriterQueue").field("patience", &self.patience).finish_non_exhaustive()
    }
}

/// The right to write. Dropping it lets the next one in.
pub(super) struct Turn<'a, Baton, Job> {
    queue: &'a WriterQueue<Baton, Job>,
    is_over: bool,
}

impl<Baton, Job> Turn<'_, Baton, Job> {
    /// Takes the next one's job out of the line, if it left one there. Who left it waits on, at most until `Asleep` is
    /// dropped.
    pub(super) fn take_job(&self) -> Option<(Job, Asleep)> {
        let mut state = self.queue.lock();
        let job = state.writers.get_mut(1)?.job.take()?;
        let writer = state.writers.remove(1)?;
        Some((job, Asleep(writer.wake)))
    }

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

impl<Baton, Job> Drop for Turn<'_, Baton, Job> {
    fn drop(&mut self) {
        if !self.is_over {
            let_next_in(self.queue.lock());
        }
    }
}

fn let_next_in<Baton, Job>(mut state: MutexGuard<'_, State<Baton, Job>>) {
    state.writers.pop_front();
    let next = state.writers.front().map(|writer| Arc::clone(&writer.wake));
    // Unlocked first: whoever wakes needs the lock.
    drop(state);
    if let Some(next) = next {
        next.notify_one();
    }
}

/// Who waits for a job that was taken. Dropping it wakes the sleeper up.
pub(super) struct Asleep(Arc<Condvar>);

impl Drop for Asleep {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::thread::{scope, yield_now};

    use super::*;

    type Tested = WriterQueue<&'static str, u32>;

    const PATIENT: Duration = Duration::from_mins(1);
    const IMPATIENT: Duration = Duration::from_millis(10);

    impl Tested {
        /// Its turn, with what was left.
        fn turn(&self) -> (Turn<'_, &'static str, u32>, Option<&'static str>) {
            match self.enter(None) {
                Some(Entered::Turn(turn, left, None)) => (turn, left),
                _ => panic!("no turn"),
            }
        }

        fn wait_for(&self, writers: usize) {
            while self.len() < writers {
                yield_now();
            }
        }
    }

    // ASVS 15.4.4
    #[test]
    fn writers_go_in_the_order_they_came() {
        let queue = Tested::new(PATIENT);
        let order = Mutex::new(Vec::new());
        scope(|scope| {
            let first = queue.turn();
            for n in 0..8 {
                let (queue, order) = (&queue, &order);
                scope.spawn(move || {
                    let _turn = queue.turn();
                    order.lock().unwrap().push(n);
                });
                queue.wait_for(n + 2);
            }
            drop(first);
        });
        assert_eq!(*order.lock().unwrap(), [0, 1, 2, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn the_next_one_takes_what_was_left() {
        let queue = Tested::new(IMPATIENT);
        let (turn, left) = queue.turn();
        assert_eq!(left, None);
        turn.leave("baton");
        let (turn, left) = queue.turn();
        assert_eq!(left, Some("baton"));
        drop(turn);
        assert_eq!(queue.turn().1, None);
    }

    #[test]
    fn jobs_are_taken_in_order_up_to_the_first_who_left_none() {
        let queue = Tested::new(PATIENT);
        scope(|scope| {
            let (turn, _left) = queue.turn();
            let mut sleepers = Vec::new();
            for (n, job) in [Some(1), Some(2), None, Some(3)].into_iter().enumerate() {
                let queue = &queue;
                sleepers.push(scope.spawn(move || queue.enter(job)));
                queue.wait_for(n + 2);
            }
            let (first, first_asleep) = turn.take_job().unwrap();
            let (second, second_asleep) = turn.take_job().unwrap();
            assert_eq!((first, second, turn.take_job().is_none()), (1, 2, true));
            assert_eq!(queue.len(), 3, "this one, and those who left no job or came later");
            drop((first_asleep, second_asleep));
            let mut sleepers = sleepers.into_iter();
            for sleeper in sleepers.by_ref().take(2) {
                assert!(matches!(sleeper.join().unwrap(), Some(Entered::Taken)));
            }
            drop(turn);
            let without = sleepers.next().unwrap().join().unwrap();
            assert!(matches!(without, Some(Entered::Turn(_, None, None))));
            drop(without);
            let last = sleepers.next().unwrap().join().unwrap();
            assert!(matches!(last, Some(Entered::Turn(_, None, Some(3)))), "nobody took its job: it does it");
        });
    }

    #[test]
    fn who_gives_up_leaves_the_queue_and_takes_the_job_along() {
        let queue = Tested::new(IMPATIENT);
        let (turn, _left) = queue.turn();
        assert!(queue.enter(Some(1)).is_none());
        assert!(turn.take_job().is_none());
        assert!(
            turn.hand_over("baton", |baton| baton).is_err(),
            "nobody waits any more, and the turn is over"
        );
        assert_eq!(queue.turn().1, None);
    }

    #[test]
    fn a_writer_that_panics_lets_the_next_one_in() {
        let queue = Tested::new(IMPATIENT);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _turn = queue.turn();
            panic!("in the middle of a write");
        }));
        assert!(panicked.is_err());
        assert_eq!(queue.turn().1, None);
    }
}
