//! The lookup of ended sessions.

use std::sync::mpsc::Receiver;
use std::time::Duration;

use portcullis_domain::maintenance::SyncError;

use super::steps::{Steps, Trouble, is_stopped};
use crate::cli_error::CliError;

pub(super) fn look_up_ended_sessions(
    mut sync: impl FnMut() -> Result<(), SyncError>,
    mut check_database: impl FnMut() -> Result<(), CliError>,
    stopped: &Receiver<()>,
) -> Result<(), CliError> {
    let (mut looks, mut checks) =
        (Steps::of("looking up ended sessions"), Steps::of("checking the database"));
    let (mut clock, mut store) = (Trouble::default(), Trouble::default());
    while !is_stopped(stopped, LOOK_EVERY) {
        let result = looks.make(&mut sync);
        // Whatever became of the look.
        checks.make(&mut check_database).unwrap_or(Ok(()))?;
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

/// How often ended sessions are looked up: a session ended elsewhere is refused here within a second.
const LOOK_EVERY: Duration = Duration::from_millis(250);

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
    fn the_secret_is_checked_whatever_becomes_of_looks() {
        let (_stop, stopped) = mpsc::sync_channel(0);
        let (looks, checks) = (Cell::new(0), Cell::new(0));
        let sync = || match call(&looks, &[1, 2]) {
            3 => Err(ClockNotTrusted::NotSet.into()),
            _ => Ok(()),
        };
        let check = || if call(&checks, &[3]) == 4 { Err(replaced()) } else { Ok(()) };
        let failure = look_up_ended_sessions(sync, check, &stopped).unwrap_err();
        assert_eq!(failure.to_string(), replaced().to_string());
        assert_eq!((looks.get(), checks.get()), (4, 4));
    }
}
