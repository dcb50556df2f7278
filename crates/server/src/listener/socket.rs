//! The listening socket, and the workers that serve its connections.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use actix_server::{Server, ServerBuilder};
use actix_web::rt::{self, net::TcpSocket};
use anyhow::Context as _;
use portcullis_http::Api;

use super::slow_client;
use crate::cli_error::CliError;
use crate::settings::{InvalidSetting, Settings};

/// A socket that reserves its address for this process. Connections are accepted only once it listens.
#[derive(Debug)]
pub(super) struct BoundSocket {
    socket: TcpSocket,
    address: SocketAddr,
}

impl BoundSocket {
    /// Reserves the address `server.listen`, with a free port if that port is 0.
    pub(super) fn bind(listen: SocketAddr) -> Result<Self, CliError> {
        let bind = || {
            let socket = match listen {
                SocketAddr::V4(_) => TcpSocket::new_v4()?,
                SocketAddr::V6(_) => TcpSocket::new_v6()?,
            };
            #[cfg(not(windows))]
            socket.set_reuseaddr(true)?;
            socket.bind(listen)?;
            Ok(socket)
        };
        let socket = bind().map_err(|error| unbound(listen, error))?;
        let address = socket.local_addr().context("cannot read the address of the listening socket")?;
        Ok(Self { socket, address })
    }

    /// Returns the reserved address.
    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Listens for connections.
    pub(super) fn listen(self) -> Result<TcpListener, CliError> {
        let listener = self.socket.listen(BACKLOG).and_then(rt::net::TcpListener::into_std);
        listener.map_err(|error| unbound(self.address, error))
    }
}

/// Serves the connections that a listener takes. `HttpServer` would do this if it let its connections be wrapped.
pub(super) fn start(
    settings: &Settings,
    workers: usize,
    listener: TcpListener,
    api: Arc<Api>,
) -> io::Result<Server> {
    let server = ServerBuilder::new();
    let stopping = server.graceful_shutdown_signal();
    let keep_alive = settings.server.keep_alive;
    let server = server
        .workers(workers)
        .max_concurrent_connections(MAX_CONNECTIONS_PER_WORKER)
        .shutdown_timeout(settings.server.shutdown_timeout.as_secs())
        .disable_signals()
        .listen("http", listener, move || slow_client::serve(&api, keep_alive, stopping.clone()))?;
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

/// The connections that the kernel holds until they are accepted.
const BACKLOG: u32 = 1_024;

/// Beyond it a worker accepts no more until one ends.
const MAX_CONNECTIONS_PER_WORKER: usize = 10_000;
