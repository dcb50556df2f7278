//! The pool for work that waits only for the store, and the checks before logins.

use std::io;
use std::num::NonZeroUsize;
use std::time::Duration;

use crate::blocking::queue::Bounds;
use crate::blocking::thread::ThreadPool;

/// Starts the threads of the pool. Callers with a token are its recognized class. Checks before logins are its anonymous
/// class, so that a flood of logins leaves threads and connections to the database to the recognized class.
///
/// # Errors
/// When the system has no thread to give.
pub(crate) fn start(threads: NonZeroUsize) -> io::Result<ThreadPool> {
    ThreadPool::start_with("data", threads.get(), BOUNDS)
}

const BOUNDS: Bounds = Bounds {
    recognized: DATA_POOL_PERMITS,
    anonymous: LOGIN_CHECKS,
    anonymous_running: LOGIN_CHECKS_AT_ONCE,
};

/// How many jobs of callers with a token wait or run, in the whole process. Healthy stores do so many in far less time than
/// [`LONGEST_WAIT`]; the bound keeps the memory that a blocked one costs within a few megabytes.
const DATA_POOL_PERMITS: usize = 1_024;

/// How many checks before logins wait or run, in the whole process. They are done far sooner than [`LONGEST_WAIT`]; the
/// bound keeps the memory that a flood costs within a few megabytes.
const LOGIN_CHECKS: usize = 512;

/// How many checks before logins run at the same time: half as many as `database.pool_size` is by default.
const LOGIN_CHECKS_AT_ONCE: usize = 8;

/// How long a job may wait before it begins. A client that would wait longer is served sooner if it retries.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(2);
