use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, anyhow};

use crate::failure::Failure;
use crate::settings::Settings;

/// Asks `/health` of the service that listens here, for container engines: their images have no curl.
pub(crate) fn run(settings: &Settings) -> Result<(), Failure> {
    let address = reachable(settings.server.listen);
    let answer = ask(address).with_context(|| format!("no answer from {address}"))?;
    match answer.starts_with("HTTP/1.1 200 ") {
        true => Ok(()),
        false => Err(anyhow!("{address} answers {:?}", answer.lines().next().unwrap_or_default()).into()),
    }
}

fn ask(address: SocketAddr) -> std::io::Result<String> {
    let mut connection = TcpStream::connect_timeout(&address, PATIENCE)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.set_write_timeout(Some(PATIENCE))?;
    write!(connection, "GET /health HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    connection.take(4_096).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// A service that listens on every address is asked on loopback.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let host = match listen.ip() {
        IpAddr::V4(address) if address.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(address) if address.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        address => address,
    };
    SocketAddr::new(host, listen.port())
}

const PATIENCE: Duration = Duration::from_secs(2);
