//! Requests, made once, and as much of an answer as a measurement looks at.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Error, Result, ensure};
use serde::Deserialize;

/// A request without a body.
pub(crate) fn get(server: SocketAddr, path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: {server}\r\n\r\n").into_bytes()
}

/// The same with an access token.
pub(crate) fn get_as(server: SocketAddr, path: &str, access_token: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: {server}\r\nauthorization: Bearer {access_token}\r\n\r\n")
        .into_bytes()
}

/// A request with a body of JSON.
pub(crate) fn post(server: SocketAddr, path: &str, body: &str) -> Vec<u8> {
    post_with(server, path, body, "")
}

/// The same, forwarded by a proxy for the client at `address`.
pub(crate) fn post_from(server: SocketAddr, path: &str, body: &str, address: &str) -> Vec<u8> {
    post_with(server, path, body, &format!("x-forwarded-for: {address}\r\n"))
}

fn post_with(server: SocketAddr, path: &str, body: &str, fields: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: {server}\r\n{fields}content-type: application/json\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub status: u16,
    /// When to come back, if it says so.
    pub retry_after: Option<Duration>,
    /// Whether the connection ends with it.
    pub closes: bool,
    pub body: Vec<u8>,
}

impl Answer {
    /// The answer at the start of `bytes`; `None` where it goes on.
    ///
    /// # Errors
    /// When it is not HTTP, or of a length that is not told at the start.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Option<Self>> {
        let mut headers = [httparse::EMPTY_HEADER; 32];
        let mut head = httparse::Response::new(&mut headers);
        let httparse::Status::Complete(start) = head.parse(bytes)? else { return Ok(None) };
        let find = |name: &str| head.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        let number =
            |header: &httparse::Header<'_>| Ok::<_, Error>(std::str::from_utf8(header.value)?.parse()?);
        let length = match find("content-length") {
            Some(header) => usize::try_from(number(header)?)?,
            None => {
                ensure!(find("transfer-encoding").is_none(), "the answer comes in chunks");
                0
            }
        };
        let Some(body) = bytes.get(start..start + length) else { return Ok(None) };
        let closes = find("connection").is_some_and(|header| header.value.eq_ignore_ascii_case(b"close"));
        let status = head.code.context("no status")?;
        let retry_after = find("retry-after").map(number).transpose()?.map(Duration::from_secs);
        Ok(Some(Self { status, retry_after, closes, body: body.to_vec() }))
    }

    /// # Errors
    /// When the status is another one.
    pub(crate) fn expect(&self, status: u16) -> Result<()> {
        let body = String::from_utf8_lossy(&self.body);
        ensure!(self.status == status, "an answer {} where {status} was expected: {body}", self.status);
        Ok(())
    }

    /// The tokens that it brings.
    pub(crate) fn tokens(&self) -> Result<TokenSet<'_>> {
        serde_json::from_slice(&self.body).context("an answer without tokens")
    }
}

/// What a login and a refresh give.
#[derive(Debug, Deserialize)]
pub(crate) struct TokenSet<'a> {
    pub access_token: &'a str,
    pub refresh_token: &'a str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_when_its_body_is() {
        let bytes = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\nRetry-After: 1\r\n\r\n{}";
        for end in 0..bytes.len() {
            assert!(Answer::parse(&bytes[..end]).unwrap().is_none(), "{end}");
        }
        let answer = Answer::parse(bytes).unwrap().unwrap();
        assert_eq!((answer.status, answer.closes), (503, false));
        assert_eq!(answer.retry_after, Some(Duration::from_secs(1)));
        assert_eq!(answer.body, b"{}");
    }

    #[test]
    fn what_is_not_http_is_an_error() {
        assert!(Answer::parse(b"SSH-2.0-OpenSSH_9.6\r\n").is_err());
        assert!(Answer::parse(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
    }

    #[test]
    fn a_request_is_one_that_a_server_reads() {
        let bytes = post(SocketAddr::from(([127, 0, 0, 1], 80)), "/login", "{}");
        let mut headers = [httparse::EMPTY_HEADER; 8];
        let mut request = httparse::Request::new(&mut headers);
        let start = request.parse(&bytes).unwrap().unwrap();
        assert_eq!((request.method, request.path), (Some("POST"), Some("/login")));
        assert_eq!(&bytes[start..], b"{}");

        let bytes = post_from(SocketAddr::from(([127, 0, 0, 1], 80)), "/login", "{}", "192.0.2.1");
        let mut headers = [httparse::EMPTY_HEADER; 8];
        let mut request = httparse::Request::new(&mut headers);
        request.parse(&bytes).unwrap().unwrap();
        let field = request.headers.iter().find(|header| header.name == "x-forwarded-for").unwrap();
        assert_eq!(field.value, b"192.0.2.1");
    }
}
