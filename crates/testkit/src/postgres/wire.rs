//! As much of PostgreSQL's protocol, version 3, as one simple query without a password takes
//! (PostgreSQL's documentation, chapter "Frontend/Backend Protocol").

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::PATIENCE;

/// Rows of columns as text; `None` is NULL.
pub(super) type Rows = Vec<Vec<Option<String>>>;

/// Connects, runs `sql` and disconnects.
pub(super) fn query(socket: &Path, user: &str, database: &str, sql: &str) -> io::Result<Rows> {
    let mut server = UnixStream::connect(socket)?;
    server.set_read_timeout(Some(PATIENCE))?;
    let startup = format!("user\0{user}\0database\0{database}\0client_encoding\0UTF8\0\0");
    send(&mut server, &[], &[&PROTOCOL_3_0.to_be_bytes(), startup.as_bytes()].concat())?;
    read_until_ready(&mut server)?;
    send(&mut server, b"Q", format!("{sql}\0").as_bytes())?;
    let rows = read_until_ready(&mut server)?;
    send(&mut server, b"X", &[])?;
    Ok(rows)
}

/// Sends a message. Its length counts itself, but not the tag (which only the first message lacks).
fn send(server: &mut impl Write, tag: &[u8], body: &[u8]) -> io::Result<()> {
    let length = u32::try_from(body.len() + 4).map_err(io::Error::other)?;
    server.write_all(&[tag, &length.to_be_bytes(), body].concat())
}

/// Reads messages up to `ReadyForQuery`. An error among them is the outcome.
fn read_until_ready(server: &mut impl Read) -> io::Result<Rows> {
    let mut outcome = Ok(Rows::new());
    loop {
        let (tag, body) = match read_message(server) {
            Ok(message) => message,
            // After a fatal error the server hangs up; the error says more than the end of the stream.
            Err(error) => return outcome.and(Err(error)),
        };
        match (tag, &mut outcome) {
            (b'Z', _) => return outcome,
            (b'E', _) => outcome = Err(read_error(&body)),
            (b'R', _) if body != AUTHENTICATION_OK => {
                return Err(io::Error::other("the server asks for a password"));
            }
            (b'D', Ok(rows)) => rows.push(read_row(&body)?),
            _ => {}
        }
    }
}

fn read_message(server: &mut impl Read) -> io::Result<(u8, Vec<u8>)> {
    let [tag] = read_array(server)?;
    let length = u32::from_be_bytes(read_array(server)?);
    let mut body = vec![0; length.saturating_sub(4).try_into().map_err(io::Error::other)?];
    server.read_exact(&mut body)?;
    Ok((tag, body))
}

fn read_row(mut body: &[u8]) -> io::Result<Vec<Option<String>>> {
    let columns = u16::from_be_bytes(read_array(&mut body)?);
    (0..columns)
        .map(|_| {
            // A length of -1 is NULL.
            let Ok(length) = usize::try_from(i32::from_be_bytes(read_array(&mut body)?)) else {
                return Ok(None);
            };
            let mut value = vec![0; length];
            body.read_exact(&mut value)?;
            Ok(Some(String::from_utf8_lossy(&value).into_owned()))
        })
        .collect()
}

/// An error is a list of fields, each a letter and a string that ends with NUL: severity, SQLSTATE, message, ...
fn read_error(body: &[u8]) -> io::Error {
    let text = String::from_utf8_lossy(body);
    let field = |letter| text.split('\0').find_map(|field| field.strip_prefix(letter)).unwrap_or_default();
    io::Error::other(format!("{} {}: {}", field('S'), field('C'), field('M')))
}

fn read_array<const N: usize>(from: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Version 3.0 as the startup message carries it.
const PROTOCOL_3_0: u32 = 3 << 16;

/// The body of `AuthenticationOk`.
const AUTHENTICATION_OK: [u8; 4] = [0; 4];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_text_empty_text_and_null() {
        let body = b"\0\x03\0\0\0\x02hi\0\0\0\0\xff\xff\xff\xff";
        assert_eq!(read_row(body).unwrap(), [Some("hi".to_owned()), Some(String::new()), None]);
    }

    #[test]
    fn a_row_cut_short_is_an_error() {
        assert!(read_row(b"\0\x01\0\0\0\x05hi").is_err());
    }

    #[test]
    fn an_error_before_the_server_hangs_up_is_the_outcome() {
        let message = b"SFATAL\0VFATAL\0C3D000\0Mdatabase \"x\" does not exist\0\0";
        let mut stream = Vec::new();
        send(&mut stream, b"E", message).unwrap();
        let error = read_until_ready(&mut stream.as_slice()).unwrap_err();
        assert_eq!(error.to_string(), "FATAL 3D000: database \"x\" does not exist");
    }

    #[test]
    fn a_server_that_wants_a_password_is_an_error() {
        let mut stream = Vec::new();
        send(&mut stream, b"R", &[0, 0, 0, 3]).unwrap();
        let error = read_until_ready(&mut stream.as_slice()).unwrap_err();
        assert_eq!(error.to_string(), "the server asks for a password");
    }
}
