//! Connections that only cost: floods of idle ones, clients that never read, heads that never end. Each passes, and
//! whoever else comes is served meanwhile or right after.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::database::Database;
use crate::on_both_databases;
use crate::server::{PATIENCE, Server, race, wait_until};

#[test]
fn an_idle_connection_is_kept_as_long_as_set() {
    let database = Database::sqlite();
    let server = Server::start_with(&database, &[("SERVER__KEEP_ALIVE", "2s")]);
    let begun = Instant::now();
    let answer = server.raw(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let kept = begun.elapsed();
    assert!((Duration::from_secs(2)..Duration::from_secs(10)).contains(&kept), "{kept:?}");
}

on_both_databases! {
    fn a_flood_of_idle_connections_passes(database: &Database) {
        let server = Server::start_with_files(database, FILES);
        assert_eq!(server.register("alice").status, 201);
        server.login("alice");
        let (begun, worked) = (Instant::now(), server.processor_time());
        // The kernel takes in for the server what it has no file for.
        let flood: Vec<_> = (0..2 * FILES).map(|_| TcpStream::connect(server.address).unwrap()).collect();
        server.wait_for_line(NO_FILES);
        // Over a connection that is there already.
        assert_eq!(server.get("/health").status, 200);
        // None of them is kept for long, although none of them leaves: even the last one in line has its turn.
        for connection in [&flood[0], &flood[flood.len() - 1]] {
            let mut answer = String::new();
            connection.set_read_timeout(Some(PATIENCE)).unwrap();
            let _ = { connection }.read_to_string(&mut answer);
            assert!(answer.starts_with("HTTP/1.1 408 "), "{answer:?}");
        }
        let (took, worked) = (begun.elapsed(), server.processor_time() - worked);
        assert!(worked < took / 2, "busy for {worked:?} of {took:?}");
        let told = server.lines_with(NO_FILES);
        assert!(told <= 4 * usize::try_from(took.as_secs() + 1).unwrap(), "told {told} times within {took:?}");

        drop(flood);
        assert_eq!(server.get("/health").status, 200);
        server.wait_until_ready();
        server.login("alice");
        let (status, log) = server.terminate();
        assert!(status.success(), "{log:#?}");
        assert!(!log.iter().any(|line| line.contains("panicked")), "{log:#?}");
    }
}

#[test]
fn clients_that_never_read_cost_little() {
    let database = Database::sqlite();
    let server = Server::start_with(&database, &[("CORS__ALLOWED_ORIGINS", "https://app.example")]);
    assert_eq!(server.register("alice").status, 201);
    server.login("alice");
    let before = server.resident_bytes();
    let stuck: Vec<_> = race(GREEDY, |n| {
        let mut connection = TcpStream::connect(server.address).unwrap();
        connection.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
        // Answers with large bodies, and answers without any.
        let request = match n % 2 {
            0 => "GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n",
            _ => {
                "OPTIONS /login HTTP/1.1\r\nhost: x\r\norigin: https://app.example\r\n\
                 access-control-request-method: POST\r\n\r\n"
            }
        };
        let requests = request.repeat(10_000);
        let mut sent = 0_usize;
        // The server stops to read what it cannot answer, and then nothing more can be sent.
        loop {
            match connection.write(requests.as_bytes()) {
                Ok(some) => sent += some,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
                Err(error) => panic!("{error}"),
            }
            assert!(sent < 64 << 20, "the server goes on to read");
        }
        connection
    });
    assert_eq!(server.get("/health").status, 200);
    server.login("alice");
    let worked = server.processor_time();
    std::thread::sleep(A_WHILE);
    let worked = server.processor_time() - worked;
    assert!(worked < A_WHILE / 4, "busy for {worked:?} of {A_WHILE:?}");
    let grown = server.resident_bytes().saturating_sub(before);
    assert!(grown < GREEDY * MOST_FOR_EACH, "{} KiB more for {GREEDY} connections", grown >> 10);
    drop(stuck);
    wait_until("it can be stopped", || server.get("/health").status == 200);
    let (status, log) = server.terminate();
    assert!(status.success(), "{log:#?}");
}

/// An answer may take longer than an idle connection is kept.
#[test]
fn slow_readers_outlast_the_keep_alive_time() {
    let database = Database::sqlite();
    let server = Server::start_with(&database, &[("SERVER__KEEP_ALIVE", "1s")]);
    let connection = TcpStream::connect(server.address).unwrap();
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = "GET /problems HTTP/1.1\r\nhost: x\r\n\r\n";
    let last = "GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let requests = format!("{}{last}", request.repeat(BEYOND_BUFFERS));
    let mut answers = String::new();
    std::thread::scope(|scope| {
        scope.spawn(|| (&connection).write_all(requests.as_bytes()).unwrap());
        std::thread::sleep(Duration::from_secs(3));
        (&connection).read_to_string(&mut answers).unwrap();
    });
    assert_eq!(answers.matches("HTTP/1.1 200 ").count(), BEYOND_BUFFERS + 1);
    assert!(answers.ends_with(r#"{"status":"ok"}"#));
}

#[test]
fn a_head_that_trickles_in_is_given_up() {
    let database = Database::sqlite();
    let server = Server::start(&database);
    let begun = Instant::now();
    let mut connection = TcpStream::connect(server.address).unwrap();
    connection.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let mut head =
        "GET /health HTTP/1.1\r\nhost: x\r\n".bytes().chain("x-more: and more\r\n".bytes().cycle());
    let mut answer = Vec::new();
    // A byte, as long as nothing comes back within a moment.
    loop {
        let sent = connection.write_all(&[head.next().unwrap()]);
        match connection.read_to_end(&mut answer) {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            _ => break,
        }
        assert!(sent.is_ok() && begun.elapsed() < PATIENCE, "{sent:?}: {}", String::from_utf8_lossy(&answer));
    }
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    assert_eq!(server.get("/health").status, 200);
}

#[test]
fn a_later_head_that_trickles_in_is_given_up_too() {
    let database = Database::sqlite();
    let server = Server::start(&database);
    let mut connection = TcpStream::connect(server.address).unwrap();
    connection.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    connection.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let mut answer = [0; 4_096];
    let length = connection.read(&mut answer).unwrap();
    assert!(answer[..length].starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer[..length]));
    let begun = Instant::now();
    // A byte a second, until the server closes.
    loop {
        let sent = connection.write_all(b"G");
        match connection.read(&mut answer) {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            _ => break,
        }
        assert!(sent.is_ok() && begun.elapsed() < 4 * PATIENCE, "{sent:?} after {:?}", begun.elapsed());
    }
    assert!(begun.elapsed() >= Duration::from_secs(70), "{:?}", begun.elapsed());
    assert_eq!(server.get("/health").status, 200);
}

/// Files that the server may have open: those it needs for itself, and too few for a flood.
const FILES: usize = 128;

/// How the operating system says that there are no more.
const NO_FILES: &str = "Too many open files";

/// Clients that send and do not read.
const GREEDY: usize = 8;

/// Answers of a few kilobytes that the buffers of a connection cannot hold together.
const BEYOND_BUFFERS: usize = 5_000;

/// What one of them may cost: requests of about 4 KiB are made of all the heads that are read at once.
const MOST_FOR_EACH: usize = 4 << 20;

/// Long enough to see whether the server is busy.
const A_WHILE: Duration = Duration::from_secs(2);
