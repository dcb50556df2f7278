use anyhow::Context as _;

use crate::failure::Failure;
use crate::terminal::print;

/// Prints the OpenAPI description, which does not depend on any setting.
pub(crate) fn run() -> Result<(), Failure> {
    print([portcullis_http::openapi().to_pretty_json().context("cannot write the description as JSON")?])
}
