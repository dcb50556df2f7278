use std::fmt;
use std::process::ExitCode;

use portcullis_domain::maintenance::{ClockNotTrusted, SyncError};

use crate::logging;
use crate::settings::InvalidSetting;

/// Why a command ends badly.
#[derive(Debug)]
pub(crate) enum CliError {
    /// The command line asks for something that it must not; exit code 2, as of clap's own refusals.
    Usage(String),
    /// A setting cannot hold; exit code 78 (`EX_CONFIG` of sysexits.h). Trying again changes nothing.
    Config(InvalidSetting),
    /// The clocks of this instance and of the database are too far apart; exit code 1. They may be put right.
    Clock(ClockNotTrusted),
    /// Anything else; exit code 1.
    Failed(anyhow::Error),
}

impl CliError {
    /// Prints the reason in one line and gives the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        logging::print(&format!("portcullis: {self}"));
        match self {
            Self::Usage(_) => ExitCode::from(2),
            Self::Config(_) => ExitCode::from(78),
            Self::Clock(_) | Self::Failed(_) => ExitCode::FAILURE,
        }
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(text) => f.write_str(text),
            Self::Config(error) => error.fmt(f),
            Self::Clock(error) => write!(
                f,
                "{error}; put the clock right, or, where it is right now, take the mark of the wrong time out \
                 of the database (docs/security/incidents.md, \"The clock\")"
            ),
            Self::Failed(error) => write!(f, "{error:#}"),
        }
    }
}

impl From<InvalidSetting> for CliError {
    fn from(error: InvalidSetting) -> Self {
        Self::Config(error)
    }
}

impl From<SyncError> for CliError {
    fn from(error: SyncError) -> Self {
        match error {
            SyncError::Clock(error) => Self::Clock(error),
            SyncError::Store(error) => {
                Self::Failed(anyhow::Error::new(error).context("cannot look up ended sessions"))
            }
        }
    }
}

impl From<anyhow::Error> for CliError {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}
