//! One connection that is kept alive, with next to no work of its own: what it measures is the server.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

/// A client of one server.
#[derive(Debug)]
pub(super) struct Client {
    server: BufReader<TcpStream>,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

impl Client {
    pub(super) fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE).context("cannot reach the server")?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self { server: BufReader::new(stream) })
    }

    pub(super) fn get(&mut self, path: &str, access_token: Option<&str>) -> Result<Answer> {
        let authorization = access_token.map(|token| format!("authorization: Bearer {token}\r\n"));
        self.call(&format!("GET {path} HTTP/1.1\r\nhost: bench\r\n{}\r\n", authorization.unwrap_or_default()))
    }

    pub(super) fn post(&mut self, path: &str, json: &str) -> Result<Answer> {
        let length = json.len();
        self.call(&format!(
            "POST {path} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\n\r\n{json}"
        ))
    }

    fn call(&mut self, request: &str) -> Result<Answer> {
        self.server.get_mut().write_all(request.as_bytes())?;
        let mut line = String::new();
        self.server.read_line(&mut line)?;
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.with_context(|| format!("no HTTP: {line:?}"))?;
        let mut length = None;
        loop {
            line.clear();
            ensure!(self.server.read_line(&mut line)? > 0, "the server closed the connection");
            match line.trim_end().split_once(':') {
                None => break,
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = Some(value.trim().parse()?);
                }
                Some(_) => {}
            }
        }
        let mut body = vec![0; length.context("an answer without a length")?];
        self.server.read_exact(&mut body)?;
        Ok(Answer { status, body })
    }
}

/// How long any part of a call may take.
const PATIENCE: Duration = Duration::from_secs(30);
