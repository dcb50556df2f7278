use crate::failure::{Failure, print};
use crate::settings::{Settings, Sources, describe};

/// Checks every setting as a start would, then prints them.
pub(crate) fn run(sources: &Sources) -> Result<(), Failure> {
    Settings::load(sources)?;
    print([format!("# environment: {}", sources.environment.name())])?;
    print(describe(sources)?)
}
