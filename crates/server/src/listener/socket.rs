//! The listening socket, and the workers that serve its connections.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};

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

/// The listening socket of a server, to refuse new connections before it is closed.
#[derive(Clone, Debug)]
pub(super) struct Entrance(Arc<Mutex<Option<TcpListener>>>);

impl Entrance {
    /// Shares a socket until [`Self::release`].
    pub(super) fn of(listener: &TcpListener) -> Self {
        // Without a handle, the stop is only less gentle.
        Self(Arc::new(Mutex::new(listener.try_clone().ok())))
    }

    /// Lets no further connection begin; those that have begun are still accepted. Returns `false` if the system cannot.
    ///
    /// The kernel resets the connections that wait to be accepted when the socket closes. A proxy that has sent a request
    /// into one must not send it again if it changes something. With no new handshake, none waits when the socket closes,
    /// and clients whose SYN was ignored repeat it and are then refused.
    pub(super) fn refuse(&self) -> bool {
        let listener = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        listener.as_ref().is_some_and(|listener| refuse_handshakes(listener).is_ok())
    }

    /// Lets go of the socket, so that it closes with the server.
    pub(super) fn release(&self) {
        drop(self.0.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

/// Drops segments that begin a connection. Others pass, so that handshakes under way complete.
#[cfg(target_os = "linux")]
fn refuse_handshakes(listener: &TcpListener) -> io::Result<()> {
    use socket2::{SockFilter, SockRef};

    // Classic BPF over the TCP header. The opcodes are those of linux/filter.h, which bpf(4) of FreeBSD explains.
    const LOAD_BYTE: u16 = 0x30;
    const JUMP_IF_SET: u16 = 0x45;
    const RETURN: u16 = 0x06;
    /// The place and the bit of the SYN flag (RFC 9293, section 3.1).
    const FLAGS: u32 = 13;
    const SYN: u32 = 0x02;
    SockRef::from(listener).attach_filter(&[
        SockFilter::new(LOAD_BYTE, 0, 0, FLAGS),
        SockFilter::new(JUMP_IF_SET, 0, 1, SYN),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ])
}

#[cfg(not(target_os = "linux"))]
fn refuse_handshakes(_listener: &TcpListener) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
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

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{Ipv6Addr, TcpStream};
    use std::time::Duration;

    use super::*;

    #[test]
    fn refused_handshakes_lose_no_accepted_connection() {
        for address in [SocketAddr::from(([127, 0, 0, 1], 0)), (Ipv6Addr::LOCALHOST, 0).into()] {
            let Ok(listener) = TcpListener::bind(address) else {
                assert!(address.is_ipv6(), "a machine without IPv6 has IPv4");
                continue;
            };
            let address = listener.local_addr().unwrap();
            let entrance = Entrance::of(&listener);
            let mut before = TcpStream::connect(address).unwrap();
            assert!(entrance.refuse());
            let ignored = TcpStream::connect_timeout(&address, Duration::from_millis(200));
            assert_eq!(ignored.unwrap_err().kind(), io::ErrorKind::TimedOut);
            before.write_all(b"request").unwrap();
            let (mut accepted, _) = listener.accept().unwrap();
            let mut request = [0; 7];
            accepted.read_exact(&mut request).unwrap();
            accepted.write_all(&request).unwrap();
            before.read_exact(&mut request).unwrap();
            assert_eq!(&request, b"request");

            entrance.release();
            drop(listener);
            let refused = TcpStream::connect(address).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        }
    }
}
