//! The pool for work with a password in it.

use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use portcullis_domain::ports::Clock;

use crate::blocking::BlockingError;
use crate::blocking::data::LONGEST_WORK;
use crate::blocking::queue::Bounds;
use crate::blocking::thread::ThreadPool;
use crate::limit::in_flight::{Caller, Class, FairShare, Permit};

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
        Bounds { recognized: capacity, anonymous: capacity, anonymous_running: self.hashing_threads.get() }
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
            shares: is_limited.then(|| Shares::of(bounds.recognized)),
            clock,
            counters: Arc::default(),
        })
    }

    /// What is waiting and what was done so far.
    pub(crate) fn counts(&self) -> PoolCounts {
        PoolCounts {
            waiting: self.pool.waiting(),
            shed: self.counters.shed.load(Ordering::Relaxed),
            begun: self.counters.begun.load(Ordering::Relaxed),
            waited: Duration::from_micros(self.counters.waited_micros.load(Ordering::Relaxed)),
        }
    }

    /// Does `work` when its turn comes. `writes_fail` returns whether the store fails to commit changes now: then a job as
    /// old as [`LONGEST_WORK`] waits for a commit rather than for a hash.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        caller: &Caller,
        writes_fail: impl Fn() -> bool,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, BlockingError> {
        let outcome = match self.permit_for(caller) {
            Ok(permit) => {
                let work = self.counted(permit, work);
                let gives_up = |age| age >= LONGEST_PASSWORD_WORK || (age >= LONGEST_WORK && writes_fail());
                self.pool.run_within(LONGEST_PASSWORD_WAIT, gives_up, caller.class(), work).await
            }
            Err(error) => Err(error),
        };
        if matches!(outcome, Err(BlockingError::Overloaded)) {
            self.counters.shed.fetch_add(1, Ordering::Relaxed);
        }
        outcome
    }

    /// Fails early if the pool is full for every class of callers, or closed. Permits are not checked.
    pub(crate) fn has_room(&self) -> Result<(), BlockingError> {
        match self.pool.has_room(Class::Recognized) || self.pool.has_room(Class::Anonymous) {
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

/// How long password work may wait before it begins. A queue of the default length is done in a fraction of it.
pub(crate) const LONGEST_PASSWORD_WAIT: Duration = Duration::from_secs(15);

/// How long a caller waits for password work that has begun, in which a crowded machine may hash for seconds.
pub(crate) const LONGEST_PASSWORD_WORK: Duration = Duration::from_secs(30);
