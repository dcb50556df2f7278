//! What the HTTP stack does with connections: when they end, and what every answer carries. What else is sent to hurt is in
//! the corpus (`corpus.rs`).

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::database::Database;
use crate::on_both_databases;
use crate::server::{PASSWORD, PATIENCE, Server, race};

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

/// RFC 9112, section 9.6, for everything that ends a connection.
// ASVS 4.2.1
#[test]
fn requests_behind_a_last_answer_are_not_answered() {
    let database = Database::sqlite();
    let server = Server::start(&database);
    let with_body = |method: &str, path: &str, fields: &str, body: &str| {
        let length = body.len();
        format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n{fields}content-length: {length}\r\n\r\n{body}"
        )
    };
    let chunked = |path: &str, body: &str| {
        let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n");
        format!("{head}transfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n", body.len())
    };
    let h2c =
        "connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n";
    let get = |fields: &str| format!("GET /health HTTP/1.1\r\nhost: x\r\n{fields}\r\n");
    for (n, behind) in [get(""), with_body("POST", "/logout", "", "{}"), "\0 no request\r\n\r\n".to_owned()]
        .iter()
        .enumerate()
    {
        let login = &format!(r#"{{"username":"nobody-{n}","password":"Wr0ng-password"}}"#);
        for (status, request) in [
            (400, "GET http://x/health HTTP/1.1\r\nhost: x\r\n\r\n".to_owned()),
            (400, "GET /health HTTP/1.1\r\nhost: user@x\r\n\r\n".to_owned()),
            (400, get("connection: upgrade\r\nupgrade: websocket\r\n")),
            (200, get("connection: close\r\n")),
            (200, get(h2c)),
            (200, "HEAD /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".to_owned()),
            (200, "GET /health HTTP/1.0\r\n\r\n".to_owned()),
            (200, get("content-length: 2\r\n") + "{}"),
            (401, with_body("POST", "/login", "connection: close\r\n", login)),
            (401, with_body("POST", "/login", h2c, login)),
            (401, with_body("POST", "/login", "", login).replace("HTTP/1.1", "HTTP/1.0")),
            (401, with_body("DELETE", "/me", "", login)),
            (404, with_body("POST", "/nowhere", "", login)),
            (404, chunked("/nowhere", login)),
            (405, with_body("PUT", "/login", "", login)),
            (413, with_body("POST", "/login", "", &"x".repeat(20_000))),
            (413, chunked("/login", &"x".repeat(20_000))),
            (401, with_body("POST", "/logout", "connection: close\r\n", "{}")),
        ] {
            let answers = all_answers(&server, &format!("{request}{behind}{}", get("")));
            assert!(answers.starts_with("HTTP/1.1 ") || request.contains("HTTP/1.0"), "{answers}");
            assert_eq!(&answers[9..12], status.to_string(), "{request:?}: {answers}");
            assert_eq!(answers.matches("HTTP/1.").count(), 1, "{request:?} and {behind:?}: {answers}");
            let is_announced = answers.contains("\r\nconnection: close\r\n");
            assert_eq!(is_announced, !request.contains("HTTP/1.0"), "{request:?}: {answers}");
        }
    }
    assert_eq!(server.get("/health").status, 200);
}

/// Each answer is encoded for its own request, regardless of the requests behind it.
#[test]
fn pipelined_requests_get_their_own_answers() {
    let database = Database::sqlite();
    let server = Server::start(&database);
    let login = |name: &str| format!(r#"{{"username":"{name}","password":"Wr0ng-password"}}"#);
    let head = "POST /login HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";
    let (first, second, third) = (login("nobody-1"), login("nobody-2"), login("nobody-3"));
    let requests = [
        format!("{head}content-length: {}\r\n\r\n{first}", first.len()),
        format!(
            "{head}transfer-encoding: chunked\r\n\r\n{:x};x=y\r\n{second}\r\n0\r\nx: y\r\n\r\n",
            second.len()
        ),
        "GET /health HTTP/1.0\r\nconnection: keep-alive\r\n\r\n".to_owned(),
        format!("{head}expect: 100-continue\r\ncontent-length: {}\r\n\r\n{third}", third.len()),
        "\r\nGET /health HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(),
        "HEAD /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".to_owned(),
    ]
    .concat();
    let answers = all_answers(&server, &requests);
    let statuses: Vec<_> =
        answers.match_indices("HTTP/1.").map(|(at, _)| &answers[at + 7..at + 12]).collect();
    assert_eq!(statuses, ["1 401", "1 401", "0 200", "1 100", "1 401", "1 200", "1 200"], "{answers}");
    assert_eq!(answers.matches(r#""code":"invalid_credentials""#).count(), 3, "with their bodies: {answers}");
    assert_eq!(answers.matches(r#"{"status":"ok"}"#).count(), 2, "and HEAD without: {answers}");
    let (before, last) = answers.rsplit_once("HTTP/1.1 200 ").unwrap();
    assert!(!before.contains("connection: close") && last.contains("connection: close"), "{answers}");
    assert!(before.contains("HTTP/1.0 200 OK") && before.contains("connection: keep-alive"), "{answers}");

    let many = "GET /health HTTP/1.1\r\nhost: x\r\n\r\n".repeat(500);
    let answers =
        all_answers(&server, &format!("{many}GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"));
    assert_eq!(answers.matches(r#"{"status":"ok"}"#).count(), 501);
}

/// The kernel would reset a connection that is closed with bytes unread, and the client might lose the answer.
#[test]
fn clients_that_send_too_much_get_the_answer() {
    let database = Database::sqlite();
    let server = Server::start(&database);
    let much = "x".repeat(4 << 20);
    for (status, head) in [
        (400, "GET http://x/health HTTP/1.1\r\nhost: x\r\n\r\n"),
        (404, "POST /nowhere HTTP/1.1\r\nhost: x\r\ncontent-length: 4194304\r\n\r\n"),
        (413, "POST /login HTTP/1.1\r\nhost: x\r\ncontent-length: 4194304\r\n\r\n"),
        (200, "GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"),
    ] {
        let mut connection = TcpStream::connect(server.address).unwrap();
        connection.write_all(format!("{head}{much}").as_bytes()).unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.ends_with('}'), "{answer}");
    }
}

/// As documented in `docs/http.md`.
#[test]
fn half_closed_clients_get_no_answer_to_a_login() {
    let database = Database::sqlite();
    let server = Server::start_with(&database, &[("HASHING__BCRYPT_COST", "13")]);
    let half_closing = |request: &str| {
        let mut connection = TcpStream::connect(server.address).unwrap();
        connection.write_all(request.as_bytes()).unwrap();
        connection.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        answer
    };
    let body = r#"{"username":"nobody-1","password":"Wr0ng-password"}"#;
    let login = format!(
        "POST /login HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    assert_eq!(half_closing(&login), "");
    assert!(half_closing("GET /health HTTP/1.1\r\nhost: x\r\n\r\n").starts_with("HTTP/1.1 200 "));
}

/// Fields that proxies, platforms and libraries add to a request.
#[test]
fn fields_that_others_add_do_not_break_a_login() {
    let database = Database::sqlite();
    let server = Server::start(&database);
    assert_eq!(server.register("alice").status, 201);
    let body = json!({"username": "alice", "password": PASSWORD}).to_string();
    let long = "x".repeat(4_000);
    let many: Vec<_> = (0..60).map(|n| (format!("x-platform-{n}"), "value".repeat(20))).collect();
    let many: Vec<_> = many.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let cases: &[&[(&str, &str)]] = &[
        &[
            ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
            ("tracestate", "a=b"),
            ("baggage", "k=v"),
        ],
        &[
            ("traceparent", &long),
            ("sentry-trace", "x"),
            ("b3", "0"),
            ("x-b3-traceid", ""),
            ("newrelic", &long),
        ],
        &[("x-request-id", "not an id / at all"), ("x-request-id", "twice"), ("x-correlation-id", "1")],
        &[("accept", "text/html"), ("accept-encoding", "gzip, br, zstd"), ("accept-language", "de, *;q=0.1")],
        &[("accept", "application/xml"), ("te", "trailers"), ("priority", "u=1, i"), ("dpop", "x")],
        &[
            ("upgrade-insecure-requests", "1"),
            ("sec-fetch-mode", "cors"),
            ("idempotency-key", "1"),
            ("apikey", "x"),
        ],
        &[
            ("if-none-match", "*"),
            ("if-match", "\"x\""),
            ("range", "bytes=0-1"),
            ("cache-control", "no-cache"),
            ("pragma", "no-cache"),
        ],
        &[("cookie", &long), ("via", "1.1 x"), ("forwarded", "for=x"), ("x-forwarded-proto", "https")],
        &many,
    ];
    for fields in cases {
        let mut request = format!(
            "POST /login?utm_source=x&_=123 HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n",
            body.len()
        );
        for (name, value) in *fields {
            write!(request, "{name}: {value}\r\n").unwrap();
        }
        let answer = server.raw(format!("{request}\r\n{body}").as_bytes());
        assert!(
            answer.starts_with("HTTP/1.1 200 ") && answer.contains("access_token"),
            "{fields:?}: {answer}"
        );
    }
}

#[test]
fn js_a_body_that_trickles_in_is_given_up() {
    let database = Database::sqlite();
    let server = Server::start(&database);
    let bodies = ["content-length: 100\r\n\r\n{", "transfer-encoding: chunked\r\n\r\n1\r\n{\r\n"];
    race(bodies.len(), |n| {
        let head = "POST /login HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";
        closes_within(Duration::from_secs(15), &server, &format!("{head}{}", bodies[n]), 408);
    });
}

/// Returns all bytes up to the end of the connection, which must be closed without a reset.
#[track_caller]
fn all_answers(server: &Server, requests: &str) -> String {
    let mut connection = TcpStream::connect(server.address).unwrap();
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    connection.write_all(requests.as_bytes()).unwrap();
    let mut answers = String::new();
    connection.read_to_string(&mut answers).unwrap();
    answers
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
