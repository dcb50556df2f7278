//! Keeps an instance in step with its database, on threads of its own: one waits for it at the start and then looks
//! up ended sessions a few times a second, one sweeps out those that have been over for long, and one seals the audit log.

use std::mem;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Context as _;
use portcullis_adapters::audit::Sealer;
use portcullis_domain::service::{CatchUpError, Sweeper};

use crate::failure::Failure;
use crate::wire::Instance;

/// The running threads. Dropping it stops them and waits for them.
#[derive(Debug)]
pub(crate) struct Keeper {
    stop: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Starts keeping an instance. `on_failure` is told when the instance turns out not to fit its database.
    pub(crate) fn start(
        instance: Arc<Instance>,
        is_prepared: bool,
        on_failure: impl FnOnce(Failure) + Send + 'static,
    ) -> anyhow::Result<Self> {
        let (stop, stopped) = mpsc::sync_channel(0);
        let thread = thread::Builder::new().name("keeper".to_owned()).spawn(move || {
            if let Err(failure) = keep(&instance, is_prepared, &stopped) {
                on_failure(failure);
            }
        });
        let thread = thread.context("cannot start a thread")?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was printed when it happened.
            let _ = thread.join();
        }
    }
}

/// Returns when it is told to stop, or fails when the instance does not fit its database.
fn keep(instance: &Instance, is_prepared: bool, stopped: &Receiver<()>) -> Result<(), Failure> {
    if !is_prepared && wait_for_database(instance, stopped)? == Waited::ToldToStop {
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
        let result = look_up_ended_sessions(instance, stopped);
        drop((stop_sweeping, stop_sealing));
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
fn wait_for_database(instance: &Instance, stopped: &Receiver<()>) -> Result<Waited, Failure> {
    let mut pause = FIRST_PAUSE;
    let mut told = String::new();
    while !is_stopped(stopped, pause) {
        match instance.prepare() {
            Ok(()) | Err(Failure::Clock(_)) => {
                log::info!("the database is ready");
                return Ok(Waited::DatabaseIsReady);
            }
            Err(Failure::Failed(error)) => {
                pause = LONGEST_PAUSE.min(pause * 2);
                let reason = format!("{error:#}");
                // Said when it changes, not every few seconds.
                if reason != told {
                    log::warn!("still waiting for the database: {reason}");
                    told = reason;
                }
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok(Waited::ToldToStop)
}

fn look_up_ended_sessions(instance: &Instance, stopped: &Receiver<()>) -> Result<(), Failure> {
    let (mut clock, mut store) = (Trouble::default(), Trouble::default());
    while !is_stopped(stopped, LOOK_EVERY) {
        let result = instance.service.catch_up();
        instance.check_secret()?;
        if !matches!(result, Err(CatchUpError::Store(_))) {
            store.ends(|| log::info!("ended sessions can be looked up again"));
        }
        match result {
            Ok(()) => clock.ends(|| log::info!("the clock can be relied on again")),
            Err(CatchUpError::Clock(error)) => {
                clock.begins(|| log::error!("no new token is given out: {}", Failure::Clock(error)));
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

fn sweep(mut sweeper: Sweeper, stopped: &Receiver<()>) {
    let mut trouble = Trouble::default();
    let mut step = || match sweeper.step() {
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
    while !is_stopped(stopped, step()) {}
}

fn seal(mut sealer: Sealer, stopped: &Receiver<()>) {
    let mut trouble = Trouble::default();
    let mut step = || match sealer.step() {
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
    while !is_stopped(stopped, step()) {}
    // Told already, if the database does not answer.
    if !trouble.lasts
        && let Err(error) = sealer.close()
    {
        log::warn!("the audit log's head cannot be signed: {:#}", anyhow::Error::new(error));
    }
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

const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(4);
