//! The check that the database commits changes.

use std::sync::mpsc::Receiver;
use std::time::Duration;

use portcullis_domain::maintenance::Check;
use portcullis_domain::ports::StoreError;

use super::steps::{Steps, Trouble};

pub(super) fn check_writes(mut check: impl FnMut() -> Result<Check, StoreError>, stopped: &Receiver<()>) {
    let mut trouble = Trouble::default();
    let step = || {
        match check() {
            Ok(Check::Ok) => trouble.ends(|| log::info!("the database commits changes again")),
            // They succeed again, but not for long enough.
            Ok(Check::Failing) => {}
            Err(error) => trouble.begins(|| {
                let reason = format!("{:#}", anyhow::Error::new(error));
                log::error!(reason; "the database commits no changes; this instance is not ready");
            }),
        }
        CHECK_WRITES_EVERY
    };
    Steps::of("checking that changes are committed").repeat(step, CHECK_WRITES_EVERY, stopped);
}

/// How often it is checked that the database commits changes: readiness must not pass for long after they fail.
const CHECK_WRITES_EVERY: Duration = Duration::from_secs(1);
