mod counters;
mod priority;

use std::io;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use portcullis_domain::id::UserId;
use portcullis_domain::password::{
    AcceptedPassword, HashError, PasswordHash, PasswordHasher, PlaintextPassword, Verdict,
};

pub use self::counters::HashCounts;
use self::counters::{Counters, Running};
use self::priority::lower_priority;
use super::failed;

/// Hashes on a few threads of low priority, so that whoever only wants an answer never waits for a processor.
///
/// The threads do nothing but hash: whatever a use case asks of other ports it does on its own thread, which waits
/// here meanwhile. On Linux they are nicer than the rest of the process (`nice(2)`); elsewhere their priority is the
/// usual one.
///
/// A panic of the hasher within fails that one hash. A stored hash that cannot be used is logged as an error, with its
/// user, on the calling thread, so that the line belongs to the request.
#[derive(Debug)]
pub struct HashPool {
    /// `None` while it is dropped.
    jobs: Option<SyncSender<Job>>,
    counters: Arc<Counters>,
    threads: Vec<JoinHandle<()>>,
}

impl HashPool {
    /// Starts `threads` threads that hash with `hasher`, before which `queue` passwords may wait; who comes when it is
    /// full gets [`HashError::Overloaded`].
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn start(
        hasher: &Arc<dyn PasswordHasher>,
        threads: NonZeroUsize,
        queue: NonZeroUsize,
    ) -> io::Result<Self> {
        let (jobs, line) = sync_channel(queue.get());
        let line = Arc::new(Mutex::new(line));
        let threads = (0..threads.get()).map(|n| {
            let (hasher, line) = (Arc::clone(hasher), Arc::clone(&line));
            thread::Builder::new().name(format!("hash-{n}")).spawn(move || serve(hasher.as_ref(), &line))
        });
        let threads = threads.collect::<io::Result<_>>()?;
        Ok(Self { jobs: Some(jobs), counters: Arc::default(), threads })
    }

    /// What is waiting and what was done so far.
    pub fn counts(&self) -> HashCounts {
        self.counters.snapshot()
    }

    /// Does `work` on one of the threads, and waits for it.
    fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn PasswordHasher) -> Result<T, HashError> + Send + 'static,
    ) -> Result<T, HashError> {
        let (reply, answer) = sync_channel(1);
        let counters = Arc::clone(&self.counters);
        let asked = Instant::now();
        self.push(Box::new(move |hasher| {
            let begun = Instant::now();
            counters.begun(begun - asked);
            let running = Running { counters: &counters, begun };
            let outcome = work(hasher);
            drop(running);
            // Who asked waits for it.
            let _received = reply.send(outcome);
        }))?;
        // No answer: the job panicked, and dropped its end.
        answer.recv().unwrap_or_else(|_dropped| Err(failed(Panicked)))
    }

    fn push(&self, job: Job) -> Result<(), HashError> {
        let (counter, outcome) = match self.jobs.as_ref().map(|jobs| jobs.try_send(job)) {
            Some(Ok(())) => (&self.counters.accepted, Ok(())),
            _ => (&self.counters.shed, Err(HashError::Overloaded)),
        };
        counter.fetch_add(1, Ordering::Relaxed);
        outcome
    }
}

impl PasswordHasher for HashPool {
    fn hash(&self, password: &AcceptedPassword) -> Result<PasswordHash, HashError> {
        let password = password.clone();
        self.run(move |hasher| hasher.hash(&password))
    }

    fn verify(&self, attempt: &PlaintextPassword, hash: &PasswordHash) -> Result<Verdict, HashError> {
        let (attempt, hash) = (attempt.clone(), hash.clone());
        self.run(move |hasher| hasher.verify(&attempt, &hash))
    }

    fn report_unusable(&self, user: UserId, reason: &'static str) {
        log::error!(user:% = user, reason; "a stored password hash cannot be used");
    }
}

/// Ends the threads. Nobody waits for one any more: who asks has a reference.
impl Drop for HashPool {
    fn drop(&mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            // A thread ends by returning: it outlives the panics of its jobs.
            let _never_panicked = thread.join();
        }
    }
}

/// A hash somebody waits for.
type Job = Box<dyn FnOnce(&dyn PasswordHasher) + Send>;

/// Does job after job until nobody can send one any more.
fn serve(hasher: &dyn PasswordHasher, line: &Mutex<Receiver<Job>>) {
    lower_priority();
    // The lock is over with the job in hand.
    let next = || line.lock().unwrap_or_else(PoisonError::into_inner).recv();
    while let Ok(job) = next() {
        // Who asked learns of a panic by the end of the reply.
        let _told = catch_unwind(AssertUnwindSafe(|| job(hasher)));
    }
}

/// The hasher panicked. The panic itself is in the log.
#[derive(Debug, thiserror::Error)]
#[error("the hasher panicked")]
struct Panicked;

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};

    use portcullis_domain::password::policy::PasswordPolicy;

    use std::time::Duration;

    use super::*;

    /// Tells of each attempt when it starts, and ends it when it is told. A hash of `panic` panics, one of `!` is
    /// unusable.
    #[derive(Debug)]
    struct Gate {
        started: SyncSender<String>,
        opened: Mutex<Receiver<()>>,
    }

    impl PasswordHasher for Gate {
        fn hash(&self, password: &AcceptedPassword) -> Result<PasswordHash, HashError> {
            Ok(PasswordHash::new(format!("{} by {:?}", password.expose(), thread::current().name())))
        }

        fn verify(&self, attempt: &PlaintextPassword, hash: &PasswordHash) -> Result<Verdict, HashError> {
            match hash.expose() {
                "panic" => panic!("on purpose"),
                "!" => return Err(HashError::Unusable("on purpose")),
                _ => {}
            }
            self.started.send(attempt.expose().to_owned()).unwrap();
            self.opened.lock().unwrap().recv_timeout(LONGEST_WAIT).unwrap();
            Ok(Verdict::Match)
        }
    }

    /// Long enough for the busiest machine.
    const LONGEST_WAIT: Duration = Duration::from_mins(1);

    /// Threads before a [`Gate`], what starts there, and what opens it.
    fn gated(threads: usize, queue: usize) -> (Arc<HashPool>, Receiver<String>, SyncSender<()>) {
        let (started, has_started) = sync_channel(100);
        let (open, opened) = sync_channel(100);
        let gate: Arc<dyn PasswordHasher> = Arc::new(Gate { started, opened: Mutex::new(opened) });
        let number = |number| NonZeroUsize::new(number).unwrap();
        let threads = HashPool::start(&gate, number(threads), number(queue)).unwrap();
        (Arc::new(threads), has_started, open)
    }

    fn verify(threads: &HashPool, password: &str, hash: &str) -> Result<Verdict, HashError> {
        threads.verify(&PlaintextPassword::new(password.to_owned()), &PasswordHash::new(hash.to_owned()))
    }

    /// Asks on a thread of its own, and comes back once it waits.
    fn ask(threads: &Arc<HashPool>, password: &str) -> JoinHandle<Result<Verdict, HashError>> {
        let waiting = threads.counts().waiting;
        let (asker, password) = (Arc::clone(threads), password.to_owned());
        let asking = thread::spawn(move || verify(&asker, &password, "hash"));
        let begun = Instant::now();
        while threads.counts().waiting == waiting {
            assert!(begun.elapsed() < LONGEST_WAIT && !asking.is_finished(), "it does not wait");
            thread::yield_now();
        }
        asking
    }

    /// The same, and comes back once it runs.
    fn begin(
        threads: &Arc<HashPool>,
        has_started: &Receiver<String>,
    ) -> JoinHandle<Result<Verdict, HashError>> {
        let asker = Arc::clone(threads);
        let asking = thread::spawn(move || verify(&asker, "first", "hash"));
        assert_eq!(has_started.recv_timeout(LONGEST_WAIT).unwrap(), "first");
        asking
    }

    #[test]
    fn only_these_threads_hash() {
        let (threads, ..) = gated(1, 1);
        let password = PlaintextPassword::new("Corr3ct-horse battery".to_owned());
        let password = PasswordPolicy::nist().accept(&password, "").unwrap();
        let hash = threads.hash(&password).unwrap();
        assert_eq!(hash.expose(), "Corr3ct-horse battery by Some(\"hash-0\")");
    }

    #[test]
    fn a_panic_is_its_hashs_own() {
        let (threads, _started, open) = gated(1, 1);
        for _ in 0..3 {
            let error = verify(&threads, "x", "panic").unwrap_err();
            assert!(matches!(&error, HashError::Failed(cause) if cause.to_string() == "the hasher panicked"));
        }
        assert_eq!((threads.counts().waiting, threads.counts().done), (0, 3), "counted all the same");
        open.send(()).unwrap();
        assert_eq!(verify(&threads, "x", "hash").unwrap(), Verdict::Match, "the one thread is alive");
    }

    #[test]
    fn a_full_queue_refuses_at_once() {
        let (threads, has_started, open) = gated(1, 2);
        let running = begin(&threads, &has_started);
        let waiting = [ask(&threads, "second"), ask(&threads, "third")];
        assert!(matches!(verify(&threads, "fourth", "hash"), Err(HashError::Overloaded)));
        let counts = threads.counts();
        assert_eq!((counts.waiting, counts.shed, counts.done), (2, 1, 0));

        for _ in 0..3 {
            open.send(()).unwrap();
        }
        assert_eq!(running.join().unwrap().unwrap(), Verdict::Match);
        for waiting in waiting {
            assert_eq!(waiting.join().unwrap().unwrap(), Verdict::Match);
        }
        let counts = threads.counts();
        assert_eq!((counts.waiting, counts.shed, counts.done), (0, 1, 3));
        assert!(counts.waited > Duration::ZERO && counts.hashing > Duration::ZERO, "{counts:?}");
    }

    #[test]
    fn who_comes_first_is_served_first() {
        let (threads, has_started, open) = gated(1, 8);
        let running = begin(&threads, &has_started);
        let names = ["a", "b", "c", "d", "e"];
        let waiting = names.map(|name| ask(&threads, name));
        for _ in 0..=names.len() {
            open.send(()).unwrap();
        }
        assert_eq!(running.join().unwrap().unwrap(), Verdict::Match);
        assert_eq!(waiting.map(|waiting| waiting.join().unwrap().unwrap()), [Verdict::Match; 5]);
        assert_eq!(has_started.try_iter().collect::<Vec<_>>(), names);
    }

    #[test]
    fn all_threads_hash_at_the_same_time() {
        let (threads, has_started, open) = gated(3, 1);
        let running: Vec<_> = (0..3).map(|_| begin(&threads, &has_started)).collect();
        for _ in 0..3 {
            open.send(()).unwrap();
        }
        assert!(running.into_iter().all(|running| running.join().unwrap().is_ok()));
    }

    #[test]
    fn dropping_ends_the_threads() {
        let (threads, has_started, _open) = gated(3, 1);
        drop(threads);
        let outcome = has_started.recv_timeout(LONGEST_WAIT);
        assert_eq!(outcome, Err(RecvTimeoutError::Disconnected), "nobody has the hasher any more");
    }

    // ASVS 15.4.4
    #[cfg(target_os = "linux")]
    #[test]
    fn they_are_nicer_and_nobody_else_is() {
        use rustix::process::getpriority_process;
        use rustix::thread::gettid;

        use super::priority::NICER;

        let (threads, ..) = gated(1, 1);
        let priority = || getpriority_process(Some(gettid())).unwrap();
        let own = priority();
        assert_eq!(threads.run(move |_| Ok(priority())).unwrap(), (own + NICER).min(19));
        assert_eq!(priority(), own);
    }

    #[test]
    fn unusable_hash_is_logged_with_its_user() {
        log::set_logger(&RECORDED).unwrap();
        log::set_max_level(log::LevelFilter::Trace);
        let (threads, ..) = gated(1, 1);
        let user = UserId::from_uuid(uuid::Uuid::from_u128(7));
        let calling = thread::Builder::new().name("request".to_owned());
        let calling = calling.spawn(move || {
            let error = verify(&threads, "hunter2hunter2", "!").unwrap_err();
            let HashError::Unusable(reason) = error else { panic!("{error}") };
            threads.report_unusable(user, reason);
        });
        calling.unwrap().join().unwrap();
        let expected =
            format!("request: ERROR a stored password hash cannot be used user={user} reason=on purpose");
        assert_eq!(*RECORDED.0.lock().unwrap(), [expected]);
    }

    /// Keeps what every test of this file makes the module log.
    struct Recorded(Mutex<Vec<String>>);

    static RECORDED: Recorded = Recorded(Mutex::new(Vec::new()));

    impl log::Log for Recorded {
        fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
            metadata.target().starts_with("portcullis_adapters::hashing")
        }

        fn log(&self, record: &log::Record<'_>) {
            if self.enabled(record.metadata()) {
                let field = |name: &str| record.key_values().get(name.into()).map(|value| value.to_string());
                let [user, reason] = ["user", "reason"].map(|name| field(name).unwrap_or_default());
                let (level, text) = (record.level(), record.args());
                let thread = thread::current().name().unwrap_or_default().to_owned();
                let line = format!("{thread}: {level} {text} user={user} reason={reason}");
                self.0.lock().unwrap().push(line);
            }
        }

        fn flush(&self) {}
    }
}
