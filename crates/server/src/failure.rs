use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use crate::settings::InvalidSetting;

/// Why a command ends badly.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A setting cannot hold; exit code 78 (`EX_CONFIG` of sysexits.h). Trying again changes nothing.
    Config(InvalidSetting),
    /// Anything else; exit code 1.
    Failed(anyhow::Error),
}

impl Failure {
    /// Prints the reason in one line and gives the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        // Nothing is left to do about a stderr that is gone.
        let _ = writeln!(io::stderr(), "portcullis: {self}");
        match self {
            Self::Config(_) => ExitCode::from(78),
            Self::Failed(_) => ExitCode::FAILURE,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Failed(error) => write!(f, "{error:#}"),
        }
    }
}

impl From<InvalidSetting> for Failure {
    fn from(error: InvalidSetting) -> Self {
        Self::Config(error)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

/// Prints lines of data on standard output.
pub(crate) fn print(lines: impl IntoIterator<Item = impl fmt::Display>) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let written = lines.into_iter().try_for_each(|line| writeln!(out, "{line}")).and_then(|()| out.flush());
    written.map_err(|error| {
        Failure::Failed(anyhow::Error::new(error).context("cannot write to standard output"))
    })
}
