//! The sealing of the audit log.

use std::sync::mpsc::Receiver;

use portcullis_adapters::audit::Sealer;

use super::steps::{Steps, Trouble};
use crate::bootstrap::Seal;

pub(super) fn seal(mut sealer: Box<dyn Seal>, stopped: &Receiver<()>) {
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
