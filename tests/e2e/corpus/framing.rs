//! HT: where requests begin and end, and what they ask for.

use serde_json::json;

use super::Case;
use super::attack::{Attack, CANARY, Expected, answered, cut_off, refused};
use super::wire::Request;
use crate::server::PASSWORD;

pub(super) const CASES: &[Case] = &[
    ("HT-01", lengths_beside_chunks),
    ("HT-02", heads_that_can_be_read_in_two_ways),
    ("HT-04", methods_in_other_places),
    ("HT-05", head_and_options),
    ("HT-07", fields_that_proxies_set),
    ("HT-08", targets_and_hosts),
    ("HT-11", floods_of_names),
];

/// A login, and behind it in the same bytes a registration that must not happen.
fn smuggling(attack: &mut Attack<'_>, head: &str) -> Request {
    let name = attack.name();
    let body = json!({"username": name, "password": PASSWORD}).to_string();
    Request::raw(format!(
        "POST /login HTTP/1.1\r\nhost: x\r\ncookie: {CANARY}\r\ncontent-type: application/json\r\n{head}POST /register HTTP/1.1\r\n\
         host: x\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    ))
}

// ASVS 4.2.1
fn lengths_beside_chunks(attack: &mut Attack<'_>) {
    for head in [
        "content-length: 6\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 6\r\n\r\n0\r\n\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 0\r\n\r\n0\r\n\r\n",
        "transfer-encoding: chunked, x\r\n\r\n0\r\n\r\n",
        "transfer-encoding: x, chunked\r\n\r\n0\r\n\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n0\r\n\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "transfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
        "transfer-encoding : chunked\r\n\r\n0\r\n\r\n",
        "transfer-encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
        "transfer-encoding: chunked\r\n\r\n0x0\r\n\r\n",
        "transfer-encoding: chunked\r\n\r\n-1\r\n\r\n",
        "transfer-encoding: chunked\r\n\r\n0;\nx\r\n\r\n",
    ] {
        let request = smuggling(attack, head);
        attack.tries(&request, &cut_off());
    }
}

// ASVS 4.2.1
fn heads_that_can_be_read_in_two_ways(attack: &mut Attack<'_>) {
    for head in [
        "content-length: 5\r\ncontent-length: 6\r\n\r\n{}xxxx",
        "content-length: 2\r\ncontent-length: 2\r\n\r\n{}",
        "content-length: +5\r\n\r\n{}xxx",
        "content-length: 5,5\r\n\r\n{}xxx",
        "content-length: 0x5\r\n\r\n{}xxx",
        "content-length: -5\r\n\r\n{}xxx",
        "content-length: \r\n\r\n{}",
        "content-length : 5\r\n\r\n{}xxx",
        "x-nul: a\0b\r\n\r\n",
        "x-fold: a\r\n b\r\n\r\n",
        "x-cr: a\rb\r\n\r\n",
        " x-space: a\r\n\r\n",
        "x space: a\r\n\r\n",
        ": empty\r\n\r\n",
        "no-colon\r\n\r\n",
    ] {
        let request = smuggling(attack, head);
        attack.tries(&request, &cut_off());
    }
    for request in [
        format!("GET\r\n{CANARY}\r\n\r\n"),
        format!("\0\0\0\0{CANARY}\r\n\r\n"),
        format!("GET / HTTP/9.9\r\ncookie: {CANARY}\r\n\r\n"),
        format!("GET /{CANARY}\r\n\r\n"),
        format!("GET  /health HTTP/1.1\r\nhost: x\r\ncookie: {CANARY}\r\n\r\n"),
        format!("GET /health HTTP/1.1 \r\nhost: x\r\ncookie: {CANARY}\r\n\r\n"),
        format!("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n{CANARY}"),
        format!("\x16\x03\x01\x02\0\x01\0\x01\x7c\x03\x03{CANARY}\r\n\r\n"),
    ] {
        attack.tries(&Request::raw(request), &cut_off());
    }
}

// ASVS 4.1.4
fn methods_in_other_places(attack: &mut Attack<'_>) {
    let name = attack.user();
    let tokens = attack.login(&name);
    for (method, path, allow) in [
        ("GET", "/register", "POST"),
        ("PUT", "/login", "POST"),
        ("DELETE", "/refresh", "POST"),
        ("GET", "/logout?_method=POST", "POST"),
        ("POST", "/protected", "GET, HEAD"),
        ("POST", "/me?_method=DELETE", "GET, HEAD, DELETE"),
        ("PATCH", "/me", "GET, HEAD, DELETE"),
        ("POST", "/me/password", "PUT"),
        ("GET", "/me/sessions/x", "DELETE"),
        ("DELETE", "/me/sessions", "GET, HEAD"),
        ("PROPFIND", "/health", "GET, HEAD"),
        ("TRACE", "/health", "GET, HEAD"), // ASVS 13.4.4
        ("get", "/health", "GET, HEAD"),
        ("X", "/login", "POST"),
    ] {
        let request = Request::new(method, path).bearer(&tokens.access);
        let request = ["x-http-method-override", "x-method-override", "x-http-method"]
            .iter()
            .fold(request, |request, name| request.field(name, "DELETE"));
        let reply = attack.tries(&request, &refused(405, "method_not_allowed"));
        assert_eq!(reply.field("allow"), Some(allow), "{method} {path}");
    }
    for path in [
        "/", // ASVS 13.4.3
        "/login/",
        "//login",
        "/Login",
        "/%6cogin",
        "/login;.js",
        "/login%00",
        "/me/x.css", // ASVS 14.2.5
        "/me%2fx",
        "/../etc/passwd",
        "/%252e%252e/",
        "/v1/login",
        "/problems/nothing",
    ] {
        attack.tries(&Request::get(path).bearer(&tokens.access), &refused(404, "not_found"));
    }
    attack.tries(
        &Request::get(&format!("/protected/{CANARY}")).bearer(&tokens.access),
        &refused(404, "not_found"),
    );
}

fn head_and_options(attack: &mut Attack<'_>) {
    let name = attack.user();
    let tokens = attack.login(&name);
    for path in ["/protected", "/me", "/me/sessions", "/me/activity"] {
        // A problem without its body.
        let bare = attack.tries(&Request::new("HEAD", path), &answered(401));
        assert!(bare.body.is_empty() && bare.field("www-authenticate").is_some(), "{bare:?}");
        attack.tries(&Request::new("HEAD", path).bearer(CANARY), &answered(401));
        let (get, head) =
            (Request::get(path).bearer(&tokens.access), Request::new("HEAD", path).bearer(&tokens.access));
        let (get, head) = (attack.tries(&get, &answered(200)), attack.tries(&head, &answered(200)));
        assert!(!get.body.is_empty() && head.body.is_empty());
        assert_eq!(get.field("content-length"), head.field("content-length"), "{path}");
        let told = attack.tries(&Request::new("OPTIONS", path), &refused(405, "method_not_allowed"));
        let told_again = attack.tries(
            &Request::new("OPTIONS", path).bearer(&tokens.access),
            &refused(405, "method_not_allowed"),
        );
        assert_eq!(told.likeness(), told_again.likeness(), "{path}: who asks makes no difference");
    }
    for path in ["/register", "/login", "/refresh", "/logout", "/me/password"] {
        attack.tries(&Request::new("HEAD", path), &answered(405));
        attack.tries(&Request::new("OPTIONS", path), &refused(405, "method_not_allowed"));
    }
}

// ASVS 4.1.3 15.3.4
fn fields_that_proxies_set(attack: &mut Attack<'_>) {
    let name = attack.user();
    let claims = [
        ("x-forwarded-for", "203.0.113.77"),
        ("x_forwarded_for", "203.0.113.77"),
        ("x-real-ip", "203.0.113.77"),
        ("x-client-ip", "203.0.113.77"),
        ("forwarded", "for=203.0.113.77;host=evil.example;proto=https"),
        ("x-forwarded-host", "evil.example"),
        ("x-forwarded-proto", "https"),
        ("connection", "x-real-ip, x-forwarded-for"),
    ];
    let body = json!({"username": name, "password": PASSWORD}).to_string();
    let request = claims
        .iter()
        .fold(Request::post("/login", body), |request, (name, value)| request.field(name, value));
    let reply = attack.tries(&request, &super::passwords::logged_in());
    let access = reply.json()["access_token"].as_str().unwrap().to_owned();
    for path in ["/me/sessions", "/me/activity"] {
        let request = claims
            .iter()
            .fold(Request::get(path).bearer(&access), |request, (name, value)| request.field(name, value));
        let reply = attack.tries(&request, &answered(200));
        assert!(reply.body.contains("\"127.0.0.1\"") && !reply.body.contains("203.0.113.77"), "{reply:?}");
    }
}

fn targets_and_hosts(attack: &mut Attack<'_>) {
    let raw = |line: &str, hosts: &str| {
        Request::raw(format!("{line}\r\n{hosts}cookie: {CANARY}\r\nconnection: close\r\n\r\n"))
    };
    let refused = Expected::one_of(&[(400, "malformed_request"), (400, "")]);
    for host in ["user@x", "x/y", "x#y", "x y", "a\"b", "\u{e9}", "", "[::1", "::1]", "a[b]"] {
        attack.tries(&raw("GET /health HTTP/1.1", &format!("host: {host}\r\n")), &refused);
    }
    attack.tries(&raw("GET /health HTTP/1.1", ""), &refused);
    attack.tries(&raw("GET /health HTTP/1.1", "host: x\r\nhost: y\r\n"), &refused);
    for target in [
        "http://x/health",
        "http://evil.example/health",
        "https://user:secret@x/health",
        "//evil.example/health",
        "evil.example:443",
    ] {
        // What is no URL is a path that is not there.
        let expected = if !target.contains("http:") && !target.contains("https:") {
            super::attack::refused(404, "not_found")
        } else {
            refused.clone()
        };
        attack.tries(&raw(&format!("GET {target} HTTP/1.1"), "host: x\r\n"), &expected);
    }
    let tunnel = Expected::one_of(&[(400, ""), (400, "malformed_request"), (404, "not_found")]);
    attack.tries(&raw("CONNECT evil.example:443 HTTP/1.1", "host: x\r\n"), &tunnel);
    for upgrade in ["websocket", "WebSocket"] {
        attack.tries(&raw("GET /health HTTP/1.1", &format!("host: x\r\nupgrade: {upgrade}\r\n")), &refused);
    }
    for path in [
        "/.well-known/openid-configuration",
        "/.well-known/oauth-authorization-server",
        "/problems/not_found",
        "/problems",
    ] {
        let evil = raw(
            &format!("GET {path} HTTP/1.1"),
            "host: evil.example\r\nx-forwarded-host: evil.example\r\nforwarded: host=evil.example\r\n",
        );
        let reply = attack.tries(&evil, &answered(200));
        assert!(!reply.body.contains("evil"), "{reply:?}");
    }
}

fn floods_of_names(attack: &mut Attack<'_>) {
    attack.against(&[("CORS__ALLOWED_ORIGINS", "https://app.example.com")], |attack| {
        for names in [1_000, 15_000, 100_000] {
            let names = (0..names).map(|n| format!("x-{n}")).collect::<Vec<_>>().join(",");
            let preflight = Request::new("OPTIONS", "/login")
                .field("origin", "https://app.example.com")
                .field("access-control-request-method", "POST");
            let expected = Expected::one_of(&[
                (400, "malformed_request"),
                (403, "forbidden"),
                (400, ""),
                (431, ""),
                (0, ""),
            ]);
            let reply = attack.tries(&preflight.field("access-control-request-headers", names), &expected);
            assert!(!reply.body.contains("x-999"), "{reply:?}");
        }
    });
    let many = (0..10_000).fold(Request::get("/health"), |request, n| request.field(&format!("x-{n}"), "b"));
    attack.tries(&many, &cut_off());
    let long = format!("/{}", "%41".repeat(20_000));
    attack.tries(&Request::get(&long), &Expected::one_of(&[(404, "not_found"), (400, ""), (414, "")]));
    attack.tries(&Request::get(&format!("/{}", "a".repeat(1 << 20))), &cut_off());
}
