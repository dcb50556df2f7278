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
            // The sync with other instances logs an untrusted clock.
            if let SyncError::Store(error) = error {
                trouble.begins(|| {
                    log::warn!("old sessions cannot be deleted: {:#}", anyhow::Error::new(error));
                });
            }
            Purger::PAUSE
        }
    };
    // The first step runs at once: it raises the database's high-water mark of the time.
    Steps::of("purging").repeat(step, Purger::PAUSE, stopped);
}
