//! The only bridge from the event loop to work that blocks: two lanes.
//!
//! A use case with a password in it keeps a processor busy for a good part of a second, on purpose. Such work
//! stands in a bounded queue of its own, so that a storm of logins costs the storm an honest 503 and nobody else
//! anything.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use actix_web::web;
use portcullis_domain::AuthService;
use tokio::sync::oneshot;

use crate::Api;
use crate::request_id::{RequestId, current_request_id, scope_blocking};

/// Which way work goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// To the store alone.
    Data,
    /// Through a password hash.
    Password,
}

/// How much password work is taken on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PasswordLaneConfig {
    /// How many passwords are hashed at the same time. The lane has two threads more, for use cases that wait for
    /// the store before or after their hash. At least 1.
    pub hashing_threads: usize,
    /// How many use cases wait in line; who comes when it is full is told to come back. At least 1.
    pub queue: usize,
}

/// Two hashes at a time and 16 in line: what two cores do in about two seconds. Who would wait longer is served
/// sooner by coming back.
impl Default for PasswordLaneConfig {
    fn default() -> Self {
        Self { hashing_threads: 2, queue: 16 }
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
            Lane::Data => on_data_lane(work).await,
            Lane::Password => self.password_lane.run(work).await,
        }
    }
}

async fn on_data_lane<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, BlockingError> {
    let request = current_request_id();
    #[expect(clippy::disallowed_methods, reason = "the one place")]
    let done = web::block(move || scope_blocking(request, work));
    done.await.map_err(|_panicked| BlockingError::Panicked)
}

/// A bounded queue before a few threads.
///
/// Dropping it finishes what runs and answers [`BlockingError::Overloaded`] to what waits.
#[derive(Debug)]
pub(crate) struct PasswordLane {
    queue: Arc<Queue>,
    threads: Vec<JoinHandle<()>>,
}

impl PasswordLane {
    /// Starts the threads.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub(crate) fn start(config: PasswordLaneConfig) -> io::Result<Self> {
        Self::with_threads(config.hashing_threads.max(1) + 2, config.queue.max(1))
    }

    fn with_threads(threads: usize, capacity: usize) -> io::Result<Self> {
        let queue = Arc::new(Queue { capacity, line: Mutex::new(Line::default()), changed: Condvar::new() });
        let threads = (0..threads).map(|n| {
            let queue = Arc::clone(&queue);
            thread::Builder::new().name(format!("password-{n}")).spawn(move || queue.serve())
        });
        Ok(Self { threads: threads.collect::<io::Result<_>>()?, queue })
    }

    /// Does `work` when its turn comes.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, BlockingError> {
        let (reply, answer) = oneshot::channel();
        self.queue.push(Box::new(Task { work, request: current_request_id(), reply }))?;
        // No answer at all: it was dropped before its turn.
        answer.await.unwrap_or(Err(BlockingError::Overloaded))
    }

    /// Takes on no more work, and answers [`BlockingError::Overloaded`] to what waits.
    pub(crate) fn close(&self) {
        self.queue.close();
    }
}

impl Drop for PasswordLane {
    fn drop(&mut self) {
        self.close();
        for thread in self.threads.drain(..) {
            // A thread ends by returning: it outlives the panics of its jobs.
            let _never_panicked = thread.join();
        }
    }
}

struct Queue {
    capacity: usize,
    line: Mutex<Line>,
    changed: Condvar,
}

#[derive(Default)]
struct Line {
    jobs: VecDeque<Box<dyn Job>>,
    is_closed: bool,
}

impl Queue {
    fn push(&self, job: Box<dyn Job>) -> Result<(), BlockingError> {
        let mut line = self.lock();
        if line.is_closed || line.jobs.len() >= self.capacity {
            return Err(BlockingError::Overloaded);
        }
        line.jobs.push_back(job);
        drop(line);
        self.changed.notify_one();
        Ok(())
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
        }
    }

    /// Waits for a job that somebody still wants; `None` once the queue is closed.
    fn next(&self) -> Option<Box<dyn Job>> {
        let mut line = self.lock();
        loop {
            match line.jobs.pop_front() {
                Some(job) if job.is_wanted() => return Some(job),
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
        f.debug_struct("Queue").field("capacity", &self.capacity).finish_non_exhaustive()
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

    use super::*;
    use crate::request_id;

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

    /// Polls once: enough for a job to take its place in the line.
    fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[actix_web::test]
    async fn a_full_queue_refuses_before_anything_runs() {
        let lane = PasswordLane::with_threads(1, 1).unwrap();
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

    #[actix_web::test]
    async fn a_job_whose_client_left_never_runs() {
        let lane = PasswordLane::with_threads(1, 2).unwrap();
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
        let lane = PasswordLane::with_threads(1, 1).unwrap();
        assert_eq!(lane.run(|| panic!("on purpose")).await, Err::<(), _>(BlockingError::Panicked));
        assert_eq!(lane.run(|| "alive").await, Ok("alive"));
    }

    #[actix_web::test]
    async fn a_panic_on_the_data_lane_is_its_jobs_own() {
        assert_eq!(on_data_lane(|| panic!("on purpose")).await, Err::<(), _>(BlockingError::Panicked));
        assert_eq!(on_data_lane(|| "alive").await, Ok("alive"));
    }

    #[actix_web::test]
    async fn closing_finishes_what_runs_and_refuses_what_waits() {
        let lane = PasswordLane::with_threads(1, 2).unwrap();
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
        let lane = PasswordLane::with_threads(1, 1).unwrap();
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
        let lane = PasswordLane::with_threads(1, 1).unwrap();
        let entropy = SeededEntropy::new(1);
        let id = RequestId::new(portcullis_testkit::fixtures::NOW, &entropy);
        request_id::scope(id, async {
            assert_eq!(lane.run(current_request_id).await, Ok(Some(id)));
            assert_eq!(on_data_lane(current_request_id).await, Ok(Some(id)));
        })
        .await;
        assert_eq!(lane.run(current_request_id).await, Ok(None), "and leave it again");
    }
}
