//! The deletion of old sessions.

use std::sync::mpsc::Receiver;

use portcullis_domain::maintenance::{CatchUpError, Sweeper};

use super::steps::{Steps, Trouble};

pub(super) fn sweep(mut sweeper: Sweeper, stopped: &Receiver<()>) {
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
