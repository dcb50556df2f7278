use portcullis_domain::retention::KEPT;

use crate::failure::Failure;
use crate::settings::{Settings, Sources, describe};
use crate::terminal::print;

/// Checks every setting as a start would, then prints them, and how long the database keeps what is written.
pub(crate) fn run(sources: &Sources) -> Result<(), Failure> {
    Settings::load(sources)?;
    print([format!("# environment: {}", sources.environment.name())])?;
    print(describe(sources)?)?;
    print(KEPT.map(|(what, kept)| format!("# kept: {what}: {kept}")))
}
