//! Background tasks, each on a thread of its own: the wait for the storage at the start, the sync with the changes of
//! other instances, the purge of old sessions, the sealing of the audit log, the restoration of what the database lost, and
//! the checks that writes succeed.
//!
//! A step that panics is logged, and the next one follows after its pause. To add a task, write its loop over `Steps` in a
//! file here and start it with a line in `run_tasks`.

mod lost_changes;
mod prepare;
mod purge;
mod seal;
mod steps;
mod sync;
mod writes;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread::{self, JoinHandle, Scope};

use anyhow::{Context as _, anyhow};

use self::lost_changes::restore_lost_changes;
use self::prepare::{Waited, wait_for_database};
use self::purge::purge;
use self::seal::seal;
use self::steps::words_of;
use self::sync::sync;
use self::writes::check_writes;
use crate::bootstrap::Instance;
use crate::cli_error::CliError;

/// The running threads. Dropping it stops them and waits for them.
#[derive(Debug)]
pub(crate) struct Background {
    stop: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Background {
    /// Starts the tasks of an instance. Calls `on_ready` once, after the first sync, and `on_failure` if the instance must
    /// not go on.
    pub(crate) fn start(
        instance: Arc<Instance>,
        is_prepared: bool,
        on_ready: impl FnOnce() + Send + 'static,
        on_failure: impl FnOnce(CliError) + Send + 'static,
    ) -> anyhow::Result<Self> {
        let (stop, stopped) = mpsc::sync_channel(0);
        let thread = thread::Builder::new().name("background".to_owned()).spawn(move || {
            // Steps catch their own panics. A panic around them ends the instance, which would go on without its tasks.
            let run = || run_tasks(&instance, is_prepared, on_ready, &stopped);
            let result = catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
                Err(anyhow!("the background thread panicked: {}", words_of(panic.as_ref())).into())
            });
            if let Err(failure) = result {
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

/// Runs until it is told to stop, or fails if the instance must not go on.
fn run_tasks(
    instance: &Instance,
    is_prepared: bool,
    on_ready: impl FnOnce(),
    stopped: &Receiver<()>,
) -> Result<(), CliError> {
    if !is_prepared && wait_for_database(|| instance.prepare(), stopped)? == Waited::ToldToStop {
        return Ok(());
    }
    thread::scope(|scope| {
        // On threads of their own, so that a slow task does not delay the sync.
        let mut tasks = Tasks { scope, stops: Vec::new() };
        tasks.start("purger", |stopped| purge(instance.maintenance.purger(), stopped))?;
        if let Some(sealer) = instance.sealer() {
            tasks.start("sealer", |stopped| seal(sealer, stopped))?;
        }
        tasks.start("writes", |stopped| check_writes(|| instance.maintenance.check_writes(), stopped))?;
        tasks.start("lost-changes", |stopped| {
            let maintenance = &instance.maintenance;
            restore_lost_changes(|| maintenance.end_lost_sessions(), || maintenance.lost_changes(), stopped);
        })?;
        let mut on_ready = Some(on_ready);
        let step = || {
            instance.maintenance.sync()?;
            if let Some(on_ready) = on_ready.take() {
                on_ready();
            }
            Ok(())
        };
        let result = sync(step, || instance.backend().check(), stopped);
        drop(tasks);
        result
    })
}

/// The threads of tasks, which stop when this is dropped.
struct Tasks<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    stops: Vec<SyncSender<()>>,
}

impl<'scope> Tasks<'scope, '_> {
    /// Starts a task on a thread of its own. The task ends when the channel that it gets closes.
    fn start(
        &mut self,
        name: &str,
        task: impl FnOnce(&Receiver<()>) + Send + 'scope,
    ) -> Result<(), CliError> {
        let (stop, stopped) = mpsc::sync_channel(0);
        let thread = thread::Builder::new().name(name.to_owned());
        thread.spawn_scoped(self.scope, move || task(&stopped)).context("cannot start a thread")?;
        self.stops.push(stop);
        Ok(())
    }
}
