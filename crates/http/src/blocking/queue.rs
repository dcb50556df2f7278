//! The two queues before a pool's threads. They only decide; the pool locks them and runs the jobs.

use std::collections::VecDeque;

use crate::limit::in_flight::Class;

/// Work that waits for a thread.
pub(super) trait Job: Send {
    /// Whether the caller still waits for the outcome. Otherwise the job is dropped.
    fn is_wanted(&self) -> bool;

    fn run(self: Box<Self>);
}

/// The bounds of a pool.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// How many jobs of recognized callers wait or run at most.
    pub(super) recognized: usize,
    /// How many jobs of anonymous callers wait or run at most.
    pub(super) anonymous: usize,
    /// How many jobs of anonymous callers run at most.
    pub(super) anonymous_running: usize,
}

/// The jobs that wait, and how many run.
pub(super) struct Queues {
    bounds: Bounds,
    recognized: ClassQueue,
    anonymous: ClassQueue,
    /// How many recognized callers in a row began while an anonymous one waited.
    in_a_row: u32,
    is_closed: bool,
}

#[derive(Default)]
struct ClassQueue {
    jobs: VecDeque<Box<dyn Job>>,
    /// The jobs that threads have taken. A job whose thread was only notified still counts in `jobs`.
    running: usize,
}

impl Queues {
    pub(super) fn new(bounds: Bounds) -> Self {
        let (recognized, anonymous) = Default::default();
        Self { bounds, recognized, anonymous, in_a_row: 0, is_closed: false }
    }

    /// Adds a job to the end of its class's queue.
    ///
    /// # Errors
    /// Returns the job if the queue is full or closed.
    pub(super) fn push(&mut self, class: Class, job: Box<dyn Job>) -> Result<(), Box<dyn Job>> {
        match self.has_room(class) {
            true => {
                self.queue(class).jobs.push_back(job);
                Ok(())
            }
            false => Err(job),
        }
    }

    /// Whether a job of that class would be accepted now.
    pub(super) fn has_room(&mut self, class: Class) -> bool {
        let is_closed = self.is_closed;
        let capacity = match class {
            Class::Recognized => self.bounds.recognized,
            Class::Anonymous => self.bounds.anonymous,
        };
        let queue = self.queue(class);
        if queue.taken() >= capacity {
            queue.forget_abandoned();
        }
        !is_closed && queue.taken() < capacity
    }

    /// Takes the job whose turn it is, and counts it as running until [`Self::end`].
    pub(super) fn begin_next(&mut self) -> Option<(Class, Box<dyn Job>)> {
        loop {
            let class = self.next_class()?;
            let queue = self.queue(class);
            let job = queue.jobs.pop_front()?;
            if !job.is_wanted() {
                continue;
            }
            queue.running += 1;
            self.in_a_row = match class {
                Class::Recognized if !self.anonymous.jobs.is_empty() => self.in_a_row.saturating_add(1),
                _ => 0,
            };
            return Some((class, job));
        }
    }

    /// Counts a job of that class as done.
    pub(super) fn end(&mut self, class: Class) {
        self.queue(class).running -= 1;
    }

    /// How many jobs wait.
    pub(super) fn waiting(&self) -> usize {
        self.recognized.jobs.len() + self.anonymous.jobs.len()
    }

    /// Drops the jobs whose callers left.
    pub(super) fn forget_abandoned(&mut self) {
        self.recognized.forget_abandoned();
        self.anonymous.forget_abandoned();
    }

    /// Refuses further jobs, and returns those that wait.
    pub(super) fn close(&mut self) -> Vec<Box<dyn Job>> {
        self.is_closed = true;
        self.recognized.jobs.drain(..).chain(self.anonymous.jobs.drain(..)).collect()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_closed
    }

    fn next_class(&self) -> Option<Class> {
        let recognized = !self.recognized.jobs.is_empty();
        let anonymous =
            !self.anonymous.jobs.is_empty() && self.anonymous.running < self.bounds.anonymous_running;
        match (recognized, anonymous) {
            (true, true) if self.in_a_row >= RECOGNIZED_IN_A_ROW => Some(Class::Anonymous),
            (true, _) => Some(Class::Recognized),
            (false, true) => Some(Class::Anonymous),
            (false, false) => None,
        }
    }

    fn queue(&mut self, class: Class) -> &mut ClassQueue {
        match class {
            Class::Recognized => &mut self.recognized,
            Class::Anonymous => &mut self.anonymous,
        }
    }
}

impl ClassQueue {
    fn taken(&self) -> usize {
        self.jobs.len() + self.running
    }

    fn forget_abandoned(&mut self) {
        self.jobs.retain(|job| job.is_wanted());
    }
}

/// How many recognized callers go before an anonymous one that waits. Anonymous callers keep a quarter of the turns, so
/// that busy users never shut out users at new addresses and registrations.
const RECOGNIZED_IN_A_ROW: u32 = 3;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::limit::in_flight::Class::{Anonymous, Recognized};

    /// Writes its name down when it runs.
    struct Named {
        name: usize,
        is_wanted: Arc<AtomicBool>,
        ran: Arc<Mutex<Vec<usize>>>,
    }

    impl Job for Named {
        fn is_wanted(&self) -> bool {
            self.is_wanted.load(Ordering::Relaxed)
        }

        fn run(self: Box<Self>) {
            self.ran.lock().unwrap().push(self.name);
        }
    }

    struct Fixture {
        queues: Queues,
        ran: Arc<Mutex<Vec<usize>>>,
    }

    impl Fixture {
        fn new(capacity: usize, anonymous_running: usize) -> Self {
            let bounds = Bounds { recognized: capacity, anonymous: capacity, anonymous_running };
            Self { queues: Queues::new(bounds), ran: Arc::default() }
        }

        /// Whether it was taken on, and what a caller drops by leaving.
        fn push(&mut self, class: Class, name: usize) -> Option<Arc<AtomicBool>> {
            let is_wanted = Arc::new(AtomicBool::new(true));
            let job = Named { name, is_wanted: Arc::clone(&is_wanted), ran: Arc::clone(&self.ran) };
            self.queues.push(class, Box::new(job)).ok().map(|()| is_wanted)
        }

        fn begin(&mut self) -> Option<Class> {
            let (class, job) = self.queues.begin_next()?;
            job.run();
            Some(class)
        }

        fn ran(&self) -> Vec<usize> {
            self.ran.lock().unwrap().clone()
        }
    }

    #[test]
    fn full_anonymous_queue_leaves_recognized_capacity_free() {
        let mut fixture = Fixture::new(3, 1);
        let crowd = (0..10).filter(|n| fixture.push(Anonymous, *n).is_some()).count();
        assert_eq!(crowd, 3);
        assert!(!fixture.queues.has_room(Anonymous) && fixture.queues.has_room(Recognized));
        let owners = (10..20).filter(|n| fixture.push(Recognized, *n).is_some()).count();
        assert_eq!(owners, 3, "and its own queue is bounded too");
    }

    #[test]
    fn running_jobs_keep_their_place_until_they_end() {
        let mut fixture = Fixture::new(1, 1);
        fixture.push(Anonymous, 0).unwrap();
        assert_eq!(fixture.begin(), Some(Anonymous));
        assert!(fixture.push(Anonymous, 1).is_none());
        fixture.queues.end(Anonymous);
        assert!(fixture.push(Anonymous, 2).is_some());
    }

    #[test]
    fn recognized_job_overtakes_waiting_anonymous_jobs() {
        let mut fixture = Fixture::new(8, 4);
        for name in 0..4 {
            fixture.push(Anonymous, name).unwrap();
        }
        assert_eq!(fixture.begin(), Some(Anonymous));
        fixture.push(Recognized, 9).unwrap();
        assert_eq!(fixture.begin(), Some(Recognized));
        assert_eq!(fixture.ran(), [0, 9]);
    }

    #[test]
    fn anonymous_jobs_leave_a_thread_free() {
        let mut fixture = Fixture::new(8, 3);
        for name in 0..8 {
            fixture.push(Anonymous, name).unwrap();
        }
        for _ in 0..3 {
            assert_eq!(fixture.begin(), Some(Anonymous));
        }
        assert!(fixture.begin().is_none(), "the fourth thread waits");
        fixture.push(Recognized, 9).unwrap();
        assert_eq!(fixture.begin(), Some(Recognized));
        fixture.queues.end(Anonymous);
        assert_eq!(fixture.begin(), Some(Anonymous), "one ended, so the next begins");
        assert!(fixture.begin().is_none());
    }

    #[test]
    fn anonymous_jobs_get_every_fourth_turn() {
        let mut fixture = Fixture::new(100, 4);
        for name in 0..20 {
            fixture.push(Recognized, name).unwrap();
            fixture.push(Anonymous, 100 + name).unwrap();
        }
        let turns = (0..20).map(|_| {
            let class = fixture.begin().unwrap();
            fixture.queues.end(class);
            class
        });
        let turns: Vec<_> = turns.collect();
        for four in turns.chunks(4) {
            assert_eq!(four, [Recognized, Recognized, Recognized, Anonymous]);
        }
        let ran = fixture.ran();
        let (recognized, anonymous): (Vec<usize>, Vec<usize>) = ran.into_iter().partition(|name| *name < 100);
        assert_eq!(recognized, (0..15).collect::<Vec<_>>(), "first come, first served");
        assert_eq!(anonymous, (100..105).collect::<Vec<_>>());
    }

    #[test]
    fn recognized_jobs_use_all_turns_if_no_other_waits() {
        let mut fixture = Fixture::new(100, 1);
        for name in 0..9 {
            fixture.push(Recognized, name).unwrap();
        }
        assert!((0..9).all(|_| fixture.begin() == Some(Recognized)));
        assert_eq!(fixture.begin(), None);
    }

    #[test]
    fn abandoned_jobs_never_run_and_free_their_place() {
        for class in [Recognized, Anonymous] {
            let mut fixture = Fixture::new(2, 2);
            let left = fixture.push(class, 0).unwrap();
            fixture.push(class, 1).unwrap();
            assert!(fixture.push(class, 2).is_none());
            left.store(false, Ordering::Relaxed);
            let also_left = fixture.push(class, 3).unwrap();
            assert_eq!(fixture.queues.waiting(), 2);
            also_left.store(false, Ordering::Relaxed);
            assert_eq!(fixture.begin(), Some(class));
            assert_eq!(fixture.begin(), None);
            assert_eq!(fixture.ran(), [1]);
        }
    }

    #[test]
    fn closed_queues_return_what_waits_and_refuse_more() {
        let mut fixture = Fixture::new(8, 8);
        fixture.push(Recognized, 0).unwrap();
        fixture.push(Anonymous, 1).unwrap();
        assert_eq!(fixture.queues.close().len(), 2);
        assert!(fixture.queues.is_closed() && fixture.begin().is_none());
        assert!(fixture.push(Recognized, 2).is_none() && fixture.push(Anonymous, 3).is_none());
    }
}
