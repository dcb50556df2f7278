//! The pools for work that waits only for the store, and the checks before logins.

use std::io;
use std::num::NonZeroUsize;
use std::time::Duration;

use crate::blocking::BlockingError;
use crate::blocking::queue::Bounds;
use crate::blocking::thread::ThreadPool;
use crate::limit::in_flight::Class;

/// The pools of reads and writes. They share no thread: writes may hang for as long as a standby or a disk does.
#[derive(Debug)]
pub(crate) struct DataPools {
    reads: ThreadPool,
    writes: ThreadPool,
}

impl DataPools {
    /// Starts the threads: as many for reads as for writes.
    ///
    /// # Errors
    /// Fails if the system has no thread to give.
    pub(crate) fn start(threads: NonZeroUsize) -> io::Result<Self> {
        Ok(Self {
            reads: ThreadPool::start_with("read", threads.get(), BOUNDS)?,
            writes: ThreadPool::start_with("write", threads.get(), BOUNDS)?,
        })
    }

    /// Reads on behalf of a caller with a token.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, BlockingError> {
        self.reads.run_within(LONGEST_WAIT, takes_too_long, Class::Recognized, work).await
    }

    /// Makes a change.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, BlockingError> {
        self.writes.run_within(LONGEST_WAIT, takes_too_long, Class::Recognized, work).await
    }

    /// Checks a login. These are the anonymous class of the reads, so that a flood of logins leaves threads and connections
    /// to the database to callers with a token.
    pub(crate) async fn check_login<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, BlockingError> {
        self.reads.run_within(LONGEST_WAIT, takes_too_long, Class::Anonymous, work).await
    }
}

/// Whether a caller gives up a job of this age.
pub(super) fn takes_too_long(age: Duration) -> bool {
    age >= LONGEST_WORK
}

const BOUNDS: Bounds = Bounds {
    recognized: DATA_POOL_PERMITS,
    anonymous: LOGIN_CHECKS,
    anonymous_running: LOGIN_CHECKS_AT_ONCE,
};

/// How many jobs of callers with a token wait or run in each pool, in the whole process. Healthy stores do so many in far
/// less time than [`LONGEST_WAIT`]; the bound keeps the memory that a blocked one costs within a few megabytes.
const DATA_POOL_PERMITS: usize = 1_024;

/// How many checks before logins wait or run, in the whole process. They are done far sooner than [`LONGEST_WAIT`]; the
/// bound keeps the memory that a flood costs within a few megabytes.
const LOGIN_CHECKS: usize = 512;

/// How many checks before logins run at the same time: half as many as `database.pool_size` is by default.
const LOGIN_CHECKS_AT_ONCE: usize = 8;

/// How long a job may wait before it begins. A client that would wait longer is served sooner if it retries.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// How long a caller waits for a job that has begun. Nearly all statements have shorter limits. A commit that waits for a
/// standby or a disk has none, and it must not be cancelled: the caller gets an answer, and the job goes on.
pub(crate) const LONGEST_WORK: Duration = Duration::from_secs(10);
