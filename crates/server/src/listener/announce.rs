//! The log lines of a start.

use portcullis_adapters::files::absolute;
use portcullis_adapters::secret::Secret;

use crate::advice;
use crate::bootstrap::{Backend, known_secrets};
use crate::cli_error::CliError;
use crate::settings::{PublicUrlOrigin, Settings, url_of};

/// Logs valid settings that operators rarely intend.
pub(super) fn warn_of_risks(settings: &Settings) -> Result<(), CliError> {
    if settings.limits.enabled && cfg!(not(feature = "governor")) {
        log::warn!("this build has no limits per client address; a gateway in front must have them");
    }
    warn_of_public_url(settings);
    if settings.environment.is_development() {
        return warn_of_weak_secrets(settings);
    }
    if !settings.limits.enabled {
        log::warn!(
            "limits.enabled = false: only wrong passwords of one account are slowed down; a gateway in front must limit clients"
        );
    }
    Ok(())
}

/// Only development accepts such secrets.
fn warn_of_weak_secrets(settings: &Settings) -> Result<(), CliError> {
    for secret in known_secrets(settings)?.iter() {
        if let Err(reason) = Secret::parse(secret.expose()) {
            log::warn!(reason:% = advice::on_secret(reason); "weak secret: production refuses it");
        }
    }
    Ok(())
}

fn warn_of_public_url(settings: &Settings) {
    let (url, listen) = (settings.server.public_url.as_str(), settings.server.listen);
    let is_development = settings.environment.is_development();
    match settings.server.public_url_origin {
        PublicUrlOrigin::Unset => log::warn!(
            public_url = url;
            "server.public_url is not set: tokens and discovery documents name an address that clients cannot use; set it \
             to the URL of the service, the same for all instances"
        ),
        PublicUrlOrigin::Set if !is_development && !url.starts_with("https://") => {
            log::warn!("server.public_url is not https: passwords and tokens would travel in clear text");
        }
        PublicUrlOrigin::Set | PublicUrlOrigin::FollowsListen => {}
    }
    // Other URLs are those of a proxy.
    let own = ["localhost", "127.0.0.1", "[::1]"].map(|host| format!("http://{host}"));
    let port = own.iter().find_map(|own| match url.strip_prefix(own.as_str())? {
        "" => Some(80),
        rest => rest.strip_prefix(':')?.parse().ok(),
    });
    if settings.server.public_url_origin == PublicUrlOrigin::Set
        && port.is_some_and(|port: u16| port != listen.port())
    {
        log::warn!(
            public_url = url, listen:% = listen;
            "server.public_url names another port than server.listen: this is correct only if that port is forwarded to this service"
        );
    }
}

/// Logs the addresses and the storage of the service.
pub(super) fn announce(settings: &Settings, backend: &dyn Backend) {
    let address = settings.server.listen;
    log::info!(address:% = address, environment = settings.environment.name(); "listening on http://{address}");
    log::info!(issuer = settings.tokens.issuer.as_str(); "issuer of access tokens");
    match settings.server.docs {
        true => log::info!(url:% = format!("{}/docs", settings.server.public_url); "API documentation"),
        false => log::info!("API documentation is not served (server.docs)"),
    }
    let database = backend.location();
    match (&settings.secret, settings.secret_file()) {
        (None, Some(file)) => log::info!(url = database, secret_file = absolute(&file); "database"),
        _ => log::info!(url = database; "database"),
    }
}

/// Returns the log lines for the time from which the service can serve; earlier requests are refused.
pub(super) fn ready_announcement(settings: &Settings) -> impl FnOnce() + Send + 'static {
    let address = settings.server.listen;
    let url = match address.ip().is_unspecified() {
        true => url_of(address),
        false => format!("http://{address}"),
    };
    let can_be_tried = settings.environment.is_development() && settings.rules.registration_enabled;
    move || {
        log::info!("ready");
        if can_be_tried {
            log::info!(
                "try: curl -s {url}/register -H 'content-type: application/json' \
                 -d '{{\"username\":\"alice\",\"password\":\"Corr3ct-horse\"}}'"
            );
        }
    }
}
