//! The restoration of what the database lost.

use std::sync::mpsc::Receiver;
use std::time::Duration;

use portcullis_domain::maintenance::LostChanges;
use portcullis_domain::ports::StoreError;

use super::steps::{Steps, Trouble};

/// Ends sessions again whose end the database lost, with `end_lost`, and logs what `noticed` returns of that.
pub(super) fn restore_lost_changes(
    mut end_lost: impl FnMut() -> Result<bool, StoreError>,
    noticed: impl Fn() -> LostChanges,
    stopped: &Receiver<()>,
) {
    let mut trouble = Trouble::default();
    let mut logged = LostChanges::default();
    let step = || {
        // Before too: a commit may take long.
        log_new(&mut logged, noticed());
        let result = end_lost();
        log_new(&mut logged, noticed());
        match result {
            Ok(is_done) => {
                trouble.ends(|| log::info!("lost ends of sessions can be restored again"));
                if is_done { CHECK_EVERY } else { Duration::ZERO }
            }
            Err(error) => {
                trouble.begins(|| {
                    let reason = format!("{:#}", anyhow::Error::new(error));
                    log::warn!(reason; "lost ends of sessions cannot be restored; it is tried again");
                });
                CHECK_EVERY
            }
        }
    };
    Steps::of("restoring lost ends of sessions").repeat(step, CHECK_EVERY, stopped);
}

fn log_new(logged: &mut LostChanges, now: LostChanges) {
    if now.times > logged.times {
        let (times, went_back_s) = (now.times, now.by.as_secs());
        log::error!(times, went_back_s; "the database lost committed changes: it went back to an earlier state");
    }
    if now.ended_again > logged.ended_again {
        let sessions = now.ended_again - logged.ended_again;
        log::warn!(sessions; "ended sessions again whose end the database had lost");
    }
    *logged = now;
}

/// How often it is checked whether something must be restored.
const CHECK_EVERY: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::mpsc;

    use super::*;
    use crate::background::steps::tests::call;

    #[test]
    fn batches_follow_without_a_pause_and_after_failures() {
        let (running, stopped) = mpsc::sync_channel(0);
        let (calls, mut running) = (Cell::new(0), Some(running));
        let end_lost = || match call(&calls, &[]) {
            1 => Err(StoreError::new(portcullis_domain::ports::StoreErrorKind::Unavailable, "down")),
            2 | 3 => Ok(false),
            _ => {
                drop(running.take());
                Ok(true)
            }
        };
        restore_lost_changes(end_lost, LostChanges::default, &stopped);
        assert_eq!(calls.get(), 4);
    }
}
