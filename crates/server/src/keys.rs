use portcullis_adapters::keys::{KeyUse, ListedKey};
use portcullis_adapters::system::SystemClock;
use portcullis_domain::ports::Clock as _;
use portcullis_domain::time::UnixTime;

use crate::failure::Failure;
use crate::settings::Settings;
use crate::terminal::{print, rfc3339};
use crate::{logging, wire};

/// Prints the keys of the ring: those of the epoch before, of this one and of the next, for each secret. Asks no
/// database, so by this machine's clock.
pub(crate) fn list(settings: &Settings) -> Result<(), Failure> {
    logging::init(&settings.log);
    let secrets = wire::known_secrets(settings)?;
    let now = SystemClock::new().now();
    print(wire::key_ring(settings, &secrets, now).list(now).iter().map(|key| line(key, now)))
}

fn line(key: &ListedKey, now: UnixTime) -> String {
    let is_now = key.from <= now && now < key.until;
    let key_use = match (key.key_use, is_now) {
        (KeyUse::Signs, true) => "signs",
        (KeyUse::Signs, false) | (KeyUse::Verifies, _) => "verifies",
    };
    format!("{}  {key_use:8}  {} to {}", key.key.id, rfc3339(key.from), rfc3339(key.until))
}
