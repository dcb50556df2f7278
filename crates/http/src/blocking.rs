//! The only bridge from the event loop to work that blocks: two pools.
//!
//! A use case with a password in it keeps a processor busy for a good part of a second, on purpose. Such work waits in
//! bounded queues of its own, one for recognized callers and one for anonymous callers: a crowd of wrong logins gets
//! 503, users at networks known to their accounts are served first, and all other requests proceed. The rest waits only
//! for the store, on the threads of `web::block`; their queue has no bounds, so this pool sets them, in number and in
//! time.

mod queue;

use std::fmt;
use std::io;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use actix_web::rt::time::timeout;
use actix_web::web;
use portcullis_domain::ports::Clock;
use tokio::sync::{Semaphore, oneshot};

use self::queue::{Bounds, Job, Queues};
use crate::limit::in_flight::{Caller, Class, FairShare, Permit};
use crate::request_id::{RequestId, current_request_id, scope_blocking};

/// Which way work goes.
#[derive(Clone, Debug)]
pub(crate) enum Pool {
    /// To the store alone.
    Data,
    /// To the store, to check a login before it enters the password pool, a few at a time. Refused if the password pool is
    /// full for every class of callers.
    LoginCheck,
    /// Through a password hash, on behalf of this caller.
    Password(Caller),
}

/// How much password work is taken on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PasswordPoolConfig {
    /// How many passwords are hashed at the same time.
    pub hashing_threads: NonZeroUsize,
    /// How many use cases of each class of callers wait; a caller whose queue is full gets 503.
    pub queue: NonZeroUsize,
}

impl PasswordPoolConfig {
    /// How many use cases are under way at the same time: two more than are hashing, so that some wait for the store,
    /// before or after their hash, while as many hash as can.
    pub const fn threads(self) -> NonZeroUsize {
        self.hashing_threads.saturating_add(2)
    }

    /// The bounds of the pool. At most `hashing_threads` anonymous callers are under way, so that a recognized caller starts
    /// at once and waits for at most one anonymous hash per hash thread. While an anonymous caller waits for the store, a
    /// hash thread may idle, for a few percent of the time of a hash.
    const fn bounds(self) -> Bounds {
        let capacity = self.queue.get().saturating_add(self.threads().get());
        Bounds { capacity, anonymous_running: self.hashing_threads.get() }
    }
}

/// Two hashes at a time and 8 in line, which two cores do in less than two seconds where a hash takes 300 ms. Who would
/// wait longer is served sooner by coming back.
impl Default for PasswordPoolConfig {
    fn default() -> Self {
        let number = |number| NonZeroUsize::new(number).unwrap_or(NonZeroUsize::MIN);
        Self { hashing_threads: number(2), queue: number(8) }
    }
}

/// The work was not done, or not to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BlockingError {
    /// There is too much work, or the service is stopping. Nothing was done.
    #[error("there is too much work")]
    Overloaded,
    /// It panicked.
    #[error("the work panicked")]
    Panicked,
}

/// The threads of `web::block`, with as many jobs as there are permits, each of which waits only so long.
#[derive(Debug)]
pub(crate) struct DataPool {
    permits: Arc<Semaphore>,
    longest_wait: Duration,
}

impl DataPool {
    pub(crate) fn new() -> Self {
        Self::with_bounds(DATA_POOL_PERMITS, LONGEST_WAIT)
    }

    fn with_bounds(permits: usize, longest_wait: Duration) -> Self {
        Self { permits: Arc::new(Semaphore::new(permits)), longest_wait }
    }

    /// Does `work` when a thread is free. What has not begun by then is given up, and so is what nobody waits for.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, BlockingError> {
        // The job holds its permit until a thread has seen it: one that was given up is still in the queue.
        let permit = Arc::clone(&self.permits).try_acquire_owned();
        let permit = permit.map_err(|_all_taken| BlockingError::Overloaded)?;
        let request = current_request_id();
        let turn = Turn::default();
        let turn_of_job = turn.clone();
        #[expect(clippy::disallowed_methods, reason = "the one place")]
        let done = web::block(move || {
            let _permit = permit;
            turn_of_job.take().then(|| scope_blocking(request, work))
        });
        let mut done = pin!(done);
        let outcome = match timeout(self.longest_wait, done.as_mut()).await {
            Ok(outcome) => outcome,
            Err(_elapsed) if turn.take() => return Err(BlockingError::Overloaded),
            // It has begun, and is waited for.
            Err(_elapsed) => done.await,
        };
        match outcome {
            Ok(done) => done.ok_or(BlockingError::Overloaded),
            Err(_panicked) => Err(BlockingError::Panicked),
        }
    }
}

/// Bounds the checks that come before logins, so that a flood of logins leaves threads of the data pool and connections
/// to the database to everything else.
#[derive(Debug)]
pub(crate) struct LoginChecks {
    /// For checks that wait or run.
    permits: Semaphore,
    /// For checks that run, in order of arrival.
    turns: Arc<Semaphore>,
    longest_wait: Duration,
}

impl LoginChecks {
    pub(crate) fn new() -> Self {
        Self::with_bounds(LOGIN_CHECKS, LOGIN_CHECKS_AT_ONCE, LONGEST_WAIT)
    }

    fn with_bounds(permits: usize, at_once: usize, longest_wait: Duration) -> Self {
        let turns = Arc::new(Semaphore::new(at_once));
        Self { permits: Semaphore::new(permits), turns, longest_wait }
    }

    /// Does `check` on `pool` in turn, unless the wait takes too long.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        pool: &DataPool,
        check: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, BlockingError> {
        let _permit = self.permits.try_acquire().map_err(|_all_taken| BlockingError::Overloaded)?;
        let turn = timeout(self.longest_wait, Arc::clone(&self.turns).acquire_owned()).await;
        let turn = turn.map_err(|_elapsed| BlockingError::Overloaded)?;
        // The check keeps its turn until it has ended, even if the client disconnects.
        pool.run(move || {
            let _turn = turn;
            check()
        })
        .await
    }
}

/// How many checks before logins wait or run, in the whole process. They are done far sooner than [`LONGEST_WAIT`]; the
/// bound keeps the memory that a flood costs within a few megabytes.
const LOGIN_CHECKS: usize = 512;

/// How many checks before logins run at the same time: half as many as `database.pool_size` is by default.
const LOGIN_CHECKS_AT_ONCE: usize = 8;

/// Whether a job is done or given up, for whoever is the first to say: the thread that would do it, or the request
/// that waits for it, by giving up or by going away.
#[derive(Clone, Debug, Default)]
struct Turn(Arc<AtomicBool>);

impl Turn {
    /// Takes it; `false` when it was taken before.
    fn take(&self) -> bool {
        !self.0.swap(true, Ordering::AcqRel)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.take();
    }
}

/// How many jobs of the data pool wait or run, in the whole process. Healthy stores do so many in far less time than
/// [`LONGEST_WAIT`]; the bound keeps the memory that a blocked one costs within a few megabytes.
const DATA_POOL_PERMITS: usize = 1_024;

/// How long a job may wait before it begins. Who would wait longer is served sooner by coming back.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// The pool of work with a password in it: a queue for each class of callers before the threads. Within a class, an
/// account, a network and a block of networks have only a few permits each.
#[derive(Debug)]
pub(crate) struct PasswordPool {
    pool: ThreadPool,
    /// `None`: without limits.
    shares: Option<Shares>,
    clock: Arc<dyn Clock>,
    counters: Arc<Counters>,
}

/// The permits of each class. What anonymous callers hold is not counted against recognized ones: guesses at an account
/// take no permit from its owner.
#[derive(Debug)]
struct Shares {
    recognized: Arc<FairShare>,
    anonymous: Arc<FairShare>,
}

impl Shares {
    fn of(capacity: usize) -> Self {
        let share = || Arc::new(FairShare::of(capacity));
        Self { recognized: share(), anonymous: share() }
    }

    fn admit(&self, caller: &Caller) -> Option<Permit> {
        match caller.class() {
            Class::Recognized => self.recognized.admit(caller),
            Class::Anonymous => self.anonymous.admit(caller),
        }
    }
}

impl PasswordPool {
    /// Starts the threads. If `is_limited`, accounts and networks have only a few permits each.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub(crate) fn start(
        config: PasswordPoolConfig,
        is_limited: bool,
        clock: Arc<dyn Clock>,
    ) -> io::Result<Self> {
        let bounds = config.bounds();
        Ok(Self {
            pool: ThreadPool::start_with("password", config.threads().get(), bounds)?,
            shares: is_limited.then(|| Shares::of(bounds.capacity)),
            clock,
            counters: Arc::default(),
        })
    }

    /// What is waiting and what was done so far.
    pub(crate) fn counts(&self) -> PoolCounts {
        PoolCounts {
            waiting: self.pool.queue.lock().waiting(),
            shed: self.counters.shed.load(Ordering::Relaxed),
            begun: self.counters.begun.load(Ordering::Relaxed),
            waited: Duration::from_micros(self.counters.waited_micros.load(Ordering::Relaxed)),
        }
    }

    /// Does `work` when its turn comes.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        caller: &Caller,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, BlockingError> {
        let outcome = match self.permit_for(caller) {
            Ok(permit) => self.pool.run_as(caller.class(), self.counted(permit, work)).await,
            Err(error) => Err(error),
        };
        if matches!(outcome, Err(BlockingError::Overloaded)) {
            self.counters.shed.fetch_add(1, Ordering::Relaxed);
        }
        outcome
    }

    /// Fails early if the pool is full for every class of callers, or closed. Permits are not checked.
    pub(crate) fn has_room(&self) -> Result<(), BlockingError> {
        let mut queues = self.pool.queue.lock();
        match queues.has_room(Class::Recognized) || queues.has_room(Class::Anonymous) {
            true => Ok(()),
            false => {
                self.counters.shed.fetch_add(1, Ordering::Relaxed);
                Err(BlockingError::Overloaded)
            }
        }
    }

    /// Returns `work`, which counts its wait and holds `permit` until it has ended.
    fn counted<T>(
        &self,
        permit: Option<Permit>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> impl FnOnce() -> T + Send + 'static {
        let (clock, counters, asked) =
            (Arc::clone(&self.clock), Arc::clone(&self.counters), self.clock.uptime());
        move || {
            let _permit = permit;
            counters.begun(clock.uptime().saturating_sub(asked));
            work()
        }
    }

    fn permit_for(&self, caller: &Caller) -> Result<Option<Permit>, BlockingError> {
        let Some(shares) = &self.shares else { return Ok(None) };
        let permit = shares.admit(caller).or_else(|| {
            self.pool.forget_abandoned();
            shares.admit(caller)
        });
        permit.map(Some).ok_or(BlockingError::Overloaded)
    }

    /// Takes on no more work, and answers [`BlockingError::Overloaded`] to what waits.
    pub(crate) fn close(&self) {
        self.pool.close();
    }
}

/// What the password pool did since it was started. `Api::password_pool_counts` has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolCounts {
    /// How many use cases wait in line now.
    pub waiting: usize,
    /// How many were refused: the queue was full or closed, or their account, network or block had all its permits.
    pub shed: u64,
    /// How many had their turn.
    pub begun: u64,
    /// How long those waited for it, added up.
    pub waited: Duration,
}

/// The same while it is counted.
#[derive(Debug, Default)]
struct Counters {
    shed: AtomicU64,
    begun: AtomicU64,
    waited_micros: AtomicU64,
}

impl Counters {
    fn begun(&self, waited: Duration) {
        let micros = u64::try_from(waited.as_micros()).unwrap_or(u64::MAX);
        self.waited_micros.fetch_add(micros, Ordering::Relaxed);
        self.begun.fetch_add(1, Ordering::Relaxed);
    }
}

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
        Self::start_with(name, threads, Bounds { capacity, anonymous_running: threads })
    }

    fn start_with(name: &str, threads: usize, bounds: Bounds) -> io::Result<Self> {
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
        self.run_as(Class::Recognized, work).await
    }

    /// Does `work` in turn.
    async fn run_as<T: Send + 'static>(
        &self,
        class: Class,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, BlockingError> {
        let (reply, answer) = oneshot::channel();
        self.queue.push(class, Box::new(Task { work, request: current_request_id(), reply }))?;
        // No answer at all: it was dropped before its turn.
        answer.await.unwrap_or(Err(BlockingError::Overloaded))
    }

    /// Drops what nobody waits for, ahead of its turn.
    fn forget_abandoned(&self) {
        self.queue.lock().forget_abandoned();
    }

    /// Takes on no more work, and answers [`BlockingError::Overloaded`] to what waits.
    fn close(&self) {
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
                Some(next) => {
                    // The job that ended may have freed the turn of another class.
                    if queues.has_next() {
                        self.changed.notify_one();
                    }
                    return Some(next);
                }
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
    reply: oneshot::Sender<Result<T, BlockingError>>,
}

impl<T: Send, W: FnOnce() -> T + Send> Job for Task<W, T> {
    fn is_wanted(&self) -> bool {
        !self.reply.is_closed()
    }

    fn run(self: Box<Self>) {
        let Self { work, request, reply } = *self;
        let outcome = catch_unwind(AssertUnwindSafe(|| scope_blocking(request, work)));
        // A client that left meanwhile misses the answer.
        let _unread = reply.send(outcome.map_err(|_panic| BlockingError::Panicked));
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
    use std::task::{Context, Poll, Waker};

    use portcullis_testkit::SeededRandom;
    use portcullis_testkit::fixtures::NOW;

    use super::*;
    use crate::request_id::{self, RequestIds};

    /// A job that tells when it starts and ends when it is told.
    fn gate() -> (impl FnOnce() -> &'static str + Send + 'static, Receiver<()>, SyncSender<()>) {
        let (started, has_started) = sync_channel(1);
        let (open, opened) = sync_channel(1);
        let work = move || {
            started.send(()).unwrap();
            opened.recv().unwrap();
            "done"
        };
        (work, has_started, open)
    }

    fn pool_of(threads: usize, capacity: usize) -> io::Result<ThreadPool> {
        ThreadPool::start("test", threads, capacity)
    }

    /// Polls once: enough for a job to take its place in the line.
    fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[actix_web::test]
    async fn a_full_queue_refuses_before_anything_runs() {
        let pool = pool_of(1, 1).unwrap();
        let (work, has_started, open) = gate();
        let mut running = pin!(pool.run(work));
        assert!(poll(running.as_mut()).is_pending());
        has_started.recv().unwrap();
        let mut waiting = pin!(pool.run(|| "second"));
        assert!(poll(waiting.as_mut()).is_pending());

        let refused = pool.run(|| -> &str { panic!("must not run") }).await;
        assert_eq!(refused, Err(BlockingError::Overloaded));

        open.send(()).unwrap();
        assert_eq!(running.await, Ok("done"));
        assert_eq!(waiting.await, Ok("second"));
    }

    /// However long they take to wake up.
    #[actix_web::test]
    async fn as_many_as_there_are_threads_and_waiting_permits_are_taken_on_at_once() {
        let pool = pool_of(4, 1).unwrap();
        let (open, opened) = sync_channel::<()>(0);
        let opened = Arc::new(Mutex::new(opened));
        let job = || {
            let opened = Arc::clone(&opened);
            // It ends when the sender is dropped.
            pool.run(move || opened.lock().unwrap().recv().is_err())
        };
        let mut taken_on: Vec<_> = (0..5).map(|_| Box::pin(job())).collect();
        assert!(taken_on.iter_mut().all(|job| poll(job.as_mut()).is_pending()));
        assert_eq!(job().await, Err(BlockingError::Overloaded));
        drop(open);
        for job in taken_on {
            assert_eq!(job.await, Ok(true));
        }
    }

    #[actix_web::test]
    async fn a_job_whose_client_left_never_runs() {
        let pool = pool_of(1, 2).unwrap();
        let (work, has_started, open) = gate();
        let mut running = pin!(pool.run(work));
        assert!(poll(running.as_mut()).is_pending());
        has_started.recv().unwrap();

        let (ran, has_run) = sync_channel(1);
        {
            let mut leaving = pin!(pool.run(move || ran.send(()).unwrap()));
            assert!(poll(leaving.as_mut()).is_pending());
        }
        open.send(()).unwrap();
        assert_eq!(running.await, Ok("done"));
        assert_eq!(pool.run(|| "next").await, Ok("next"));
        assert!(has_run.recv().is_err(), "it was dropped, and its sender with it");
    }

    #[actix_web::test]
    async fn a_panic_is_its_jobs_own() {
        let pool = pool_of(1, 1).unwrap();
        assert_eq!(pool.run(|| panic!("on purpose")).await, Err::<(), _>(BlockingError::Panicked));
        assert_eq!(pool.run(|| "alive").await, Ok("alive"));
    }

    #[actix_web::test]
    async fn a_panic_on_the_data_pool_is_its_jobs_own() {
        let pool = DataPool::with_bounds(1, LONGEST_WAIT);
        assert_eq!(pool.run(|| panic!("on purpose")).await, Err::<(), _>(BlockingError::Panicked));
        assert_eq!(pool.run(|| "alive").await, Ok("alive"));
    }

    /// Runs a test where `web::block` has one thread.
    fn on_one_thread<T>(test: impl Future<Output = T>) -> T {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.max_blocking_threads(1).enable_time().build().unwrap().block_on(test)
    }

    #[test]
    fn a_full_data_pool_refuses_before_anything_runs() {
        on_one_thread(async {
            let pool = DataPool::with_bounds(2, LONGEST_WAIT);
            let (work, has_started, open) = gate();
            let mut running = pin!(pool.run(work));
            assert!(poll(running.as_mut()).is_pending());
            has_started.recv().unwrap();
            let mut waiting = pin!(pool.run(|| "second"));
            assert!(poll(waiting.as_mut()).is_pending());

            let refused = pool.run(|| -> &str { panic!("must not run") }).await;
            assert_eq!(refused, Err(BlockingError::Overloaded));

            open.send(()).unwrap();
            assert_eq!(running.await, Ok("done"));
            assert_eq!(waiting.await, Ok("second"));
            assert_eq!(pool.run(|| "third").await, Ok("third"), "and has room again");
        });
    }

    #[test]
    fn what_waits_too_long_for_the_data_pool_is_given_up() {
        on_one_thread(async {
            let pool = DataPool::with_bounds(8, LONGEST_WAIT);
            let (work, has_started, open) = gate();
            let mut running = pin!(pool.run(work));
            assert!(poll(running.as_mut()).is_pending());
            has_started.recv().unwrap();

            let hurried = DataPool::with_bounds(8, Duration::ZERO);
            let (ran, has_run) = sync_channel(1);
            let given_up = hurried.run(move || ran.send(()).unwrap()).await;
            assert_eq!(given_up, Err(BlockingError::Overloaded));

            open.send(()).unwrap();
            assert_eq!(running.await, Ok("done"));
            assert_eq!(pool.run(|| "next").await, Ok("next"));
            assert!(has_run.recv().is_err(), "it was dropped, and its sender with it");
        });
    }

    #[test]
    fn what_has_begun_on_the_data_pool_is_waited_for() {
        let (thread, request) = (Turn::default(), Turn::default());
        let waiting = thread.clone();
        assert!(thread.take());
        assert!(!waiting.take(), "it has begun, and cannot be given up");
        let job = request.clone();
        drop(request);
        assert!(!job.take(), "nobody waits, so it does not begin");
    }

    #[test]
    fn a_data_job_whose_client_left_never_runs() {
        on_one_thread(async {
            let pool = DataPool::with_bounds(8, LONGEST_WAIT);
            let (work, has_started, open) = gate();
            let mut running = pin!(pool.run(work));
            assert!(poll(running.as_mut()).is_pending());
            has_started.recv().unwrap();

            let (ran, has_run) = sync_channel(1);
            {
                let mut leaving = pin!(pool.run(move || ran.send(()).unwrap()));
                assert!(poll(leaving.as_mut()).is_pending());
            }
            open.send(()).unwrap();
            assert_eq!(running.await, Ok("done"));
            assert_eq!(pool.run(|| "next").await, Ok("next"));
            assert!(has_run.recv().is_err(), "it was dropped, and its sender with it");
        });
    }

    #[actix_web::test]
    async fn closing_finishes_what_runs_and_refuses_what_waits() {
        let pool = pool_of(1, 2).unwrap();
        let (work, has_started, open) = gate();
        let mut running = pin!(pool.run(work));
        assert!(poll(running.as_mut()).is_pending());
        has_started.recv().unwrap();
        let mut waiting = pin!(pool.run(|| -> &str { panic!("must not run") }));
        assert!(poll(waiting.as_mut()).is_pending());

        pool.close();
        assert_eq!(waiting.await, Err(BlockingError::Overloaded));
        assert_eq!(pool.run(|| "late").await, Err(BlockingError::Overloaded));
        open.send(()).unwrap();
        assert_eq!(running.await, Ok("done"));
    }

    #[actix_web::test]
    async fn dropping_waits_for_what_runs() {
        let pool = pool_of(1, 1).unwrap();
        let (work, has_started, open) = gate();
        let (finished, has_finished) = sync_channel(1);
        {
            let mut running = pin!(pool.run(move || {
                work();
                finished.send(()).unwrap();
            }));
            assert!(poll(running.as_mut()).is_pending());
            has_started.recv().unwrap();
        }
        open.send(()).unwrap();
        drop(pool);
        assert!(has_finished.try_recv().is_ok());
    }

    /// Threads of which anonymous jobs may use all but one.
    fn reserving(threads: usize, capacity: usize) -> ThreadPool {
        ThreadPool::start_with("test", threads, Bounds { capacity, anonymous_running: threads - 1 }).unwrap()
    }

    #[actix_web::test]
    async fn recognized_job_runs_beside_a_full_anonymous_queue() {
        let pool = reserving(2, 3);
        let (work, has_started, open) = gate();
        let mut running = pin!(pool.run_as(Class::Anonymous, work));
        assert!(poll(running.as_mut()).is_pending());
        has_started.recv().unwrap();
        let mut waiting: Vec<_> =
            (0..2).map(|_| Box::pin(pool.run_as(Class::Anonymous, || "waited"))).collect();
        assert!(waiting.iter_mut().all(|job| poll(job.as_mut()).is_pending()));
        let refused = pool.run_as(Class::Anonymous, || "refused").await;
        assert_eq!(refused, Err(BlockingError::Overloaded));

        assert_eq!(pool.run_as(Class::Recognized, || "served").await, Ok("served"));
        assert!(waiting.iter_mut().all(|job| poll(job.as_mut()).is_pending()));

        open.send(()).unwrap();
        assert_eq!(running.await, Ok("done"));
        for job in waiting {
            assert_eq!(job.await, Ok("waited"));
        }
    }

    #[actix_web::test]
    async fn both_classes_are_served_to_the_last_job() {
        let pool = reserving(3, 200);
        let jobs = (0..300).map(|n| {
            let class = if n % 3 == 0 { Class::Recognized } else { Class::Anonymous };
            Box::pin(pool.run_as(class, move || n))
        });
        let mut jobs: Vec<_> = jobs.collect();
        // All are queued before any is awaited.
        let done: Vec<_> = jobs.iter_mut().map(|job| poll(job.as_mut())).collect();
        for (n, (job, done)) in jobs.into_iter().zip(done).enumerate() {
            let outcome = match done {
                Poll::Ready(outcome) => outcome,
                Poll::Pending => job.await,
            };
            assert_eq!(outcome, Ok(n));
        }
    }

    #[actix_web::test]
    async fn login_checks_run_a_few_at_a_time_in_order() {
        let pool = DataPool::with_bounds(8, LONGEST_WAIT);
        let checks = LoginChecks::with_bounds(3, 1, LONGEST_WAIT);
        let (work, has_started, open) = gate();
        let mut running = pin!(checks.run(&pool, work));
        assert!(poll(running.as_mut()).is_pending());
        has_started.recv().unwrap();
        let mut waiting: Vec<_> = (0..2).map(|n| Box::pin(checks.run(&pool, move || n))).collect();
        assert!(waiting.iter_mut().all(|check| poll(check.as_mut()).is_pending()));
        assert_eq!(checks.run(&pool, || 9).await, Err(BlockingError::Overloaded), "all permits are taken");
        assert_eq!(pool.run(|| "other work").await, Ok("other work"), "the data pool is not");

        open.send(()).unwrap();
        assert_eq!(running.await, Ok("done"));
        for (n, check) in waiting.into_iter().enumerate() {
            assert_eq!(check.await, Ok(n));
        }
        assert_eq!(checks.run(&pool, || 9).await, Ok(9), "and there is room again");
    }

    #[actix_web::test]
    async fn login_check_without_a_turn_is_given_up() {
        let pool = DataPool::with_bounds(8, LONGEST_WAIT);
        let checks = LoginChecks::with_bounds(8, 1, Duration::ZERO);
        let (work, has_started, open) = gate();
        let mut running = pin!(checks.run(&pool, work));
        assert!(poll(running.as_mut()).is_pending());
        has_started.recv().unwrap();
        let given_up = checks.run(&pool, || -> &str { panic!("must not run") }).await;
        assert_eq!(given_up, Err(BlockingError::Overloaded));
        open.send(()).unwrap();
        assert_eq!(running.await, Ok("done"));
    }

    #[actix_web::test]
    async fn both_pools_belong_to_the_request() {
        let pool = pool_of(1, 1).unwrap();
        let id = RequestIds::new(&SeededRandom::new(1)).next(NOW);
        request_id::scope(id, async {
            assert_eq!(pool.run(current_request_id).await, Ok(Some(id)));
            assert_eq!(DataPool::new().run(current_request_id).await, Ok(Some(id)));
        })
        .await;
        assert_eq!(pool.run(current_request_id).await, Ok(None), "and leave it again");
    }
}
