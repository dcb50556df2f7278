//! Requests, byte for byte, and what comes back.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::server::{PATIENCE, tail};

/// A request under construction, with what nobody may tell again.
#[derive(Clone)]
pub(crate) struct Request {
    /// The request line and the fields, or all of what is sent as it is.
    head: Vec<u8>,
    body: Vec<u8>,
    is_raw: bool,
    /// The ends of the secrets in it.
    pub(super) secrets: Vec<String>,
}

impl Request {
    pub(crate) fn new(method: &str, path: &str) -> Self {
        let head = format!("{method} {path} HTTP/1.1\r\nhost: auth.test\r\nconnection: close\r\n").into();
        Self { head, body: Vec::new(), is_raw: false, secrets: Vec::new() }
    }

    pub(crate) fn get(path: &str) -> Self {
        Self::new("GET", path)
    }

    /// JSON, or what is said to be.
    pub(crate) fn json(method: &str, path: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::new(method, path).field("content-type", "application/json").body(body)
    }

    pub(crate) fn post(path: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::json("POST", path, body)
    }

    /// Bytes that are sent as they are.
    pub(crate) fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        Self { head: bytes.into(), body: Vec::new(), is_raw: true, secrets: Vec::new() }
    }

    pub(crate) fn field(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        assert!(!self.is_raw);
        for part in [name.as_bytes(), b": ", value.as_ref(), b"\r\n"] {
            self.head.extend(part);
        }
        self
    }

    /// With an access token, or what is shown in the place of one.
    pub(crate) fn bearer(self, token: impl AsRef<[u8]>) -> Self {
        let token = token.as_ref();
        let told = String::from_utf8_lossy(token).into_owned();
        self.field("authorization", [b"Bearer ", token].concat()).secret(&told)
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        let length = self.body.len().to_string();
        self.field("content-length", length)
    }

    /// Nobody may tell this again.
    pub(crate) fn secret(mut self, secret: &str) -> Self {
        self.secrets.extend(sought(secret).map(str::to_owned));
        self
    }

    /// All of it, with a canary among the fields unless it is sent as it is.
    pub(super) fn bytes(&self, canary: &str) -> Vec<u8> {
        match self.is_raw {
            true => self.head.clone(),
            false => {
                [&self.head[..], b"cookie: session=", canary.as_bytes(), b"\r\n\r\n", &self.body].concat()
            }
        }
    }

    /// Its beginning, for whoever reads that it was answered otherwise than expected.
    pub(super) fn shown(&self) -> String {
        let bytes = [&self.head[..], b"\r\n", &self.body].concat();
        String::from_utf8_lossy(&bytes[..bytes.len().min(600)]).into_owned()
    }
}

/// What to look for of a secret: nothing of what is so short that it would be found everywhere.
pub(super) fn sought(secret: &str) -> Option<&str> {
    (secret.len() >= SHORTEST_SECRET).then(|| tail(secret))
}

/// The shortest secret that is looked for, in bytes.
const SHORTEST_SECRET: usize = 12;

/// What came back. The status is 0 where the connection ended without an answer.
#[derive(Debug, Default)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: String,
    /// Whatever came after the answer.
    pub(crate) rest: String,
    /// From before the first byte was sent until the answer was whole.
    pub(super) took: Duration,
}

impl Reply {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find_map(|(found, value)| (found == name).then_some(value.as_str()))
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The code of a problem document; nothing for any other body, or where none was asked for.
    pub(super) fn code(&self) -> Option<String> {
        let is_problem =
            self.field("content-type") == Some("application/problem+json") && !self.body.is_empty();
        is_problem.then(|| self.json()["code"].as_str().unwrap().to_owned())
    }

    /// Status, names of the fields, and body without what differs each time.
    pub(crate) fn likeness(&self) -> (u16, Vec<String>, usize, String) {
        let id = self.field("x-request-id").unwrap_or_default();
        let mut names: Vec<_> = self.fields.iter().map(|(name, _)| name.clone()).collect();
        names.sort();
        (self.status, names, self.body.len(), self.body.replace(id, ""))
    }
}

/// Sends and reads at the same time: a server may answer before it has everything.
pub(super) fn exchange(address: SocketAddr, request: &[u8]) -> Reply {
    let begun = Instant::now();
    let connection = TcpStream::connect(address).unwrap();
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    std::thread::scope(|scope| {
        let sends = scope.spawn(|| {
            // The server may close before it has read everything.
            let _ = (&connection).write_all(request);
        });
        let mut answer = Vec::new();
        let (mut took, mut length) = (None, None);
        let mut buffer = [0; 16 << 10];
        loop {
            if took.is_none() && length.is_none() {
                length = length_of_answer(request, &answer);
            }
            if took.is_none() && length.is_some_and(|length| answer.len() >= length) {
                took = Some(begun.elapsed());
                // Nothing more will be asked.
                let _ = connection.shutdown(Shutdown::Write);
            }
            match (&connection).read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => answer.extend(&buffer[..read]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    panic!("it hangs after {:?}", String::from_utf8_lossy(&answer))
                }
                Err(_) => break,
            }
        }
        let took = took.unwrap_or_else(|| begun.elapsed());
        let _gone_already = connection.shutdown(Shutdown::Both);
        sends.join().unwrap();
        Reply { took, ..parse(&answer, length) }
    })
}

/// How long the first answer is, once its head is there; nothing where it ends with the connection.
fn length_of_answer(request: &[u8], answer: &[u8]) -> Option<usize> {
    let head = answer.windows(4).position(|end| end == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&answer[..head]).to_ascii_lowercase();
    let is_bodiless = request.starts_with(b"HEAD ") || text.starts_with("http/1.1 204");
    let body = match is_bodiless {
        true => 0,
        false => text.split("\r\ncontent-length: ").nth(1)?.split("\r\n").next()?.parse().ok()?,
    };
    Some(head + body)
}

fn parse(answer: &[u8], length: Option<usize>) -> Reply {
    let end = length.unwrap_or(answer.len()).min(answer.len());
    let first = String::from_utf8_lossy(&answer[..end]);
    let (head, body) = first.split_once("\r\n\r\n").unwrap_or((&first, ""));
    let mut lines = head.lines();
    let status =
        lines.next().and_then(|line| line.split(' ').nth(1)).map_or(0, |status| status.parse().unwrap());
    let fields = lines.filter_map(|line| line.split_once(": "));
    Reply {
        status,
        fields: fields.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect(),
        body: body.to_owned(),
        rest: String::from_utf8_lossy(&answer[end..]).into_owned(),
        took: Duration::ZERO,
    }
}
