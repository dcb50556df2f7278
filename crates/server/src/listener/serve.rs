use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Weak, mpsc};
#[cfg(unix)]
use std::task::Poll;
use std::time::Duration;

use actix_http::{HttpService, KeepAlive, Protocol};
use actix_server::{Server, ServerBuilder, ServerHandle};
use actix_service::{ServiceFactoryExt as _, apply_fn_factory, fn_service, map_config};
use actix_web::dev::AppConfig;
use actix_web::rt;
use actix_web::rt::net::{TcpListener, TcpSocket, TcpStream};
use actix_web::rt::signal;
use anyhow::Context as _;
use portcullis_adapters::db::DatabaseUrl;
use portcullis_adapters::files::absolute;
use portcullis_adapters::secret::Secret;
use portcullis_http::{Api, HttpConfig};

use crate::background::Background;
use crate::bootstrap::{Instance, Purpose, known_secrets};
use crate::cli_error::CliError;
use crate::listener::connection::Connection;
use crate::listener::turn;
use crate::settings::{InvalidSetting, PublicUrlOrigin, Settings, url_of};
#[cfg(unix)]
use crate::signals::is_ignored;
use crate::{logging, machine};

/// Runs the service until it is told to stop.
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
    let socket = bind(settings.server.listen)?;
    settings.listening_on(socket.local_addr().context("cannot read the address of the listening socket")?)?;
    let settings = &settings;
    let instance = Arc::new(Instance::assemble(settings, Purpose::Create)?);
    warn_of_risks(settings)?;
    let is_prepared = match instance.prepare() {
        // The background thread logs what is wrong with a clock, and waits until it is put right.
        Ok(()) | Err(CliError::Clock(_)) => true,
        Err(CliError::Failed(error)) if matches!(settings.database, DatabaseUrl::Postgres(_)) => {
            log::warn!(reason:% = format!("{error:#}"); "waiting for the database");
            false
        }
        Err(failure) => return Err(failure),
    };
    system.block_on(serve(settings, workers, socket, instance, is_prepared))
}

async fn serve(
    settings: &Settings,
    workers: usize,
    socket: TcpSocket,
    instance: Arc<Instance>,
    is_prepared: bool,
) -> Result<(), CliError> {
    let api = Api::new(
        instance.service.clone(),
        http_config(settings),
        Arc::clone(&instance.ports.clock),
        Arc::clone(&instance.ports.entropy),
    );
    let api = Arc::new(api.context("cannot start the threads of the interface")?);
    let address = settings.server.listen;
    let listener = socket.listen(BACKLOG).and_then(TcpListener::into_std);
    let listener = listener.map_err(|error| unbound(address, error))?;
    let server = start(settings, workers, listener, Arc::clone(&api)).context("cannot start the server")?;
    // Before the address is announced: a supervisor may stop the service as soon as it reads of it.
    let signals = Signals::listen();
    announce(settings);

    let (failed, failure) = mpsc::sync_channel(1);
    let handle = server.handle();
    let stopping = handle.clone();
    let announce_ready = ready_announcement(settings);
    let background = Background::start(instance, is_prepared, announce_ready, move |failure| {
        // The channel holds the one failure there can be.
        let _ = failed.try_send(failure);
        // The stop is under way with the call; its future only waits for the end.
        drop(stopping.stop(true));
    })?;
    rt::spawn(stop_on_signal(signals, handle, Arc::downgrade(&api)));
    let result = server.await.context("the server failed");
    drop(background);
    // Waits for the hashes that run.
    drop(api);
    log::info!("stopped");
    match failure.try_recv() {
        Ok(failure) => Err(failure),
        Err(_) => Ok(result?),
    }
}

/// Takes an address for this process. Connections are accepted only when it listens.
fn bind(address: SocketAddr) -> Result<TcpSocket, CliError> {
    let bind = || {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        #[cfg(not(windows))]
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        Ok(socket)
    };
    bind().map_err(|error| unbound(address, error))
}

/// Serves the connections that a listener takes. As `HttpServer` would, which leaves no place for [`Connection`].
fn start(
    settings: &Settings,
    workers: usize,
    listener: std::net::TcpListener,
    api: Arc<Api>,
) -> io::Result<Server> {
    let server = ServerBuilder::new();
    let stopping = server.graceful_shutdown_signal();
    let keep_alive = settings.server.keep_alive;
    let server = server
        .workers(workers)
        .worker_max_blocking_threads(blocking_threads(settings, workers))
        .max_concurrent_connections(MAX_CONNECTIONS_PER_WORKER)
        .shutdown_timeout(settings.server.shutdown_timeout.as_secs())
        .disable_signals()
        .listen("http", listener, move || {
            let app = map_config(portcullis_http::app(&api), |()| AppConfig::default());
            let app = apply_fn_factory(app, turn::answer);
            let stopping = stopping.clone();
            let http = HttpService::build()
                .graceful_shutdown_signal(move || {
                    let stopping = stopping.clone();
                    async move { stopping.notified().await }
                })
                .client_request_timeout(HEAD_TIMEOUT)
                // The connections see to that, and to closing gently.
                .keep_alive(KeepAlive::Os)
                .client_disconnect_timeout(Duration::ZERO)
                .on_connect_ext(|connection: &Connection<TcpStream>, data| {
                    data.insert(connection.turn());
                })
                // Who closes the own half is taken to have left, for most clients close both at once and it looks the
                // same: their work is dropped instead of done for nobody.
                .h1_allow_half_closed(false)
                .finish(app);
            fn_service(move |stream: TcpStream| async move {
                let peer = stream.peer_addr().ok();
                Ok((Connection::new(stream, keep_alive), Protocol::Http1, peer))
            })
            .and_then(http)
        })?;
    Ok(server.run())
}

/// An address that this machine does not have, or may not use, is a matter of settings; one in use may get free.
fn unbound(listen: SocketAddr, error: io::Error) -> CliError {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            anyhow::Error::new(error).context(format!("cannot listen on server.listen = {listen}")).into()
        }
        _ => {
            let advice = match listen {
                SocketAddr::V6(_) if lacks_family(&error) => {
                    "; this machine may have no IPv6: try 0.0.0.0 or 127.0.0.1"
                }
                _ => "",
            };
            InvalidSetting::new(format!("server.listen = {listen}: {error}{advice}")).into()
        }
    }
}

/// Whether the machine lacks the address family, or has no address of it.
#[cfg(unix)]
fn lacks_family(error: &io::Error) -> bool {
    let family = rustix::io::Errno::AFNOSUPPORT.raw_os_error();
    error.raw_os_error() == Some(family) || error.kind() == io::ErrorKind::AddrNotAvailable
}

#[cfg(not(unix))]
fn lacks_family(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable
}

fn http_config(settings: &Settings) -> HttpConfig {
    HttpConfig {
        public_url: settings.server.public_url.clone(),
        issuer: settings.tokens.issuer.as_str().to_owned(),
        docs: settings.server.docs,
        trusted_proxies: settings.server.trusted_proxies.clone(),
        allowed_origins: settings.cors.clone(),
        limits: settings.limits,
        password_lane: settings.password_lane,
    }
}

/// Waits for SIGTERM, SIGINT, SIGQUIT or SIGHUP. Then the service accepts no connection, refuses waiting password work, and
/// lets requests under way finish within `server.shutdown_timeout`. A second signal ends the process at once.
async fn stop_on_signal(signals: io::Result<Signals>, server: ServerHandle, api: Weak<Api>) {
    let mut signals = match signals {
        Ok(signals) => signals,
        Err(error) => return log::error!("cannot wait for signals: {error}"),
    };
    signals.next().await;
    log::info!("stopping");
    if let Some(api) = api.upgrade() {
        api.close_password_lane();
    }
    // The stop is under way with the call; its future only waits for the end.
    drop(server.stop(true));
    signals.next().await;
    log::warn!("received a second stop signal, exiting now");
    logging::drain();
    std::process::exit(1);
}

/// Makes a write beyond the size limit of files (`ulimit -f`, `LimitFSIZE=`) fail, as on a full disk. By default the signal
/// ends the process, so a log file that reaches the limit would stop the service.
#[cfg(unix)]
fn outlive_full_files() -> io::Result<()> {
    // The handler stays after this receiver is dropped.
    signal::unix::signal(signal::unix::SignalKind::from_raw(SIGXFSZ)).map(drop)
}

/// The signals that ask a process to stop. SIGHUP does not if it was ignored at the start, as under `nohup`.
#[cfg(unix)]
struct Signals(Vec<signal::unix::Signal>);

#[cfg(unix)]
impl Signals {
    fn listen() -> io::Result<Self> {
        use signal::unix::{SignalKind, signal};

        let mut kinds = vec![SignalKind::terminate(), SignalKind::interrupt(), SignalKind::quit()];
        if !is_ignored(SignalKind::hangup().as_raw_value()) {
            kinds.push(SignalKind::hangup());
        }
        kinds.into_iter().map(signal).collect::<io::Result<_>>().map(Self)
    }

    async fn next(&mut self) {
        std::future::poll_fn(|context| {
            // All are polled, so that each wakes this task.
            let came = self.0.iter_mut().filter_map(|signal| match signal.poll_recv(context) {
                Poll::Ready(_) => Some(()),
                Poll::Pending => None,
            });
            if came.count() > 0 { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) {
        if let Err(error) = signal::ctrl_c().await {
            log::error!("cannot wait for Ctrl-C: {error}");
        }
    }
}

/// Logs valid settings that operators rarely intend.
fn warn_of_risks(settings: &Settings) -> Result<(), CliError> {
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
            log::warn!(reason:% = reason; "weak secret: production refuses it");
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

/// Logs the addresses and the database of the service.
fn announce(settings: &Settings) {
    let address = settings.server.listen;
    log::info!(address:% = address, environment = settings.environment.name(); "listening on http://{address}");
    log::info!(issuer = settings.tokens.issuer.as_str(); "issuer of access tokens");
    match settings.server.docs {
        true => log::info!(url:% = format!("{}/docs", settings.server.public_url); "API documentation"),
        false => log::info!("API documentation is not served (server.docs)"),
    }
    let database = match &settings.database {
        DatabaseUrl::Sqlite(path) => format!("sqlite://{}", absolute(path)),
        url @ DatabaseUrl::Postgres(_) => url.to_string(),
    };
    match (&settings.secret, settings.secret_file()) {
        (None, Some(file)) => log::info!(url = database, secret_file = absolute(&file); "database"),
        _ => log::info!(url = database; "database"),
    }
}

/// Returns the log lines for the time from which the service can serve; earlier requests are refused.
fn ready_announcement(settings: &Settings) -> impl FnOnce() + Send + 'static {
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

/// Threads of one worker that wait for the database: no more than there are connections to wait for.
fn blocking_threads(settings: &Settings, workers: usize) -> usize {
    (settings.pool.size as usize).div_ceil(workers).max(2)
}

/// The signal's number (`signal(7)`), except on MIPS and PA-RISC.
#[cfg(unix)]
const SIGXFSZ: i32 = 25;

/// Connections that the kernel holds until they are accepted.
const BACKLOG: u32 = 1_024;

/// Beyond it a worker accepts no more until one ends.
const MAX_CONNECTIONS_PER_WORKER: usize = 10_000;

/// How long a client may take to send the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
