//! The command `healthcheck`: request `/health` of the server on this machine.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, anyhow};

use crate::cli_error::CliError;
use crate::running::listening_addresses;
use crate::settings::{ListenAddress, Sources, listen_address};

/// Asks `/health` of the service that listens here, for container engines: their images have no curl.
///
/// The address is that of the command line or the variables. If they name none, it is that of a server of this program in
/// the same folder; without such a server, it is that of the settings files and defaults.
pub(crate) fn run(sources: &Sources) -> Result<(), CliError> {
    let listen = listen_address(sources)?;
    let is_known = listen.is_named && listen.address.port() != 0;
    let address = if is_known { listen.address } else { choose(listen, &listening_addresses())? };
    let (address, answer) = ask_first(&reachable(address))?;
    match answer.starts_with("HTTP/1.1 200 ") {
        true => Ok(()),
        false => Err(anyhow!("{address} answers {:?}", answer.lines().next().unwrap_or_default()).into()),
    }
}

/// Chooses the address to ask. If several servers run here, the address of the settings is as likely as theirs.
fn choose(listen: ListenAddress, running: &[SocketAddr]) -> Result<SocketAddr, CliError> {
    match running {
        [only] if !listen.is_named => Ok(*only),
        _ if listen.address.port() != 0 => Ok(listen.address),
        [only] => Ok(*only),
        servers => Err(anyhow!(
            "server.listen = {} leaves the port open, and {} servers run in this folder; set PORTCULLIS_SERVER__LISTEN to \
             the address to ask",
            listen.address,
            servers.len()
        )
        .into()),
    }
}

/// Asks the first of several addresses that accepts a connection.
fn ask_first(addresses: &[SocketAddr]) -> anyhow::Result<(SocketAddr, String)> {
    let mut result = Err(anyhow!("the service has no address"));
    for &address in addresses {
        result =
            ask(address).with_context(|| format!("no answer from {address}")).map(|answer| (address, answer));
        if result.is_ok() {
            break;
        }
    }
    result
}

fn ask(address: SocketAddr) -> std::io::Result<String> {
    let mut connection = TcpStream::connect_timeout(&address, PATIENCE)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.set_write_timeout(Some(PATIENCE))?;
    write!(connection, "GET /health HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    connection.take(4_096).read_to_end(&mut answer).map_err(|error| match error.kind() {
        // How systems report that the time for a read is over.
        ErrorKind::WouldBlock | ErrorKind::TimedOut => {
            std::io::Error::new(ErrorKind::TimedOut, format!("nothing came within {} s", PATIENCE.as_secs()))
        }
        _ => error,
    })?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// The addresses under which a service can be reached from this machine. One that listens on every address is asked on
/// loopback; one on `[::]` usually takes IPv4 too, which helps where loopback has no IPv6.
fn reachable(listen: SocketAddr) -> Vec<SocketAddr> {
    let loopback: &[IpAddr] = match listen.ip() {
        IpAddr::V4(address) if address.is_unspecified() => &[IpAddr::V4(Ipv4Addr::LOCALHOST)],
        IpAddr::V6(address) if address.is_unspecified() => {
            &[IpAddr::V6(Ipv6Addr::LOCALHOST), IpAddr::V4(Ipv4Addr::LOCALHOST)]
        }
        _ => return vec![listen],
    };
    loopback.iter().map(|address| SocketAddr::new(*address, listen.port())).collect()
}

/// How long a connection, and each part of the exchange, may take: less than the 3 seconds of the image's HEALTHCHECK.
const PATIENCE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listener_without_an_answer_is_reported_as_silent() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let error = ask(listener.local_addr().unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "nothing came within 2 s");
    }
}
