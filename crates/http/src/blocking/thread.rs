//! A pool of threads of its own, behind bounded queues.

use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use actix_web::rt::time::timeout;
use tokio::sync::oneshot;

use crate::blocking::BlockingError;
use crate::blocking::queue::{Bounds, Job, Queues};
use crate::limit::in_flight::Class;
use crate::request_id::{RequestId, current_request_id, scope_blocking};

/// Bounded queues before a few threads, one for each class of callers.
///
/// Dropping it finishes what runs and answers [`BlockingError::Overloaded`] to what waits.
#[derive(Debug)]
pub(crate) struct ThreadPool {
    queue: Arc<Queue>,
    threads: Vec<JoinHandle<()>>,
}

impl ThreadPool {
    /// Starts `threads` threads, before which `queue` jobs may wait.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub(crate) fn start(name: &str, threads: usize, queue: usize) -> io::Result<Self> {
        let capacity = threads.saturating_add(queue);
        let bounds = Bounds { recognized: capacity, anonymous: capacity, anonymous_running: threads };
        Self::start_with(name, threads, bounds)
    }

    pub(super) fn start_with(name: &str, threads: usize, bounds: Bounds) -> io::Result<Self> {
        let queue = Arc::new(Queue { queues: Mutex::new(Queues::new(bounds)), changed: Condvar::new() });
        let threads = (0..threads).map(|n| {
            let queue = Arc::clone(&queue);
            thread::Builder::new().name(format!("{name}-{n}")).spawn(move || queue.serve())
        });
        Ok(Self { threads: threads.collect::<io::Result<_>>()?, queue })
    }

    /// Does `work` in turn, in a pool without classes.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, BlockingError> {
        let (_turn, answer) = self.push(Class::Recognized, work)?;
        // No answer at all: the job was dropped before its turn.
        answer.await.unwrap_or(Err(BlockingError::Overloaded))
    }

    /// Does `work` in turn, unless it has not begun after `longest_wait`. `gives_up` receives the time since the job began,
    /// several times per second: once it returns `true`, the caller gets [`BlockingError::Unfinished`], and the job goes on.
    pub(crate) async fn run_within<T: Send + 'static>(
        &self,
        longest_wait: Duration,
        gives_up: impl Fn(Duration) -> bool,
        class: Class,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, BlockingError> {
        let (turn, mut answer) = self.push(class, work)?;
        let pushed = Instant::now();
        loop {
            if let Ok(outcome) = timeout(longest_wait.min(CHECK_EVERY), &mut answer).await {
                // No answer at all: the job was dropped before its turn.
                return outcome.unwrap_or(Err(BlockingError::Overloaded));
            }
            match turn.begun() {
                Some(begun) if gives_up(begun.elapsed()) => return Err(BlockingError::Unfinished),
                None if pushed.elapsed() >= longest_wait && turn.take() => {
                    return Err(BlockingError::Overloaded);
                }
                Some(_) | None => {}
            }
        }
    }

    /// Queues `work`. The answer comes only while the returned turn is kept.
    fn push<T: Send + 'static>(
        &self,
        class: Class,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<(Turn, Answer<T>), BlockingError> {
        let (reply, answer) = oneshot::channel();
        let turn = Turn::default();
        let task = Task { work, request: current_request_id(), turn: turn.clone(), reply };
        self.queue.push(class, Box::new(task))?;
        Ok((turn, answer))
    }

    /// Drops what nobody waits for, ahead of its turn.
    pub(super) fn forget_abandoned(&self) {
        self.queue.lock().forget_abandoned();
    }

    /// How many jobs wait.
    pub(super) fn waiting(&self) -> usize {
        self.queue.lock().waiting()
    }

    /// Whether a job of this class would be accepted now.
    pub(super) fn has_room(&self, class: Class) -> bool {
        self.queue.lock().has_room(class)
    }

    /// Takes on no more work, and answers [`BlockingError::Overloaded`] to what waits.
    pub(super) fn close(&self) {
        self.queue.close();
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        self.close();
        for thread in self.threads.drain(..) {
            // A thread ends by returning: it outlives the panics of its jobs.
            let _never_panicked = thread.join();
        }
    }
}

struct Queue {
    queues: Mutex<Queues>,
    changed: Condvar,
}

impl Queue {
    /// Adds a job, and wakes one thread. No other wake-up is needed: a thread sleeps only if no job may begin, and the
    /// thread whose job ended takes the one that may begin then.
    fn push(&self, class: Class, job: Box<dyn Job>) -> Result<(), BlockingError> {
        let pushed = self.lock().push(class, job);
        // A refused job is dropped without the lock.
        pushed.map_err(|_refused| BlockingError::Overloaded)?;
        self.changed.notify_one();
        Ok(())
    }

    fn close(&self) {
        let dropped = self.lock().close();
        drop(dropped);
        self.changed.notify_all();
    }

    /// Does job after job until the queue is closed.
    fn serve(&self) {
        while let Some((class, job)) = self.next() {
            job.run();
            self.lock().end(class);
        }
    }

    /// Waits for a job that a caller still wants, and counts it as running; `None` once the queue is closed.
    fn next(&self) -> Option<(Class, Box<dyn Job>)> {
        let mut queues = self.lock();
        loop {
            match queues.begin_next() {
                Some(next) => return Some(next),
                None if queues.is_closed() => return None,
                None => queues = self.changed.wait(queues).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").finish_non_exhaustive()
    }
}

struct Task<W, T> {
    work: W,
    request: Option<RequestId>,
    turn: Turn,
    reply: oneshot::Sender<Result<T, BlockingError>>,
}

type Answer<T> = oneshot::Receiver<Result<T, BlockingError>>;

impl<T: Send, W: FnOnce() -> T + Send> Job for Task<W, T> {
    fn is_wanted(&self) -> bool {
        !self.turn.is_taken()
    }

    fn run(self: Box<Self>) {
        let Self { work, request, turn, reply } = *self;
        if !turn.begin() {
            return;
        }
        let outcome = catch_unwind(AssertUnwindSafe(|| scope_blocking(request, work)));
        // A client that left meanwhile misses the answer.
        let _unread = reply.send(outcome.map_err(|_panic| BlockingError::Panicked));
    }
}

/// Decides whether a job runs or is given up. The first to take it decides: the thread that would run the job, or the
/// request that waits for it. A request that ends takes it by dropping its clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Turn(Arc<TurnState>);

#[derive(Debug, Default)]
struct TurnState {
    is_taken: AtomicBool,
    /// When the job began.
    begun: OnceLock<Instant>,
}

impl Turn {
    /// Takes it for the job, which begins now; `false` if it was taken before.
    pub(super) fn begin(&self) -> bool {
        let begins = self.take();
        if begins {
            self.0.begun.get_or_init(Instant::now);
        }
        begins
    }

    /// Takes it to give the job up; `false` if it was taken before.
    pub(super) fn take(&self) -> bool {
        !self.0.is_taken.swap(true, Ordering::AcqRel)
    }

    fn is_taken(&self) -> bool {
        self.0.is_taken.load(Ordering::Acquire)
    }

    fn begun(&self) -> Option<Instant> {
        self.0.begun.get().copied()
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.take();
    }
}

/// How often a caller whose answer is late checks whether to wait on.
const CHECK_EVERY: Duration = Duration::from_millis(250);
