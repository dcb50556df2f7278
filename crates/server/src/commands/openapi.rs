//! The command `openapi`: print the OpenAPI document.

use anyhow::Context as _;

use crate::cli_error::CliError;
use crate::console::print;

/// Prints the OpenAPI description, which does not depend on any setting.
pub(crate) fn run() -> Result<(), CliError> {
    print([portcullis_http::openapi().to_pretty_json().context("cannot write the description as JSON")?])
}
