//! A server that swallows packets, as a host without power does.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use super::free_port;

/// A port of 127.0.0.1 on which connections neither succeed nor fail, until this is dropped: nothing is accepted, and the
/// queue for it is full, so Linux drops every further SYN. Linux only.
#[derive(Debug)]
pub struct BlackHole {
    address: SocketAddr,
    _listener: TcpListener,
    /// They fill the queue.
    _queued: Vec<TcpStream>,
}

impl BlackHole {
    /// Takes a free port.
    ///
    /// # Panics
    /// When no port is free, or its queue does not fill.
    pub fn start() -> Self {
        let port = free_port().unwrap_or_else(|reason| panic!("{reason}"));
        Self::on_port(port).unwrap_or_else(|error| panic!("no black hole on port {port}: {error}"))
    }

    /// Takes the port of a server that is stopped.
    ///
    /// # Errors
    /// When the port is taken, or its queue does not fill.
    pub fn on_port(port: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        let address = listener.local_addr()?;
        let mut queued = Vec::new();
        for _ in 0..LONGEST_QUEUE {
            match TcpStream::connect_timeout(&address, ANSWER_WITHIN) {
                Ok(stream) => queued.push(stream),
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                    return Ok(Self { address, _listener: listener, _queued: queued });
                }
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other("the queue does not fill"))
    }

    /// Returns the port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }
}

/// Far more than the queue that the standard library asks for.
const LONGEST_QUEUE: usize = 10_000;

/// How long a connection to this machine can take at most if the queue has room.
const ANSWER_WITHIN: Duration = Duration::from_millis(500);
