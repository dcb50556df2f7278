//! The only bridge from the event loop to work that blocks: two lanes.
//!
//! A use case with a password in it keeps a processor busy for a good part of a second, on purpose. Such work
//! stands in a bounded queue of its own, so that a storm of logins costs the storm an honest 503 and nobody else
//! anything. The rest waits for the store alone, on the threads of `web::block`; their queue has no bounds, so this
//! lane sets them, in number and in time.

mod fair_share;

use std::collections::VecDeque;
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
use portcullis_domain::AuthService;
use portcullis_domain::ports::Clock;
use tokio::sync::{Semaphore, oneshot};

pub(crate) use self::fair_share::Applicant;
use self::fair_share::{FairShare, Place};
use crate::Api;
use crate::request_id::{RequestId, current_request_id, scope_blocking};

/// Which way work goes.
#[derive(Clone, Debug)]
pub(crate) enum Lane {
    /// To the store alone.
    Data,
    /// To the store alone, before the other lane is entered. Where that is full, nothing is asked.
    AheadOfPassword,
    /// Through a password hash, on somebody's behalf.
    Password(Applicant),
}

/// How much password work is taken on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PasswordLaneConfig {
    /// How many passwords are hashed at the same time.
    pub hashing_threads: NonZeroUsize,
    /// How many use cases wait in line; who comes when it is full is told to come back.
    pub queue: NonZeroUsize,
}

impl PasswordLaneConfig {
    /// How many use cases are under way at the same time: two more than are hashing, so that some wait for the store,
    /// before or after their hash, while as many hash as can.
    pub const fn threads(self) -> NonZeroUsize {
        self.hashing_threads.saturating_add(2)
    }

    /// How many use cases wait or are under way, at most.
    const fn places(self) -> usize {
        self.queue.get().saturating_add(self.threads().get())
    }
}

/// Two hashes at a time and 8 in line, which two cores do in less than two seconds where a hash takes 300 ms. Who would
/// wait longer is served sooner by coming back.
impl Default for PasswordLaneConfig {
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

impl Api {
    /// Does `work` on a thread that may block, as part of the current request.
    ///
    /// # Errors
    /// [`BlockingError`].
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        lane: Lane,
        work: impl FnOnce(&AuthService) -> T + Send + 'static,
    ) -> Result<T, BlockingError> {
        let auth = self.auth.clone();
        let work = move || work(&auth);
        match lane {
            Lane::Data => self.data_lane.run(work).await,
            Lane::AheadOfPassword => {
                self.password_lane.has_room()?;
                self.data_lane.run(work).await
            }
            Lane::Password(applicant) => self.password_lane.run(&applicant, work).await,
        }
    }
}

/// The threads of `web::block`, with as many jobs as there are places, each of which waits only so long.
#[derive(Debug)]
pub(crate) struct DataLane {
    places: Arc<Semaphore>,
    longest_wait: Duration,
}

impl DataLane {
    pub(crate) fn new() -> Self {
        Self::with_bounds(DATA_LANE_PLACES, LONGEST_WAIT)
    }

    fn with_bounds(places: usize, longest_wait: Duration) -> Self {
        Self { places: Arc::new(Semaphore::new(places)), longest_wait }
    }

    /// Does `work` when a thread is free. What has not begun by then is given up, and so is what nobody waits for.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, BlockingError> {
        // The job holds its place until a thread has seen it: one that was given up is still in the queue.
        let place = Arc::clone(&self.places).try_acquire_owned();
        let place = place.map_err(|_all_taken| BlockingError::Overloaded)?;
        let request = current_request_id();
        let turn = Turn::default();
        let turn_of_job = turn.clone();
        #[expect(clippy::disallowed_methods, reason = "the one place")]
        let done = web::block(move || {
            let _place = place;
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

/// How many jobs of the data lane wait or run, in the whole process. Healthy stores do so many in far less time than
/// [`LONGEST_WAIT`]; the bound keeps the memory that a blocked one costs within a few megabytes.
const DATA_LANE_PLACES: usize = 1_024;

/// How long a job may wait before it begins. Who would wait longer is served sooner by coming back.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// The lane of work with a password in it: a queue before the threads, in which nobody has more than a few places.
#[derive(Debug)]
pub(crate) struct PasswordLane {
    lane: ThreadLane,
    /// `None`: without limits.
    share: Option<Arc<FairShare>>,
    clock: Arc<dyn Clock>,
    counters: Arc<Counters>,
}

impl PasswordLane {
    /// Starts the threads. Whether everybody gets only a few places is a matter of the limits.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub(crate) fn start(
        config: PasswordLaneConfig,
        is_limited: bool,
        clock: Arc<dyn Clock>,
    ) -> io::Result<Self> {
        Ok(Self {
            lane: ThreadLane::start("password", config.threads().get(), config.queue.get())?,
            share: is_limited.then(|| Arc::new(FairShare::of(config.places()))),
            clock,
            counters: Arc::default(),
        })
    }

    /// What is waiting and what was done so far.
    pub(crate) fn counts(&self) -> LaneCounts {
        LaneCounts {
            waiting: self.lane.queue.lock().jobs.len(),
            shed: self.counters.shed.load(Ordering::Relaxed),
            begun: self.counters.begun.load(Ordering::Relaxed),
            waited: Duration::from_micros(self.counters.waited_micros.load(Ordering::Relaxed)),
        }
    }

    /// Does `work` when its turn comes.
    async fn run<T: Send + 'static>(
        &self,
        applicant: &Applicant,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, BlockingError> {
        let outcome = match self.place_for(applicant) {
            Ok(place) => self.lane.run(self.counted(place, work)).await,
            Err(error) => Err(error),
        };
        if matches!(outcome, Err(BlockingError::Overloaded)) {
            self.counters.shed.fetch_add(1, Ordering::Relaxed);
        }
        outcome
    }

    /// Turns away who would be turned away, for whatever reason but the own places.
    fn has_room(&self) -> Result<(), BlockingError> {
        self.lane.queue.has_room().inspect_err(|_overloaded| {
            self.counters.shed.fetch_add(1, Ordering::Relaxed);
        })
    }

    /// `work`, for which `place` is taken until it is over.
    fn counted<T>(
        &self,
        place: Option<Place>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> impl FnOnce() -> T + Send + 'static {
        let (clock, counters, asked) =
            (Arc::clone(&self.clock), Arc::clone(&self.counters), self.clock.uptime());
        move || {
            let _place = place;
            counters.begun(clock.uptime().saturating_sub(asked));
            work()
        }
    }

    fn place_for(&self, applicant: &Applicant) -> Result<Option<Place>, BlockingError> {
        let Some(share) = &self.share else { return Ok(None) };
        let place = share.admit(applicant).or_else(|| {
            self.lane.forget_abandoned();
            share.admit(applicant)
        });
        place.map(Some).ok_or(BlockingError::Overloaded)
    }

    /// Takes on no more work, and answers [`BlockingError::Overloaded`] to what waits.
    pub(crate) fn close(&self) {
        self.lane.close();
    }
}

/// What the password lane did since it was started. [`Api::password_lane_counts`] has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LaneCounts {
    /// How many use cases wait in line now.
    pub waiting: usize,
    /// How many were turned away: the line was full or closed, or the places of their account or address were taken.
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

/// A bounded queue before a few threads.
///
/// Dropping it finishes what runs and answers [`BlockingError::Overloaded`] to what waits.
#[derive(Debug)]
pub(crate) struct ThreadLane {
    queue: Arc<Queue>,
    threads: Vec<JoinHandle<()>>,
}

impl ThreadLane {
    /// Starts `threads` threads, before which `capacity` jobs may wait.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub(crate) fn start(name: &str, threads: usize, capacity: usize) -> io::Result<Self> {
        let places = threads.saturating_add(capacity);
        let queue = Arc::new(Queue { places, line: Mutex::new(Line::default()), changed: Condvar::new() });
        let threads = (0..threads).map(|n| {
            let queue = Arc::clone(&queue);
            thread::Builder::new().name(format!("{name}-{n}")).spawn(move || queue.serve())
        });
        Ok(Self { threads: threads.collect::<io::Result<_>>()?, queue })
    }

    /// Does `work` when its turn comes.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, BlockingError> {
        let (reply, answer) = oneshot::channel();
        self.queue.push(Box::new(Task { work, request: current_request_id(), reply }))?;
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

impl Drop for ThreadLane {
    fn drop(&mut self) {
        self.close();
        for thread in self.threads.drain(..) {
            // A thread ends by returning: it outlives the panics of its jobs.
            let _never_panicked = thread.join();
        }
    }
}

struct Queue {
    /// How many jobs wait or run, at most.
    places: usize,
    line: Mutex<Line>,
    changed: Condvar,
}

#[derive(Default)]
struct Line {
    jobs: VecDeque<Box<dyn Job>>,
    /// How many run. A thread that has been told of a job but has not taken it yet is not counted: the job still is.
    running: usize,
    is_closed: bool,
}

impl Line {
    fn taken(&self) -> usize {
        self.jobs.len() + self.running
    }

    fn forget_abandoned(&mut self) {
        self.jobs.retain(|job| job.is_wanted());
    }
}

impl Queue {
    fn push(&self, job: Box<dyn Job>) -> Result<(), BlockingError> {
        let mut line = self.line_with_room()?;
        line.jobs.push_back(job);
        drop(line);
        self.changed.notify_one();
        Ok(())
    }

    /// Whether a job would be taken now.
    fn has_room(&self) -> Result<(), BlockingError> {
        self.line_with_room().map(drop)
    }

    fn line_with_room(&self) -> Result<MutexGuard<'_, Line>, BlockingError> {
        let mut line = self.lock();
        if line.taken() >= self.places {
            line.forget_abandoned();
        }
        match line.is_closed || line.taken() >= self.places {
            true => Err(BlockingError::Overloaded),
            false => Ok(line),
        }
    }

    fn close(&self) {
        let mut line = self.lock();
        line.is_closed = true;
        let dropped = std::mem::take(&mut line.jobs);
        drop(line);
        drop(dropped);
        self.changed.notify_all();
    }

    /// Does job after job until the queue is closed.
    fn serve(&self) {
        while let Some(job) = self.next() {
            job.run();
            self.lock().running -= 1;
        }
    }

    /// Waits for a job that somebody still wants, and counts it as running; `None` once the queue is closed.
    fn next(&self) -> Option<Box<dyn Job>> {
        let mut line = self.lock();
        loop {
            match line.jobs.pop_front() {
                Some(job) if job.is_wanted() => {
                    line.running += 1;
                    return Some(job);
                }
                Some(_abandoned) => {}
                None if line.is_closed => return None,
                None => line = self.changed.wait(line).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("places", &self.places).finish_non_exhaustive()
    }
}

trait Job: Send {
    /// Whether somebody waits for the outcome. A client that left is not worth a hash.
    fn is_wanted(&self) -> bool;

    fn run(self: Box<Self>);
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

    use portcullis_testkit::SeededEntropy;
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

    fn lane_of(threads: usize, capacity: usize) -> io::Result<ThreadLane> {
        ThreadLane::start("test", threads, capacity)
    }

    /// Polls once: enough for a job to take its place in the line.
    fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[actix_web::test]
    async fn a_full_queue_refuses_before_anything_runs() {
        let lane = lane_of(1, 1).unwrap();
        let (work, has_started, open) = gate();
        let mut running = pin!(lane.run(work));
        assert!(poll(running.as_mut()).is_pending());
        has_started.recv().unwrap();
        let mut waiting = pin!(lane.run(|| "second"));
        assert!(poll(waiting.as_mut()).is_pending());

        let refused = lane.run(|| -> &str { panic!("must not run") }).await;
        assert_eq!(refused, Err(BlockingError::Overloaded));

        open.send(()).unwrap();
        assert_eq!(running.await, Ok("done"));
        assert_eq!(waiting.await, Ok("second"));
    }

    /// However long they take to wake up.
    #[actix_web::test]
    async fn as_many_as_there_are_threads_and_places_are_taken_on_at_once() {
        let lane = lane_of(4, 1).unwrap();
        let (open, opened) = sync_channel::<()>(0);
        let opened = Arc::new(Mutex::new(opened));
        let job = || {
            let opened = Arc::clone(&opened);
            // It ends when the sender is dropped.
            lane.run(move || opened.lock().unwrap().recv().is_err())
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
        let lane = lane_of(1, 2).unwrap();
        let (work, has_started, open) = gate();
        let mut running = pin!(lane.run(work));
        assert!(poll(running.as_mut()).is_pending());
        has_started.recv().unwrap();

        let (ran, has_run) = sync_channel(1);
        {
            let mut leaving = pin!(lane.run(move || ran.send(()).unwrap()));
            assert!(poll(leaving.as_mut()).is_pending());
        }
        open.send(()).unwrap();
        assert_eq!(running.await, Ok("done"));
        assert_eq!(lane.run(|| "next").await, Ok("next"));
        assert!(has_run.recv().is_err(), "it was dropped, and its sender with it");
    }

    #[actix_web::test]
    async fn a_panic_is_its_jobs_own() {
        let lane = lane_of(1, 1).unwrap();
        assert_eq!(lane.run(|| panic!("on purpose")).await, Err::<(), _>(BlockingError::Panicked));
        assert_eq!(lane.run(|| "alive").await, Ok("alive"));
    }

    #[actix_web::test]
    async fn a_panic_on_the_data_lane_is_its_jobs_own() {
        let lane = DataLane::with_bounds(1, LONGEST_WAIT);
        assert_eq!(lane.run(|| panic!("on purpose")).await, Err::<(), _>(BlockingError::Panicked));
        assert_eq!(lane.run(|| "alive").await, Ok("alive"));
    }

    /// Runs a test where `web::block` has one thread.
    fn on_one_thread<T>(test: impl Future<Output = T>) -> T {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.max_blocking_threads(1).enable_time().build().unwrap().block_on(test)
    }

    #[test]
    fn a_full_data_lane_refuses_before_anything_runs() {
        on_one_thread(async {
            let lane = DataLane::with_bounds(2, LONGEST_WAIT);
            let (work, has_started, open) = gate();
            let mut running = pin!(lane.run(work));
            assert!(poll(running.as_mut()).is_pending());
            has_started.recv().unwrap();
            let mut waiting = pin!(lane.run(|| "second"));
            assert!(poll(waiting.as_mut()).is_pending());

            let refused = lane.run(|| -> &str { panic!("must not run") }).await;
            assert_eq!(refused, Err(BlockingError::Overloaded));

            open.send(()).unwrap();
            assert_eq!(running.await, Ok("done"));
            assert_eq!(waiting.await, Ok("second"));
            assert_eq!(lane.run(|| "third").await, Ok("third"), "and has room again");
        });
    }

    #[test]
    fn what_waits_too_long_for_the_data_lane_is_given_up() {
        on_one_thread(async {
            let lane = DataLane::with_bounds(8, LONGEST_WAIT);
            let (work, has_started, open) = gate();
            let mut running = pin!(lane.run(work));
            assert!(poll(running.as_mut()).is_pending());
            has_started.recv().unwrap();

            let hurried = DataLane::with_bounds(8, Duration::ZERO);
            let (ran, has_run) = sync_channel(1);
            let given_up = hurried.run(move || ran.send(()).unwrap()).await;
            assert_eq!(given_up, Err(BlockingError::Overloaded));

            open.send(()).unwrap();
            assert_eq!(running.await, Ok("done"));
            assert_eq!(lane.run(|| "next").await, Ok("next"));
            assert!(has_run.recv().is_err(), "it was dropped, and its sender with it");
        });
    }

    #[test]
    fn what_has_begun_on_the_data_lane_is_waited_for() {
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
            let lane = DataLane::with_bounds(8, LONGEST_WAIT);
            let (work, has_started, open) = gate();
            let mut running = pin!(lane.run(work));
            assert!(poll(running.as_mut()).is_pending());
            has_started.recv().unwrap();

            let (ran, has_run) = sync_channel(1);
            {
                let mut leaving = pin!(lane.run(move || ran.send(()).unwrap()));
                assert!(poll(leaving.as_mut()).is_pending());
            }
            open.send(()).unwrap();
            assert_eq!(running.await, Ok("done"));
            assert_eq!(lane.run(|| "next").await, Ok("next"));
            assert!(has_run.recv().is_err(), "it was dropped, and its sender with it");
        });
    }

    #[actix_web::test]
    async fn closing_finishes_what_runs_and_refuses_what_waits() {
        let lane = lane_of(1, 2).unwrap();
        let (work, has_started, open) = gate();
        let mut running = pin!(lane.run(work));
        assert!(poll(running.as_mut()).is_pending());
        has_started.recv().unwrap();
        let mut waiting = pin!(lane.run(|| -> &str { panic!("must not run") }));
        assert!(poll(waiting.as_mut()).is_pending());

        lane.close();
        assert_eq!(waiting.await, Err(BlockingError::Overloaded));
        assert_eq!(lane.run(|| "late").await, Err(BlockingError::Overloaded));
        open.send(()).unwrap();
        assert_eq!(running.await, Ok("done"));
    }

    #[actix_web::test]
    async fn dropping_waits_for_what_runs() {
        let lane = lane_of(1, 1).unwrap();
        let (work, has_started, open) = gate();
        let (finished, has_finished) = sync_channel(1);
        {
            let mut running = pin!(lane.run(move || {
                work();
                finished.send(()).unwrap();
            }));
            assert!(poll(running.as_mut()).is_pending());
            has_started.recv().unwrap();
        }
        open.send(()).unwrap();
        drop(lane);
        assert!(has_finished.try_recv().is_ok());
    }

    #[actix_web::test]
    async fn both_lanes_belong_to_the_request() {
        let lane = lane_of(1, 1).unwrap();
        let id = RequestIds::new(&SeededEntropy::new(1)).next(NOW);
        request_id::scope(id, async {
            assert_eq!(lane.run(current_request_id).await, Ok(Some(id)));
            assert_eq!(DataLane::new().run(current_request_id).await, Ok(Some(id)));
        })
        .await;
        assert_eq!(lane.run(current_request_id).await, Ok(None), "and leave it again");
    }
}
