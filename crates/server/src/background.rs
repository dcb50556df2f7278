//! Keeps an instance in step with its database, on threads of its own: one waits for it at the start and then looks
//! up ended sessions a few times a second, one sweeps out those that have been over for long, one seals the audit log, and
//! one checks that the database commits changes.
//!
//! They work as long as the instance does: a step that panics is told, and the next one comes after its pause.

use std::any::Any;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use portcullis_adapters::audit::Sealer;
use portcullis_domain::ports::StoreError;
use portcullis_domain::service::{CatchUpError, Check, Sweeper};

use crate::bootstrap::Instance;
use crate::cli_error::CliError;

/// The running threads. Dropping it stops them and waits for them.
#[derive(Debug)]
pub(crate) struct Background {
    stop: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Background {
    /// Starts keeping an instance. `on_ready` is called once, when the instance has first caught up with its database;
    /// `on_failure` when it turns out not to fit its database.
    pub(crate) fn start(
        instance: Arc<Instance>,
        is_prepared: bool,
        on_ready: impl FnOnce() + Send + 'static,
        on_failure: impl FnOnce(CliError) + Send + 'static,
    ) -> anyhow::Result<Self> {
        let (stop, stopped) = mpsc::sync_channel(0);
        let thread = thread::Builder::new().name("background".to_owned()).spawn(move || {
            // Steps have their own guard. What panics around them ends the instance, rather than that it works on with
            // nobody to keep it.
            let kept = catch_unwind(AssertUnwindSafe(|| keep(&instance, is_prepared, on_ready, &stopped)));
            let kept = kept.unwrap_or_else(|panic| {
                Err(anyhow!("what runs beside the requests panicked: {}", words_of(panic.as_ref())).into())
            });
            if let Err(failure) = kept {
                on_failure(failure);
            }
        });
        let thread = thread.context("cannot start a thread")?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was printed when it happened.
            let _ = thread.join();
        }
    }
}

/// Returns when it is told to stop, or fails when the instance does not fit its database.
fn keep(
    instance: &Instance,
    is_prepared: bool,
    on_ready: impl FnOnce(),
    stopped: &Receiver<()>,
) -> Result<(), CliError> {
    if !is_prepared && wait_for_database(|| instance.prepare(), stopped)? == Waited::ToldToStop {
        return Ok(());
    }
    thread::scope(|scope| {
        // On threads of their own: however long they take, ended sessions are looked up in time.
        let (stop_sweeping, told_to_stop) = mpsc::sync_channel(0);
        let sweeper = instance.service.sweeper();
        let thread = thread::Builder::new().name("sweeper".to_owned());
        thread.spawn_scoped(scope, move || sweep(sweeper, &told_to_stop)).context("cannot start a thread")?;
        let (stop_sealing, told_to_stop) = mpsc::sync_channel(0);
        if let Some(sealer) = instance.sealer() {
            let thread = thread::Builder::new().name("sealer".to_owned());
            thread
                .spawn_scoped(scope, move || seal(sealer, &told_to_stop))
                .context("cannot start a thread")?;
        }
        let (stop_checking, told_to_stop) = mpsc::sync_channel(0);
        let check = || instance.service.check_writes();
        let thread = thread::Builder::new().name("writes".to_owned());
        thread
            .spawn_scoped(scope, move || check_writes(check, &told_to_stop))
            .context("cannot start a thread")?;
        let mut on_ready = Some(on_ready);
        let catch_up = || {
            instance.service.catch_up()?;
            if let Some(on_ready) = on_ready.take() {
                on_ready();
            }
            Ok(())
        };
        let result = look_up_ended_sessions(catch_up, || instance.check_database(), stopped);
        drop((stop_sweeping, stop_sealing, stop_checking));
        result
    })
}

/// How the wait for the database ended.
#[derive(PartialEq, Eq)]
enum Waited {
    DatabaseIsReady,
    ToldToStop,
}

/// Tries until the database is ready, with growing pauses.
fn wait_for_database(
    mut prepare: impl FnMut() -> Result<(), CliError>,
    stopped: &Receiver<()>,
) -> Result<Waited, CliError> {
    let mut steps = Steps::of("preparing the database");
    let mut pause = FIRST_PAUSE;
    let mut logged = (String::new(), Instant::now());
    while !is_stopped(stopped, pause) {
        pause = LONGEST_PAUSE.min(pause * 2);
        let Some(result) = steps.make(&mut prepare) else { continue };
        match result {
            Ok(()) | Err(CliError::Clock(_)) => {
                log::info!("the database is ready");
                return Ok(Waited::DatabaseIsReady);
            }
            Err(CliError::Failed(error)) => {
                let reason = format!("{error:#}");
                // Rarely enough for the log, and often enough to be found in it later.
                if reason != logged.0 || logged.1.elapsed() >= REMIND_EVERY {
                    log::warn!(reason; "still waiting for the database");
                    logged = (reason, Instant::now());
                }
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok(Waited::ToldToStop)
}

fn look_up_ended_sessions(
    mut catch_up: impl FnMut() -> Result<(), CatchUpError>,
    mut check_database: impl FnMut() -> Result<(), CliError>,
    stopped: &Receiver<()>,
) -> Result<(), CliError> {
    let (mut looks, mut checks) =
        (Steps::of("looking up ended sessions"), Steps::of("checking the database"));
    let (mut clock, mut store) = (Trouble::default(), Trouble::default());
    while !is_stopped(stopped, LOOK_EVERY) {
        let result = looks.make(&mut catch_up);
        // Whatever became of the look.
        checks.make(&mut check_database).unwrap_or(Ok(()))?;
        let Some(result) = result else { continue };
        if !matches!(result, Err(CatchUpError::Store(_))) {
            store.ends(|| log::info!("ended sessions can be looked up again"));
        }
        match result {
            Ok(()) => clock.ends(|| log::info!("the clock can be relied on again")),
            Err(CatchUpError::Clock(error)) => {
                clock.begins(|| log::error!("no new token is given out: {}", CliError::Clock(error)));
            }
            Err(CatchUpError::Store(error)) => store.begins(|| {
                let error = anyhow::Error::new(error);
                log::warn!(
                    "ended sessions cannot be looked up; every token is asked of the database: {error:#}"
                );
            }),
        }
    }
    Ok(())
}

fn check_writes(mut check: impl FnMut() -> Result<Check, StoreError>, stopped: &Receiver<()>) {
    let mut trouble = Trouble::default();
    let step = || {
        match check() {
            Ok(Check::Ok) => trouble.ends(|| log::info!("the database commits changes again")),
            // They succeed again, but not for long enough.
            Ok(Check::Failing) => {}
            Err(error) => trouble.begins(|| {
                let reason = format!("{:#}", anyhow::Error::new(error));
                log::error!(reason; "the database commits no changes; this instance is not ready");
            }),
        }
        CHECK_WRITES_EVERY
    };
    Steps::of("checking that changes are committed").repeat(step, CHECK_WRITES_EVERY, stopped);
}

fn sweep(mut sweeper: Sweeper, stopped: &Receiver<()>) {
    let mut trouble = Trouble::default();
    let step = || match sweeper.step() {
        Ok(pause) => {
            trouble.ends(|| log::info!("old sessions can be deleted again"));
            pause
        }
        Err(error) => {
            // Whoever looks up ended sessions tells of a clock that is off.
            if let CatchUpError::Store(error) = error {
                trouble.begins(|| {
                    log::warn!("old sessions cannot be deleted: {:#}", anyhow::Error::new(error));
                });
            }
            Sweeper::PAUSE
        }
    };
    // The first step comes at once: it leaves a mark of the time in the database.
    Steps::of("sweeping").repeat(step, Sweeper::PAUSE, stopped);
}

fn seal(mut sealer: Sealer, stopped: &Receiver<()>) {
    let mut steps = Steps::of("sealing the audit log");
    let mut trouble = Trouble::default();
    let step = || match sealer.step() {
        Ok(pause) => {
            trouble.ends(|| log::info!("the audit log can be sealed again"));
            pause
        }
        Err(error) => {
            trouble.begins(|| {
                log::warn!("the audit log cannot be sealed: {:#}", anyhow::Error::new(error));
            });
            Sealer::PAUSE
        }
    };
    steps.repeat(step, Sealer::PAUSE, stopped);
    // Told already, if the database does not answer.
    if !trouble.lasts
        && let Some(Err(error)) = steps.make(|| sealer.close())
    {
        log::warn!("the audit log's head cannot be signed: {:#}", anyhow::Error::new(error));
    }
}

/// The steps of a task. One that panics takes none of the later ones with it.
struct Steps {
    task: &'static str,
    panics: Trouble,
}

impl Steps {
    fn of(task: &'static str) -> Self {
        Self { task, panics: Trouble::default() }
    }

    /// Makes a step; `None` if it panicked.
    ///
    /// Going on is safe: the database undoes a transaction that was not committed, every lock is taken whether or not
    /// somebody panicked under it, and what a step keeps in memory says at most that less was done than was.
    fn make<T>(&mut self, step: impl FnOnce() -> T) -> Option<T> {
        let task = self.task;
        match catch_unwind(AssertUnwindSafe(step)) {
            Ok(outcome) => {
                self.panics.ends(|| log::info!(task; "a step succeeded again after a panic"));
                Some(outcome)
            }
            Err(panic) => {
                let reason = words_of(panic.as_ref());
                self.panics.begins(|| log::error!(task, reason; "a step panicked; it is tried again"));
                None
            }
        }
    }

    /// Makes step after step until it is told to stop. Each says how long to wait before the next one; after a panic it
    /// is `pause`.
    fn repeat(&mut self, mut step: impl FnMut() -> Duration, pause: Duration, stopped: &Receiver<()>) {
        while !is_stopped(stopped, self.make(&mut step).unwrap_or(pause)) {}
    }
}

/// What a panic said.
fn words_of(panic: &(dyn Any + Send)) -> &str {
    let literal = || panic.downcast_ref::<&str>().copied();
    panic.downcast_ref::<String>().map(String::as_str).or_else(literal).unwrap_or("no words")
}

/// Something that goes wrong for a while: told once when it begins and once when it ends.
#[derive(Default)]
struct Trouble {
    lasts: bool,
}

impl Trouble {
    fn begins(&mut self, tell: impl FnOnce()) {
        if !mem::replace(&mut self.lasts, true) {
            tell();
        }
    }

    fn ends(&mut self, tell: impl FnOnce()) {
        if mem::replace(&mut self.lasts, false) {
            tell();
        }
    }
}

fn is_stopped(stopped: &Receiver<()>, pause: Duration) -> bool {
    !matches!(stopped.recv_timeout(pause), Err(RecvTimeoutError::Timeout))
}

/// How often ended sessions are looked up: a session ended elsewhere is refused here within a second.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How often it is checked that the database commits changes: readiness must not pass for long after they fail.
const CHECK_WRITES_EVERY: Duration = Duration::from_secs(1);

/// How often the log repeats why the server waits for its database.
const REMIND_EVERY: Duration = Duration::from_mins(1);

const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(4);

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use portcullis_domain::service::ClockNotTrusted;

    use super::*;
    use crate::settings::InvalidSetting;

    /// Counts its calls; those of these numbers panic.
    fn call(calls: &Cell<u32>, panicking: &[u32]) -> u32 {
        calls.set(calls.get() + 1);
        assert!(!panicking.contains(&calls.get()), "call {}, on purpose", calls.get());
        calls.get()
    }

    fn replaced() -> CliError {
        InvalidSetting::new("replaced").into()
    }

    #[test]
    fn a_panic_is_told_once_and_so_is_its_end() {
        log::set_logger(&Recorder).unwrap();
        log::set_max_level(log::LevelFilter::Trace);
        let calls = Cell::new(0);
        let mut steps = Steps::of("counting");
        let made: Vec<_> = (0..6).map(|_| steps.make(|| call(&calls, &[2, 3, 6]))).collect();
        assert_eq!(made, [Some(1), None, None, Some(4), Some(5), None]);
        let panicked =
            |n| format!("ERROR a step panicked; it is tried again task=counting reason=call {n}, on purpose");
        let again = "INFO a step succeeded again after a panic task=counting".to_owned();
        assert_eq!(LINES.take(), [panicked(2), again, panicked(6)]);
    }

    #[test]
    fn a_step_that_panics_is_followed_by_the_next() {
        let (running, stopped) = mpsc::sync_channel(0);
        let (calls, mut running) = (Cell::new(0), Some(running));
        let step = || {
            if call(&calls, &[1]) == 3 {
                drop(running.take());
            }
            Duration::ZERO
        };
        Steps::of("counting").repeat(step, Duration::from_millis(1), &stopped);
        assert_eq!(calls.get(), 3);
    }

    #[test]
    fn the_secret_is_checked_whatever_becomes_of_looks() {
        let (_stop, stopped) = mpsc::sync_channel(0);
        let (looks, checks) = (Cell::new(0), Cell::new(0));
        let catch_up = || match call(&looks, &[1, 2]) {
            3 => Err(ClockNotTrusted::NotSet.into()),
            _ => Ok(()),
        };
        let check = || if call(&checks, &[3]) == 4 { Err(replaced()) } else { Ok(()) };
        let failure = look_up_ended_sessions(catch_up, check, &stopped).unwrap_err();
        assert_eq!(failure.to_string(), replaced().to_string());
        assert_eq!((looks.get(), checks.get()), (4, 4));
    }

    #[test]
    fn the_wait_for_the_database_outlives_a_panic() {
        let (_stop, stopped) = mpsc::sync_channel(0);
        let calls = Cell::new(0);
        let prepare = || {
            call(&calls, &[1]);
            Ok(())
        };
        let waited = wait_for_database(prepare, &stopped);
        assert!(waited.is_ok_and(|waited| waited == Waited::DatabaseIsReady));
        assert_eq!(calls.get(), 2);
    }

    #[test]
    fn a_panic_is_told_in_its_words() {
        let words = |work: fn()| words_of(catch_unwind(work).unwrap_err().as_ref()).to_owned();
        assert_eq!(words(|| panic!("of a literal")), "of a literal");
        assert_eq!(words(|| panic!("of {} parts", 2)), "of 2 parts");
        assert_eq!(words(|| std::panic::panic_any(1)), "no words");
    }

    thread_local! {
        static LINES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    }

    /// Keeps what each thread logs.
    struct Recorder;

    impl log::Log for Recorder {
        fn enabled(&self, _: &log::Metadata<'_>) -> bool {
            true
        }

        fn log(&self, record: &log::Record<'_>) {
            let field = |name: &str| {
                let value = record.key_values().get(name.into());
                value.map(|value| format!(" {name}={value}")).unwrap_or_default()
            };
            let line = format!("{} {}{}{}", record.level(), record.args(), field("task"), field("reason"));
            LINES.with_borrow_mut(|lines| lines.push(line));
        }

        fn flush(&self) {}
    }
}
