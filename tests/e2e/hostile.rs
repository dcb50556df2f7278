//! What the HTTP stack does with connections: when they end, and what every answer carries. What else is sent to hurt is in
//! the corpus (`corpus.rs`).

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::database::Database;
use crate::on_both_databases;
use crate::server::{Server, race};

on_both_databases! {
    // ASVS 4.2.1
    fn ht_a_chunked_body_without_an_end_holds_no_connection(database: &Database) {
        let server = Server::start(database);
        let json = "content-type: application/json\r\n";
        for (method, path, fields, body, status) in [
            ("GET", "/health", "", "5\r\nhello\r\n".to_owned(), 200),
            ("GET", "/protected", "", "5\r\nhel".to_owned(), 401),
            ("POST", "/nowhere", json, "5\r\nhello\r\n".to_owned(), 404),
            ("PUT", "/login", json, String::new(), 405),
            ("HEAD", "/health", "", "5\r\nhello\r\n".to_owned(), 200),
            ("POST", "/login", json, format!("4001\r\n{}\r\n", "x".repeat(0x4001)), 413),
            ("GET", "/health", "upgrade: websocket\r\n", "5\r\nhello\r\n".to_owned(), 400),
        ] {
            let head = format!("{method} {path} HTTP/1.1\r\nhost: x\r\n{fields}transfer-encoding: chunked\r\n\r\n");
            closes_soon(&server, &format!("{head}{body}"), status);
        }
        let whole = "5\r\n{    \r\n1\r\n}\r\n0\r\n\r\n";
        let request = format!("POST /login HTTP/1.1\r\nhost: x\r\n{json}transfer-encoding: chunked\r\n\r\n{whole}");
        let answers = server.raw(format!("{request}{}", request.replacen("\r\n", "\r\nconnection: close\r\n", 1)).as_bytes());
        assert_eq!(answers.matches("HTTP/1.1 422 ").count(), 2, "a body that ends leaves the connection open: {answers}");
    }

    fn ht_what_is_for_no_origin_server_ends_the_connection(database: &Database) {
        let server = Server::start(database);
        for request in [
            "GET /health HTTP/1.1\r\nhost: user@x\r\n\r\n",
            "GET http://x/health HTTP/1.1\r\nhost: x\r\n\r\n",
            "GET /health HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
            "POST /login HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\ncontent-length: 2\r\n\r\n{}",
        ] {
            closes_soon(&server, request, 400);
        }
    }

    /// What the HTTP parser lets pass, as `docs/http.md` says: a change of it should not go unnoticed.
    fn ht_the_parser_is_as_lenient_as_documented(database: &Database) {
        let server = Server::start(database);
        let answer = server.raw(b"GET /health HTTP/1.1\nhost: x\nconnection: close\n\n");
        assert!(answer.starts_with("HTTP/1.1 200 "), "bare LF: {answer}");
        let closing = "GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        let answers = server.raw(closing.repeat(2).as_bytes());
        assert_eq!(answers.matches("HTTP/1.1 200 ").count(), 2, "pipelined after close: {answers}");
    }

    fn ht_every_answer_has_the_security_headers(database: &Database) {
        let server = Server::start(database);
        server.register("alice");
        let tokens = server.login("alice");
        let answers = [
            server.get("/health"), server.get("/nowhere"), server.get("/login"), server.get("/protected"),
            server.get_as("/protected", &tokens.access), server.refresh(&tokens.refresh), server.refresh("x"),
            server.call("POST", "/login", &[], None), server.get("/openapi.json"), server.get("/problems"),
            server.call("OPTIONS", "/login", &[("origin", "https://evil.example"), ("access-control-request-method", "POST")], None),
        ];
        for answer in &answers {
            for (name, value) in [
                // ASVS 3.2.1 3.4.3
                ("content-security-policy", "default-src 'none'; base-uri 'none'; frame-ancestors 'none'; sandbox"),
                ("x-content-type-options", "nosniff"), // ASVS 3.4.4
                ("x-frame-options", "DENY"), // ASVS 3.4.6
                ("x-xss-protection", "0"),
                ("referrer-policy", "no-referrer"), // ASVS 3.4.5
                ("cross-origin-resource-policy", "same-origin"), // ASVS 3.5.8
            ] {
                assert_eq!(answer.header(name), Some(value), "{answer:?}");
            }
            assert!(answer.header("x-request-id").is_some() && answer.header("server").is_none(), "{answer:?}");
            assert!(answer.header("access-control-allow-origin").is_none(), "{answer:?}");
            if answer.status >= 400 {
                assert_eq!(answer.header("cache-control"), Some("no-store"), "{answer:?}");
            }
        }
        let ids: std::collections::HashSet<_> = answers.iter().filter_map(|answer| answer.header("x-request-id")).collect();
        assert_eq!(ids.len(), answers.len(), "an id of its own for each");
    }
}

#[test]
fn js_a_body_that_trickles_in_is_given_up() {
    let server = Server::start(&Database::sqlite());
    let bodies = ["content-length: 100\r\n\r\n{", "transfer-encoding: chunked\r\n\r\n1\r\n{\r\n"];
    race(bodies.len(), |n| {
        let head = "POST /login HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";
        closes_within(Duration::from_secs(15), &server, &format!("{head}{}", bodies[n]), 408);
    });
}

/// Asserts that the connection ends soon after the answer to a request, although the client leaves it open.
#[track_caller]
fn closes_soon(server: &Server, request: &str, status: u16) {
    closes_within(Duration::from_secs(8), server, request, status);
}

#[track_caller]
fn closes_within(time: Duration, server: &Server, request: &str, status: u16) {
    let mut connection = TcpStream::connect(server.address).unwrap();
    connection.write_all(request.as_bytes()).unwrap();
    connection.set_read_timeout(Some(time)).unwrap();
    let started = Instant::now();
    let mut answer = Vec::new();
    let end = connection.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request:?}: {answer}");
    assert!(answer.contains("\r\nconnection: close\r\n"), "{request:?}: {answer}");
    assert!(end.is_ok() && started.elapsed() < time, "{request:?}: {end:?} after {:?}", started.elapsed());
}
