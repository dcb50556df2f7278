//! The command `serve`: runs the service until it is told to stop.

use std::future::pending;
use std::num::NonZeroUsize;
use std::sync::{Arc, Weak, mpsc};

use actix_server::ServerHandle;
use actix_web::rt;
use anyhow::Context as _;
use portcullis_http::{Api, HttpConfig};

use super::announce::{announce, ready_announcement, warn_of_risks};
use super::socket::{BoundSocket, start};
use crate::background::Background;
use crate::bootstrap::{Instance, Purpose};
use crate::cli_error::CliError;
use crate::settings::Settings;
use crate::signals::Signals;
#[cfg(unix)]
use crate::signals::outlive_full_files;
use crate::{logging, machine};

/// Runs the service until SIGTERM, SIGINT, SIGQUIT or SIGHUP.
///
/// A database that cannot be reached yet is waited for, while `/health` answers, and so is a clock that is off. A
/// database that this instance must not use ends it, at the start or as soon as that turns out.
pub(crate) fn run(mut settings: Settings) -> Result<(), CliError> {
    logging::init(&settings.log);
    let workers = machine::workers(&settings)?;
    let system = rt::System::new();
    #[cfg(unix)]
    system.block_on(async { outlive_full_files() }).context("cannot handle signals")?;
    // Only with a port does the service know its URL, which tokens contain.
    let socket = BoundSocket::bind(settings.server.listen)?;
    settings.listening_on(socket.address())?;
    let settings = &settings;
    let instance = Instance::assemble(settings, Purpose::Create)?;
    warn_of_risks(settings)?;
    let is_prepared = prepare(&instance)?;
    system.block_on(async {
        // Before the address is announced: a supervisor may stop the service as soon as it reads of it.
        let mut signals = Signals::listen();
        if let Err(error) = &signals {
            log::error!("cannot wait for signals: {error}");
        }
        let stop = async move || match &mut signals {
            Ok(signals) => signals.next().await,
            Err(_) => pending().await,
        };
        serve(settings, workers, socket, instance, is_prepared, stop).await
    })
}

/// Prepares an instance, and returns `false` if it has to wait for its storage.
fn prepare(instance: &Instance) -> Result<bool, CliError> {
    match instance.prepare() {
        // The background thread logs what is wrong with a clock, and waits until it is put right.
        Ok(()) | Err(CliError::Clock(_)) => Ok(true),
        Err(CliError::Failed(error)) if instance.backend().may_be_awaited() => {
            log::warn!(reason:% = format!("{error:#}"); "waiting for the database");
            Ok(false)
        }
        Err(failure) => Err(failure),
    }
}

/// Serves an instance over any backend until `stop` returns. If `stop` returns again, the process exits at once.
async fn serve(
    settings: &Settings,
    workers: usize,
    socket: BoundSocket,
    instance: Instance,
    is_prepared: bool,
    stop: impl AsyncFnMut() + 'static,
) -> Result<(), CliError> {
    let api = Api::new(&instance.core, http_config(settings));
    let api = Arc::new(api.context("cannot start the threads of the interface")?);
    let server =
        start(settings, workers, socket.listen()?, Arc::clone(&api)).context("cannot start the server")?;
    announce(settings, instance.backend());

    let (failed, failure) = mpsc::sync_channel(1);
    let handle = server.handle();
    let stopping = handle.clone();
    let announce_ready = ready_announcement(settings);
    let background = Background::start(Arc::new(instance), is_prepared, announce_ready, move |failure| {
        // The channel holds the one failure there can be.
        let _ = failed.try_send(failure);
        // The stop is under way with the call; its future only waits for the end.
        drop(stopping.stop(true));
    })?;
    rt::spawn(stop_when_told(stop, handle, Arc::downgrade(&api)));
    let result = server.await.context("the server failed");
    drop(background);
    // Waits for the work that runs.
    drop(api);
    log::info!("stopped");
    match failure.try_recv() {
        Ok(failure) => Err(failure),
        Err(_) => Ok(result?),
    }
}

fn http_config(settings: &Settings) -> HttpConfig {
    HttpConfig {
        public_url: settings.server.public_url.clone(),
        issuer: settings.tokens.issuer.as_str().to_owned(),
        docs: settings.server.docs,
        trusted_proxies: settings.server.trusted_proxies.clone(),
        allowed_origins: settings.cors.clone(),
        limits: settings.limits,
        data_threads: NonZeroUsize::new(settings.pool.size as usize).unwrap_or(NonZeroUsize::MIN),
        password_pool: settings.password_pool,
    }
}

/// Waits until the server is told to stop. Then it accepts no connection, refuses waiting password work, and lets requests
/// under way finish within `server.shutdown_timeout`. If told again, it ends the process at once.
async fn stop_when_told(mut stop: impl AsyncFnMut(), server: ServerHandle, api: Weak<Api>) {
    stop().await;
    log::info!("stopping");
    if let Some(api) = api.upgrade() {
        api.close_password_pool();
    }
    // The stop is under way with the call; its future only waits for the end.
    drop(server.stop(true));
    stop().await;
    log::warn!("received a second stop signal, exiting now");
    logging::drain();
    std::process::exit(1);
}

#[cfg(test)]
mod tests;
