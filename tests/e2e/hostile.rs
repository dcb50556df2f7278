//! Rubbish and worse, sent to the real server: always a 4xx, never a 5xx, a hang or an echo. The cases are named after
//! the families JS (JSON), HT (HTTP framing), JW (bearer tokens), PW (passwords) and UN (usernames).

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::database::Database;
use crate::on_both_databases;
use crate::server::{PASSWORD, Server, race};

/// What no answer may contain.
const CANARY: &str = "canary-7f3a";

on_both_databases! {
    // ASVS 1.5.2 6.3.2 15.3.3 15.3.5
    fn js_bodies_that_are_no_request_are_refused(database: &Database) {
        let server = Server::start(database);
        let nested = format!("{}1{}", "[".repeat(8_000), "]".repeat(8_000));
        let malformed = [
            "", " ", "null", "true", "1", "\"x\"", "{", "{}{}", "{} x", "[]",
            &format!(r#"["alice","{CANARY}"]"#),
            &format!(r#"{{"username":"alice","username":"{CANARY}","password":"x"}}"#),
            &format!(r#"{{"username":"alice","user\u006eame":"{CANARY}","password":"x"}}"#),
            r#"{"username":"\ud800","password":"x"}"#,
            r"{'username':'alice'}",
            "{\"username\":\"alice\",/* */\"password\":\"x\"}",
            "\u{feff}{\"username\":\"alice\",\"password\":\"x\"}",
            &nested,
            &format!(r#"{{"username":{nested}}}"#),
        ];
        let invalid = [
            "{}".to_owned(),
            r#"{"username":"alice"}"#.to_owned(),
            format!(r#"{{"username":"alice","password":"{PASSWORD}","role":"{CANARY}"}}"#),
            format!(r#"{{"username":"alice","Password":"{CANARY}"}}"#),
            r#"{"username":"alice","password":1}"#.to_owned(),
            r#"{"username":"alice","password":null}"#.to_owned(),
            r#"{"username":["alice"],"password":{}}"#.to_owned(),
            r#"{"username":"al\u0000ice","password":"x"}"#.to_owned(),
            format!(r#"{{"username":"{}","password":"x"}}"#, "x".repeat(257)),
            format!(r#"{{"username":"alice","password":"{}"}}"#, "x".repeat(257)),
        ];
        for path in ["/register", "/login"] {
            let send = |body: &str| server.call("POST", path, &[("content-type", "application/json")], Some(body));
            for body in malformed {
                is_clean(&send(body), 400, "malformed_json");
            }
            for body in &invalid {
                is_clean(&send(body), 422, "invalid_request");
            }
        }
        assert_eq!(database.number("SELECT count(*) FROM users"), 0);
        assert_eq!(server.register("alice").status, 201, "and then it goes on");
    }

    // ASVS 3.5.2
    fn js_sizes_and_media_types_are_bounded(database: &Database) {
        let server = Server::start(database);
        let big = json!({"username": "alice", "password": "x".repeat(16 * 1024)}).to_string();
        is_clean(&server.call("POST", "/login", &[("content-type", "application/json")], Some(&big)), 413, "payload_too_large");
        for media_type in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/xml",
            "application/json; charset=utf-7", "application/jsonx", "text/json"] {
            let answer = server.call("POST", "/login", &[("content-type", media_type)], Some("{}"));
            is_clean(&answer, 415, "unsupported_media_type");
        }
        is_clean(&server.call("POST", "/login", &[], Some("{}")), 415, "unsupported_media_type");
        let gzip = [("content-type", "application/json"), ("content-encoding", "gzip")];
        is_clean(&server.call("POST", "/login", &gzip, Some("{}")), 415, "unsupported_media_type");

        // A length announced beyond the limit is refused before the body is read; a length that lies ends the call.
        let head = "POST /login HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";
        let answer = server.raw(format!("{head}content-length: 104857600\r\n\r\n{{").as_bytes());
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
        let chunked = format!("{head}transfer-encoding: chunked\r\n\r\n4000\r\n{}\r\n10\r\n", " ".repeat(0x4000));
        let answer = server.raw(format!("{chunked}{}\r\n0\r\n\r\n", "x".repeat(16)).as_bytes());
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    }

    // ASVS 4.2.1
    fn ht_framing_tricks_are_refused_and_nothing_is_smuggled(database: &Database) {
        let server = Server::start(database);
        let smuggled = format!(
            "POST /register HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 60\r\n\r\n{:60}",
            format!(r#"{{"username":"smuggled","password":"{PASSWORD}"}}"#)
        );
        let heads = [
            "content-length: 6\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            "transfer-encoding: chunked\r\ncontent-length: 6\r\n\r\n0\r\n\r\n",
            "transfer-encoding: chunked, x\r\n\r\n0\r\n\r\n",
            "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n0\r\n\r\n",
            "content-length: 5\r\ncontent-length: 6\r\n\r\n{}xxxx",
            "content-length: +5\r\n\r\n{}xxx",
            "content-length: 5,5\r\n\r\n{}xxx",
            "content-length : 5\r\n\r\n{}xxx",
            "x-nul: a\0b\r\n\r\n",
            "x-fold: a\r\n b\r\n\r\n",
        ];
        for head in heads {
            let request = format!("POST /login HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n{head}{smuggled}");
            let answer = server.raw(request.as_bytes());
            assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{head:?}: {answer}");
            assert!(!answer.contains("HTTP/1.1 201"), "{head:?}: {answer}");
        }
        assert_eq!(database.number("SELECT count(*) FROM users"), 0, "nothing was smuggled");
        for request in ["GET\r\n\r\n", "\0\0\0\0\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "get /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"] {
            let answer = server.raw(request.as_bytes());
            assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{request:?}: {answer}");
        }
        let long = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(1 << 20));
        let answer = server.raw(long.as_bytes());
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
        assert_eq!(server.get("/health").status, 200);
    }

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

    // ASVS 4.1.4 13.4.3 13.4.4 14.2.5
    fn ht_methods_and_paths_are_exact(database: &Database) {
        let server = Server::start(database);
        for (method, path, allow) in [
            ("GET", "/register", "POST"), ("PUT", "/login", "POST"), ("DELETE", "/refresh", "POST"),
            ("POST", "/protected", "GET, HEAD"), ("PATCH", "/me", "GET, HEAD, DELETE"), ("POST", "/me/password", "PUT"),
            ("GET", "/me/sessions/x", "DELETE"), ("DELETE", "/me/sessions", "GET, HEAD"), ("PROPFIND", "/health", "GET, HEAD"),
            ("TRACE", "/health", "GET, HEAD"), ("OPTIONS", "/login", "POST"),
        ] {
            let answer = server.call(method, path, &[("x-http-method-override", "POST")], None);
            answer.is_problem(405, "method_not_allowed");
            assert_eq!(answer.header("allow"), Some(allow), "{method} {path}");
        }
        for path in ["/", "/login/", "//login", "/Login", "/%6cogin/x", "/login;.js", "/me/x.css", "/me%2fx", "/../etc/passwd",
            "/%252e%252e/", "/protected/canary-7f3a", "/problems/nothing"] {
            is_clean(&server.get(path), 404, "not_found");
        }
        let head = server.call("HEAD", "/health", &[], None);
        assert_eq!((head.status, head.text.as_str()), (200, ""));
        assert_eq!(server.call("HEAD", "/protected", &[], None).status, 401);
    }

    // ASVS 3.2.1 3.4.3 3.4.4 3.4.5 3.4.6 3.5.8
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
                ("content-security-policy", "default-src 'none'; base-uri 'none'; frame-ancestors 'none'; sandbox"),
                ("x-content-type-options", "nosniff"),
                ("x-frame-options", "DENY"),
                ("x-xss-protection", "0"),
                ("referrer-policy", "no-referrer"),
                ("cross-origin-resource-policy", "same-origin"),
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

    // ASVS 7.2.1 9.1.1 9.1.2
    fn jw_what_is_no_token_of_ours_is_refused(database: &Database) {
        let server = Server::start(database);
        server.register("alice");
        let access = server.login("alice").access;
        let (head, rest) = access.split_once('.').unwrap();
        let (claims, signature) = rest.split_once('.').unwrap();
        // {"alg":"none"}, {"alg":"HS256","typ":"at+jwt"}
        let (none, hs256) = ("eyJhbGciOiJub25lIn0", "eyJhbGciOiJIUzI1NiIsInR5cCI6ImF0K2p3dCJ9");
        let forged = [
            format!("{none}.{claims}."), format!("{none}.{claims}"), format!("{none}.{claims}.{signature}"),
            format!("{hs256}.{claims}.{signature}"), format!("{head}.{claims}."), format!("{head}..{signature}"),
            format!("{access}="), format!("{access}.x"), format!("{access} x"), format!(" {access}"),
            "..".to_owned(), ".".repeat(2_000), "x".repeat(4_097), "{}".to_owned(), "null".to_owned(),
        ];
        for token in &forged {
            let answer = server.get_as("/protected", token);
            assert_eq!(answer.status, 401, "{token}: {answer:?}");
        }
        for header in ["Basic YTpi", "Bearer", "bearer", "Token x", &format!("Bearer {access}, Bearer {access}")] {
            let answer = server.call("GET", "/protected", &[("authorization", header)], None);
            assert_eq!(answer.status, 401, "{header}: {answer:?}");
            assert!(answer.header("www-authenticate").unwrap().starts_with("Bearer"), "{header}");
        }
        let not_text = b"GET /protected HTTP/1.1\r\nhost: x\r\nauthorization: Bearer \xe9\xff\r\nconnection: close\r\n\r\n";
        assert!(server.raw(not_text).starts_with("HTTP/1.1 401 "));
        assert_eq!(server.get_as("/protected", &access).status, 200);
        let eight_megabytes = format!("GET /protected HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\r\n", "a".repeat(8 << 20));
        let answer = server.raw(eight_megabytes.as_bytes());
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }

    // ASVS 6.2.9
    fn pw_every_character_of_a_password_counts(database: &Database) {
        let server = Server::start(database);
        let long = format!("Aa1-{}", "x".repeat(68));
        let variants = [
            ("seventytwo", format!("{long}A")), ("unicode", "Pa\u{df}w\u{f6}rd-1\u{1f980}".to_owned()),
            ("composed", "Caf\u{e9}-123".to_owned()), ("longest", format!("Aa1-{}", "\u{1f980}".repeat(252))),
        ];
        for (name, password) in &variants {
            let answer = server.post("/register", &json!({"username": name, "password": password}));
            assert_eq!(answer.status, 201, "{answer:?}");
            assert_eq!(server.try_login(name, password).status, 200, "{name}");
        }
        server.try_login("seventytwo", &format!("{long}B")).is_problem(401, "invalid_credentials");
        server.try_login("seventytwo", &long).is_problem(401, "invalid_credentials");
        assert_eq!(server.try_login("composed", "Cafe\u{301}-123").status, 200, "the same password on another keyboard");
        server.try_login("unicode", "Passw\u{f6}rd-1\u{1f980}").is_problem(401, "invalid_credentials");
        let nul = server.post("/register", &json!({"username": "nul", "password": "Aa1-Aa1-\0x"}));
        nul.is_problem(422, "invalid_request");
        for common in ["P@ssw0rd", "Password123!", "Qwerty123!"] {
            let answer = server.post("/register", &json!({"username": "common", "password": common}));
            assert_eq!(answer.json()["errors"][0]["code"], "common", "{answer:?}");
        }
    }

    // ASVS 1.2.4
    fn un_names_that_look_alike_are_one_or_none(database: &Database) {
        let server = Server::start(database);
        assert_eq!(server.register("Kate").status, 201);
        for twin in ["KATE", "kate", "kAtE"] {
            server.register(twin).is_problem(409, "username_taken");
        }
        // The Kelvin sign is a K in every respect but its code.
        server.register("\u{212a}ate").is_problem(422, "invalid_request");
        assert_eq!(server.try_login("\u{212a}ate", PASSWORD).status, 200);
        for lookalike in ["k\u{430}te", "kate\u{200b}", "kate ", " kate", "ka te", "\u{202e}kate", "kat\u{e9}",
            "kate\u{a0}", "kate\0", "<img src=x>", "' OR 1=1 --", "kate\r\nx: y", "admin", "ROOT"] {
            server.post("/register", &json!({"username": lookalike, "password": PASSWORD})).is_problem(422, "invalid_request");
            let login = server.try_login(lookalike, PASSWORD);
            assert!(matches!(login.status, 401 | 422), "{lookalike:?}: {login:?}");
        }
        assert_eq!(database.number("SELECT count(*) FROM users"), 1);
    }

    // ASVS 3.4.2
    fn co_origins_are_let_in_by_name_alone(database: &Database) {
        let settings = [("CORS__ALLOWED_ORIGINS", "https://app.example.com,http://localhost:5173")];
        let server = Server::start_with(database, &settings);
        let granted = |origin: &str| {
            let answer = server.call("GET", "/health", &[("origin", origin)], None);
            assert_eq!(answer.status, 200);
            assert!(answer.headers.get_all("vary").iter().any(|vary| vary.to_str().unwrap().to_ascii_lowercase().contains("origin")), "{answer:?}");
            assert!(answer.header("access-control-allow-credentials").is_none());
            answer.header("access-control-allow-origin").map(str::to_owned)
        };
        assert_eq!(granted("https://app.example.com").as_deref(), Some("https://app.example.com"));
        assert_eq!(granted("http://localhost:5173").as_deref(), Some("http://localhost:5173"));
        for origin in ["null", "https://evil.example", "https://app.example.com.evil.example", "http://app.example.com",
            "https://app.example.com:8443", "https://xapp.example.com", "https://APP.example.com"] {
            assert_eq!(granted(origin), None, "{origin}");
        }
    }

    // ASVS 2.3.2 2.4.1 4.1.3 15.3.4
    fn limits_hold_for_each_address(database: &Database) {
        let settings = [("LIMITS__ENABLED", "true"), ("LIMITS__LOGIN__BURST", "3"), ("LIMITS__LOGIN__REQUESTS", "1"), ("LIMITS__LOGIN__PER", "24h")];
        let server = Server::start_with(database, &settings);
        let statuses: Vec<_> = (0..5)
            .map(|n| {
                // Nobody gets a bucket of his own by claiming another address.
                let claimed = format!("203.0.113.{n}");
                let headers = [("content-type", "application/json"), ("x-forwarded-for", claimed.as_str()),
                    ("forwarded", "for=198.51.100.1"), ("x-real-ip", claimed.as_str())];
                server.call("POST", "/login", &headers, Some(r#"{"username":"nobody","password":"x"}"#))
            })
            .collect();
        assert_eq!(statuses.iter().map(|answer| answer.status).collect::<Vec<_>>(), [401, 401, 401, 429, 429]);
        statuses[3].is_problem(429, "rate_limited");
        assert!(statuses[3].header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
        for answer in &statuses {
            assert!(answer.header("ratelimit").is_some() && answer.header("ratelimit-policy").is_some(), "{answer:?}");
        }
        assert_eq!(server.register("alice").status, 201, "another route, another bucket");

        let behind_proxy = Server::start_with(database, &[("LIMITS__ENABLED", "true"), ("LIMITS__LOGIN__BURST", "1"), ("LIMITS__LOGIN__REQUESTS", "1"), ("LIMITS__LOGIN__PER", "24h"),
            ("SERVER__TRUSTED_PROXIES", "127.0.0.0/8")]);
        let login_from = |addresses: &str| {
            let headers = [("content-type", "application/json"), ("x-forwarded-for", addresses)];
            behind_proxy.call("POST", "/login", &headers, Some(r#"{"username":"nobody else","password":"x"}"#)).status
        };
        assert_eq!(login_from("203.0.113.1"), 401);
        assert_eq!(login_from("203.0.113.1"), 429);
        assert_eq!(login_from("198.51.100.9, 203.0.113.1"), 429, "what a client prepends does not count");
        assert_eq!(login_from("203.0.113.2"), 401);
        assert_eq!(login_from("2001:db8:1:1::1"), 401);
        assert_eq!(login_from("2001:db8:1:1:ffff::2"), 429, "one /64, one bucket");
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

/// Asserts a problem of this code that repeats nothing of what was sent.
#[track_caller]
fn is_clean(answer: &crate::server::Answer, status: u16, code: &str) {
    answer.is_problem(status, code);
    assert!(!answer.text.contains(CANARY), "{answer:?}");
}
