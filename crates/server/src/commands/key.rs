//! The command `keys list`: print the keys that sign and verify tokens.

use clap::Subcommand;
use portcullis_adapters::keys::{KeyUse, ListedKey};
use portcullis_adapters::system::SystemClock;
use portcullis_domain::ports::Clock as _;
use portcullis_domain::time::UnixTime;

use crate::cli_error::CliError;
use crate::console::print;
use crate::rfc3339::rfc3339;
use crate::settings::Settings;
use crate::{bootstrap, logging};

#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Print the id, the use and the time of each key, by this machine's clock
    List,
}

/// Runs a `keys` command.
pub(crate) fn run(command: &KeysCommand, settings: &Settings) -> Result<(), CliError> {
    match command {
        KeysCommand::List => list(settings),
    }
}

/// Prints the keys of the ring: those of the previous, the current and the next epoch, for each algorithm and each
/// secret. Reads no database, so this machine's clock decides which epoch is current.
fn list(settings: &Settings) -> Result<(), CliError> {
    logging::init(&settings.log);
    let secrets = bootstrap::known_secrets(settings)?;
    let now = SystemClock::new().now();
    let ring = settings.tokens.key_ring(&secrets, now);
    print(ring.list(now).iter().map(|key| line(key, ring.publishes(key), now)))
}

fn line(key: &ListedKey, is_published: bool, now: UnixTime) -> String {
    let is_now = key.from <= now && now < key.until;
    let key_use = match (key.key_use, is_now) {
        (KeyUse::Signs, true) => "signs",
        (KeyUse::Signs, false) | (KeyUse::Verifies, _) => "verifies",
    };
    let (from, until, algorithm) = (rfc3339(key.from), rfc3339(key.until), key.algorithm.name());
    let unpublished = if is_published { "" } else { "  not published" };
    format!("{}  {key_use:8}  {from} to {until}  {algorithm}{unpublished}", key.key.id)
}
