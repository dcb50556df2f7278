use portcullis_domain::retention::KEPT;

use crate::cli_error::CliError;
use crate::console::print;
use crate::settings::{Sources, describe};

/// Checks every setting as a start would, then prints them, and how long the database keeps what is written.
pub(crate) fn run(sources: &Sources) -> Result<(), CliError> {
    let settings = describe(sources)?;
    print([format!("# environment: {}", sources.environment.name())])?;
    print(settings)?;
    print(KEPT.map(|(what, kept)| format!("# kept: {what}: {kept}")))
}
