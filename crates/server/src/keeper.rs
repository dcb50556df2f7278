//! Keeps an instance in step with its database, on a thread of its own: waits for it at the start, then looks up ended
//! sessions a few times a second.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Context as _;

use crate::failure::Failure;
use crate::wire::Instance;

/// The running thread. Dropping it stops the thread and waits for it.
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
        let thread = thread::Builder::new()
            .name("keeper".to_owned())
            .spawn(move || {
                let outcome = match is_prepared {
                    true => Outcome::Ready,
                    false => wait_for_database(&instance, &stopped),
                };
                match outcome {
                    Outcome::Ready => look_up_ended_sessions(&instance, &stopped),
                    Outcome::Unfit(failure) => on_failure(failure),
                    Outcome::Stopped => {}
                }
            })
            .context("cannot start a thread")?;
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

/// How the wait for the database ended.
enum Outcome {
    Ready,
    /// The instance does not fit the database; trying again changes nothing.
    Unfit(Failure),
    /// The instance was told to stop.
    Stopped,
}

/// Tries until the database is ready, with growing pauses.
fn wait_for_database(instance: &Instance, stopped: &Receiver<()>) -> Outcome {
    let mut pause = FIRST_PAUSE;
    let mut told = String::new();
    while !is_stopped(stopped, pause) {
        match instance.prepare() {
            Ok(()) => {
                log::info!("the database is ready");
                return Outcome::Ready;
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
            Err(failure @ Failure::Config(_)) => return Outcome::Unfit(failure),
        }
    }
    Outcome::Stopped
}

fn look_up_ended_sessions(instance: &Instance, stopped: &Receiver<()>) {
    let mut failing = false;
    while !is_stopped(stopped, LOOK_EVERY) {
        let result = instance.service.poll_revocations();
        // Said once when it begins and once when it ends, not four times a second.
        if result.is_err() != failing {
            failing = result.is_err();
            match result {
                Ok(()) => log::info!("ended sessions can be looked up again"),
                Err(error) => {
                    let error = anyhow::Error::new(error);
                    log::warn!(
                        "ended sessions cannot be looked up; every token is asked of the database: {error:#}"
                    );
                }
            }
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
