//! The command `serve`: runs the service until it is told to stop.

use std::future::pending;
use std::num::NonZeroUsize;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use actix_server::ServerHandle;
use actix_web::rt::{self, time::timeout};
use anyhow::Context as _;
use portcullis_http::{Api, HttpConfig};

use super::announce::{announce, ready_announcement, warn_of_risks};
use super::socket::{BoundSocket, Entrance, start};
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
    let listener = socket.listen()?;
    let entrance = Entrance::of(&listener);
    let server = start(settings, workers, listener, Arc::clone(&api)).context("cannot start the server")?;
    announce(settings, instance.backend());

    let (failed, failure) = mpsc::sync_channel(1);
    let handle = server.handle();
    let (stopping, closing) = (handle.clone(), entrance.clone());
    let announce_ready = ready_announcement(settings);
    let background = Background::start(Arc::new(instance), is_prepared, announce_ready, move |failure| {
        // The channel holds the one failure there can be.
        let _ = failed.try_send(failure);
        closing.release();
        // The stop is under way with the call; its future only waits for the end.
        drop(stopping.stop(true));
    })?;
    let (drain_delay, shutdown_timeout) = (settings.server.drain_delay, settings.server.shutdown_timeout);
    let api_of_stop = Arc::downgrade(&api);
    let order = Stop { server: handle, entrance, api: api_of_stop, drain_delay, shutdown_timeout };
    rt::spawn(order.when_told(stop));
    let result = server.await.context("the server failed");
    let last_work = limit_last_work()?;
    // Both wait for the work that runs.
    drop(background);
    drop(api);
    drop(last_work);
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

/// How a server stops in order.
struct Stop {
    server: ServerHandle,
    entrance: Entrance,
    api: Weak<Api>,
    drain_delay: Duration,
    shutdown_timeout: Duration,
}

impl Stop {
    /// Waits until the server is told to stop. It then drains, closes, and lets requests under way finish within
    /// `server.shutdown_timeout`. If told again, at any time, it ends the process at once.
    async fn when_told(self, mut told: impl AsyncFnMut()) {
        told().await;
        if !self.drain_delay.is_zero() {
            log::info!(seconds = self.drain_delay.as_secs(); "draining: requests are still answered");
        }
        self.drain(&mut told).await;
        log::info!("stopping");
        self.close(&mut told).await;
        told().await;
        exit_at_once();
    }

    /// Answers requests as before for `server.drain_delay`, while `/ready` fails and each response closes its connection.
    async fn drain(&self, told: &mut impl AsyncFnMut()) {
        if let Some(api) = self.api.upgrade() {
            api.start_draining();
        }
        if self.drain_delay.is_zero() {
            return;
        }
        wait_unless_told(told, self.drain_delay - LAST_HANDSHAKES).await;
        if self.entrance.refuse() {
            wait_unless_told(told, LAST_HANDSHAKES).await;
        }
    }

    /// Accepts no connection any more, and refuses password work that waits: after a drain only work that is still waiting
    /// after half of `server.shutdown_timeout`, so that it gets a 503 in time.
    async fn close(&self, told: &mut impl AsyncFnMut()) {
        self.entrance.release();
        // The stop is under way with the call; its future only waits for the end.
        drop(self.server.stop(true));
        let deadline = Instant::now() + self.shutdown_timeout / 2;
        let waits = || self.api.upgrade().is_some_and(|api| api.password_pool_counts().waiting > 0);
        while !self.drain_delay.is_zero() && Instant::now() < deadline && waits() {
            wait_unless_told(told, CHECK_QUEUE_EVERY).await;
        }
        if let Some(api) = self.api.upgrade() {
            api.close_password_pool();
        }
    }
}

/// Waits for a time; ends the process if it is told to stop meanwhile.
async fn wait_unless_told(told: &mut impl AsyncFnMut(), time: Duration) {
    if timeout(time, told()).await.is_ok() {
        exit_at_once();
    }
}

fn exit_at_once() -> ! {
    log::warn!("received a second stop signal, exiting now");
    logging::drain();
    std::process::exit(1)
}

/// Ends the process if work that no limit ends, such as a commit that waits for a standby, outlasts the server for too
/// long. The commit is not cancelled: the database finishes it without this process. Dropping the value calls it off.
fn limit_last_work() -> anyhow::Result<mpsc::Sender<()>> {
    let (done, waits) = mpsc::channel();
    let limit = move || {
        if waits.recv_timeout(LAST_WORK) == Err(RecvTimeoutError::Timeout) {
            log::warn!("work under way has not ended, exiting; the database may still commit it");
            logging::drain();
            std::process::exit(1);
        }
    };
    thread::Builder::new().name("last-work".to_owned()).spawn(limit).context("cannot start a thread")?;
    Ok(done)
}

/// The part of `server.drain_delay` in which no connection begins any more: longer than a handshake takes across a
/// continent, and as short as that, because a client whose SYN is ignored repeats it only after a second (RFC 6298). It
/// is then refused, and a proxy turns to another instance.
const LAST_HANDSHAKES: Duration = Duration::from_millis(100);

/// How often a stop checks whether password work waits.
const CHECK_QUEUE_EVERY: Duration = Duration::from_millis(50);

/// How long work under way may outlast the server's last connection: a call of the store, or a hash.
const LAST_WORK: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
