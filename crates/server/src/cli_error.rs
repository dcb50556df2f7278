//! The failures of commands, with their exit codes.

use std::fmt;
use std::process::ExitCode;

use portcullis_adapters::db::PrepareError;
use portcullis_domain::maintenance::{ClockNotTrusted, SyncError};

use crate::rfc3339::rfc3339;
use crate::settings::InvalidSetting;
use crate::{advice, logging};

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

impl From<PrepareError> for CliError {
    fn from(error: PrepareError) -> Self {
        match error {
            PrepareError::Direct(error) => Self::of_database(&error, "database.migrate_url"),
            error @ PrepareError::OtherDatabase => Self::of_database(&error, "database.migrate_url"),
            error => Self::of_database(&error, "database.url"),
        }
    }
}

/// Sorts the failures to prepare a database: trying again helps, or the settings must change.
impl CliError {
    /// Names what holds the URL of the database: `database.url`, or an option of the command line.
    pub(crate) fn of_database(error: &PrepareError, holder: &str) -> Self {
        let text = advice::on_database(error);
        match error {
            PrepareError::Absent(_) => InvalidSetting::new(format!(
                "{holder}: {text}; run the command in the folder of the service and with its settings (only `serve`, \
                 `migrate` and `user add` create a database)"
            ))
            .into(),
            PrepareError::Unusable(..)
            | PrepareError::Encoding(_)
            | PrepareError::Refused(_)
            | PrepareError::Url(_)
            | PrepareError::Pooler
            | PrepareError::StatementPooler
            | PrepareError::RoleSettings(_)
            | PrepareError::NoDirectUrl
            | PrepareError::OtherDatabase
            | PrepareError::BinaryTooOld { .. }
            | PrepareError::TooOld(_) => InvalidSetting::new(format!("{holder}: {text}")).into(),
            PrepareError::Direct(error) => Self::of_database(error, "database.migrate_url"),
            PrepareError::OtherSecret => InvalidSetting::new(format!(
                "secret: {text}; set that one, or add it to accepted_secrets to replace it; if it has leaked, \
                 replace it with this one by `portcullis secret adopt`, which signs out all users"
            ))
            .into(),
            PrepareError::RefusedSecret => {
                InvalidSetting::new(format!("secret: {text}; set the one in use, or adopt a new one")).into()
            }
            PrepareError::RefusedAcceptedSecret => {
                InvalidSetting::new(format!("accepted_secrets: {text}; take it out")).into()
            }
            PrepareError::Moved(at) => InvalidSetting::new(format!(
                "{holder}: {text} at {}; set the URL of that one, or, if that one is not in use, declare this one as \
                 the only one by `portcullis db moved`",
                rfc3339(*at)
            ))
            .into(),
            PrepareError::UnfinishedCopy => InvalidSetting::new(format!(
                "{holder}: {text}; run `portcullis db copy` again, which starts over"
            ))
            .into(),
            PrepareError::Unreachable(_)
            | PrepareError::Denied(..)
            | PrepareError::Outdated
            | PrepareError::Migration(_) => anyhow::Error::msg(text).into(),
        }
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
