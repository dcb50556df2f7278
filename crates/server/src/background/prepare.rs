//! The wait for the database at the start.

use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use super::steps::{Steps, is_stopped};
use crate::cli_error::CliError;

/// How the wait for the database ended.
#[derive(PartialEq, Eq)]
pub(super) enum Waited {
    DatabaseIsReady,
    ToldToStop,
}

/// Tries until the database is ready, with growing pauses.
pub(super) fn wait_for_database(
    mut prepare: impl FnMut() -> Result<(), CliError>,
    stopped: &Receiver<()>,
) -> Result<Waited, CliError> {
    let mut steps = Steps::of("preparing the database");
    let mut pause = FIRST_PAUSE;
    let mut logged = (String::new(), Instant::now());
    while !is_stopped(stopped, pause) {
        pause = LONGEST_PAUSE.min(pause * 2);
        let Some(result) = steps.make(&mut prepare) else { continue };
        match result {
            Ok(()) | Err(CliError::Clock(_)) => {
                log::info!("the database is ready");
                return Ok(Waited::DatabaseIsReady);
            }
            Err(CliError::Failed(error)) => {
                let reason = format!("{error:#}");
                // Rarely enough for the log, and often enough to be found in it later.
                if reason != logged.0 || logged.1.elapsed() >= REMIND_EVERY {
                    log::warn!(reason; "still waiting for the database");
                    logged = (reason, Instant::now());
                }
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok(Waited::ToldToStop)
}

/// How often the log repeats why the server waits for its database.
const REMIND_EVERY: Duration = Duration::from_mins(1);

const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(4);

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::mpsc;

    use super::*;
    use crate::background::steps::tests::call;

    #[test]
    fn the_wait_for_the_database_outlives_a_panic() {
        let (_stop, stopped) = mpsc::sync_channel(0);
        let calls = Cell::new(0);
        let prepare = || {
            call(&calls, &[1]);
            Ok(())
        };
        let waited = wait_for_database(prepare, &stopped);
        assert!(waited.is_ok_and(|waited| waited == Waited::DatabaseIsReady));
        assert_eq!(calls.get(), 2);
    }
}
