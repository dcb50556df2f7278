//! The deletion of old sessions.

use std::sync::mpsc::Receiver;

use portcullis_domain::maintenance::{Purger, SyncError};

use super::steps::{Steps, Trouble};

pub(super) fn purge(mut purger: Purger, stopped: &Receiver<()>) {
    let mut trouble = Trouble::default();
    let step = || match purger.step() {
        Ok(pause) => {
            trouble.ends(|| log::info!("old sessions can be deleted again"));
            pause
        }
        Err(error) => {
            // Whoever looks up ended sessions tells of a clock that is off.
            if let SyncError::Store(error) = error {
                trouble.begins(|| {
                    log::warn!("old sessions cannot be deleted: {:#}", anyhow::Error::new(error));
                });
            }
            Purger::PAUSE
        }
    };
    // The first step comes at once: it leaves a mark of the time in the database.
    Steps::of("sweeping").repeat(step, Purger::PAUSE, stopped);
}
