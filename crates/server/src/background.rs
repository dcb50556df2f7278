//! Keeps an instance in step with its database, on threads of its own: one waits for it at the start and then looks
//! up ended sessions a few times a second, one sweeps out those that have been over for long, one seals the audit log, and
//! one checks that the database commits changes.
//!
//! They work as long as the instance does: a step that panics is told, and the next one comes after its pause.

mod prepare;
mod purge;
mod seal;
mod steps;
mod sync;
mod writes;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread::{self, JoinHandle};

use anyhow::{Context as _, anyhow};

use self::prepare::{Waited, wait_for_database};
use self::purge::purge;
use self::seal::seal;
use self::steps::words_of;
use self::sync::look_up_ended_sessions;
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
        let (stop_purging, told_to_stop) = mpsc::sync_channel(0);
        let purger = instance.maintenance.purger();
        let thread = thread::Builder::new().name("purger".to_owned());
        thread.spawn_scoped(scope, move || purge(purger, &told_to_stop)).context("cannot start a thread")?;
        let (stop_sealing, told_to_stop) = mpsc::sync_channel(0);
        if let Some(sealer) = instance.sealer() {
            let thread = thread::Builder::new().name("sealer".to_owned());
            thread
                .spawn_scoped(scope, move || seal(sealer, &told_to_stop))
                .context("cannot start a thread")?;
        }
        let (stop_checking, told_to_stop) = mpsc::sync_channel(0);
        let check = || instance.maintenance.check_writes();
        let thread = thread::Builder::new().name("writes".to_owned());
        thread
            .spawn_scoped(scope, move || check_writes(check, &told_to_stop))
            .context("cannot start a thread")?;
        let mut on_ready = Some(on_ready);
        let sync = || {
            instance.maintenance.sync()?;
            if let Some(on_ready) = on_ready.take() {
                on_ready();
            }
            Ok(())
        };
        let result = look_up_ended_sessions(sync, || instance.backend().check(), stopped);
        drop((stop_purging, stop_sealing, stop_checking));
        result
    })
}
