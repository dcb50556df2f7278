//! The listening socket, and the workers that serve its connections.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix_http::{HttpService, KeepAlive, Protocol};
use actix_server::{Server, ServerBuilder};
use actix_service::{ServiceFactoryExt as _, apply_fn_factory, fn_service, map_config};
use actix_web::dev::AppConfig;
use actix_web::rt::net::{TcpSocket, TcpStream};
use portcullis_http::Api;

use super::slow_client::{self, Connection};
use crate::cli_error::CliError;
use crate::settings::{InvalidSetting, Settings};

/// Takes an address for this process. Connections are accepted only when it listens.
pub(super) fn bind(address: SocketAddr) -> Result<TcpSocket, CliError> {
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
pub(super) fn start(
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
            let app = apply_fn_factory(app, slow_client::answer);
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
pub(super) fn unbound(listen: SocketAddr, error: io::Error) -> CliError {
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

/// Threads of one worker that wait for the database: no more than there are connections to wait for.
fn blocking_threads(settings: &Settings, workers: usize) -> usize {
    (settings.pool.size as usize).div_ceil(workers).max(2)
}

/// Beyond it a worker accepts no more until one ends.
const MAX_CONNECTIONS_PER_WORKER: usize = 10_000;

/// How long a client may take to send the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
