//! The pool for work that waits only for the store, and the checks before logins.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actix_web::rt::time::timeout;
use actix_web::web;
use tokio::sync::Semaphore;

use crate::blocking::BlockingError;
use crate::request_id::{current_request_id, scope_blocking};

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

    pub(super) fn with_bounds(permits: usize, longest_wait: Duration) -> Self {
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

    pub(super) fn with_bounds(permits: usize, at_once: usize, longest_wait: Duration) -> Self {
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
pub(super) struct Turn(Arc<AtomicBool>);

impl Turn {
    /// Takes it; `false` when it was taken before.
    pub(super) fn take(&self) -> bool {
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
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(2);
