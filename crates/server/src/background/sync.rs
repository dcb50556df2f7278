//! The sync with the sessions that other instances ended, and the check that the storage may still be used.

use std::sync::mpsc::Receiver;
use std::time::Duration;

use portcullis_domain::maintenance::SyncError;

use super::steps::{Steps, Trouble, is_stopped};
use crate::cli_error::CliError;

/// Makes `step` after `step`, each followed by `check`, until it is told to stop.
///
/// # Errors
/// The failure of a check. A failed step is logged and repeated.
pub(super) fn sync(
    mut step: impl FnMut() -> Result<(), SyncError>,
    mut check: impl FnMut() -> Result<(), CliError>,
    stopped: &Receiver<()>,
) -> Result<(), CliError> {
    let mut steps = Steps::of("looking up ended sessions");
    let mut checks = Steps::of("checking the database");
    let (mut clock, mut store) = (Trouble::default(), Trouble::default());
    while !is_stopped(stopped, SYNC_EVERY) {
        let result = steps.make(&mut step);
        // Regardless of how the step ended.
        checks.make(&mut check).unwrap_or(Ok(()))?;
        let Some(result) = result else { continue };
        if !matches!(result, Err(SyncError::Store(_))) {
            store.ends(|| log::info!("ended sessions can be looked up again"));
        }
        match result {
            Ok(()) => clock.ends(|| log::info!("the clock can be relied on again")),
            Err(SyncError::Clock(error)) => {
                clock.begins(|| log::error!("no new token is given out: {}", CliError::Clock(error)));
            }
            Err(SyncError::Store(error)) => store.begins(|| {
                let error = anyhow::Error::new(error);
                log::warn!(
                    "ended sessions cannot be looked up; every token is asked of the database: {error:#}"
                );
            }),
        }
    }
    Ok(())
}

/// The pause between two steps: a session that ended elsewhere is refused here within a second.
const SYNC_EVERY: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::mpsc;

    use portcullis_domain::maintenance::ClockNotTrusted;

    use super::*;
    use crate::background::steps::tests::call;
    use crate::settings::InvalidSetting;

    fn replaced() -> CliError {
        InvalidSetting::new("replaced").into()
    }

    #[test]
    fn backend_is_checked_however_syncs_end() {
        let (_stop, stopped) = mpsc::sync_channel(0);
        let (steps, checks) = (Cell::new(0), Cell::new(0));
        let step = || match call(&steps, &[1, 2]) {
            3 => Err(ClockNotTrusted::NotSet.into()),
            _ => Ok(()),
        };
        let check = || if call(&checks, &[3]) == 4 { Err(replaced()) } else { Ok(()) };
        let failure = sync(step, check, &stopped).unwrap_err();
        assert_eq!(failure.to_string(), replaced().to_string());
        assert_eq!((steps.get(), checks.get()), (4, 4));
    }
}
