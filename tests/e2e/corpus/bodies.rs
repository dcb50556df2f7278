//! JS: JSON, and what is sent in its place, on every route that takes a body.

use std::fmt::Write as _;

use serde_json::json;

use super::Case;
use super::attack::{Attack, CANARY, Expected, refused};
use super::wire::Request;
use crate::server::PASSWORD;

pub(super) const CASES: &[Case] = &[
    ("JS-01", duplicate_keys),
    ("JS-02", arrays_for_objects),
    ("JS-04", bodies_that_are_too_large),
    ("JS-05", what_is_no_json),
    ("JS-07", unknown_fields),
    ("JS-08", other_media_types),
    ("JS-10", compressed_bodies),
];

/// Every route that takes a body.
const ROUTES: [(&str, &str); 7] = [
    ("POST", "/register"),
    ("POST", "/login"),
    ("POST", "/refresh"),
    ("POST", "/logout"),
    ("PUT", "/me/password"),
    ("DELETE", "/me"),
    ("POST", "/me/delete"),
];

/// A request for each route, with a good access token where one is needed.
fn on_every_route(attack: &mut Attack<'_>, expected: &Expected, request: impl Fn(&str, &str) -> Request) {
    let name = attack.user();
    let tokens = attack.login(&name);
    for (method, path) in ROUTES {
        let request = request(method, path);
        let request = if path.starts_with("/me") { request.bearer(&tokens.access) } else { request };
        attack.tries(&request, expected);
    }
}

fn each_body(attack: &mut Attack<'_>, bodies: &[impl AsRef<[u8]>], expected: &Expected) {
    let name = attack.user();
    let tokens = attack.login(&name);
    for body in bodies {
        for (method, path) in ROUTES {
            let request = Request::json(method, path, body.as_ref());
            let request = if path.starts_with("/me") { request.bearer(&tokens.access) } else { request };
            attack.tries(&request, expected);
        }
    }
}

fn duplicate_keys(attack: &mut Attack<'_>) {
    let bodies = [
        format!(r#"{{"username":"alice","username":"{CANARY}","password":"{PASSWORD}"}}"#),
        format!(r#"{{"username":"alice","user\u006eame":"{CANARY}","password":"{PASSWORD}"}}"#),
        format!(r#"{{"username":"alice","password":"x","password":"{PASSWORD}"}}"#),
        format!(r#"{{"refresh_token":"{CANARY}","refresh_token":"{CANARY}"}}"#),
        format!(r#"{{"current_password":"x","current_password":"{PASSWORD}"}}"#),
        format!(r#"{{"username":"alice","password":"{PASSWORD}","more":{{"a":1,"\u0061":2}}}}"#),
    ];
    each_body(attack, &bodies, &refused(400, "malformed_json"));
}

// ASVS 1.5.2
fn arrays_for_objects(attack: &mut Attack<'_>) {
    let bodies = [
        format!(r#"["alice","{PASSWORD}"]"#),
        format!(r#"["{CANARY}"]"#),
        format!(r#"[{{"username":"alice","password":"{PASSWORD}"}}]"#),
        "[]".to_owned(),
    ];
    each_body(attack, &bodies, &refused(400, "malformed_json"));
}

fn bodies_that_are_too_large(attack: &mut Attack<'_>) {
    let body = |length: usize| format!("{{\"a\":\"{CANARY}\"{}}}", " ".repeat(length - CANARY.len() - 8));
    let just_fits = body(16 << 10);
    assert_eq!(just_fits.len(), 16 << 10);
    on_every_route(attack, &refused(422, "invalid_request"), |method, path| {
        Request::json(method, path, just_fits.as_str())
    });
    for length in [(16 << 10) + 1, 1 << 20] {
        let body = body(length);
        on_every_route(attack, &refused(413, "payload_too_large"), |method, path| {
            Request::json(method, path, body.as_str())
        });
    }
    // A length beyond the limit is refused before anything is read.
    let large = "content-length: 104857600";
    for (lie, expected) in [
        (format!("{large}\r\n\r\n{{"), refused(413, "payload_too_large")),
        (format!("{large}\r\n\r\n"), refused(413, "payload_too_large")),
        ("content-length: 1\r\n\r\n{\"username\":\"x\"}".to_owned(), refused(400, "malformed_json")),
        ("content-length: 18446744073709551616\r\n\r\n{".to_owned(), Expected::one_of(&[(400, "")])),
        (
            "transfer-encoding: chunked\r\n\r\nffffffffffffffff1\r\n{".to_owned(),
            Expected::one_of(&[(400, ""), (400, "malformed_json"), (400, "malformed_request")]),
        ),
    ] {
        attack.tries(&raw_login(&lie), &expected);
    }
    let mut chunks = String::new();
    for _ in 0..17 {
        write!(chunks, "400\r\n{}\r\n", " ".repeat(1 << 10)).unwrap();
    }
    attack.tries(
        &raw_login(&format!("transfer-encoding: chunked\r\n\r\n{chunks}0\r\n\r\n")),
        &refused(413, "payload_too_large"),
    );
}

fn raw_login(rest: &str) -> Request {
    Request::raw(format!(
        "POST /login HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncookie: {CANARY}\r\ncontent-type: application/json\r\n{rest}"
    ))
}

fn what_is_no_json(attack: &mut Attack<'_>) {
    let nested = format!("{{\"a\":{}{}}}", "[".repeat(5_000), "]".repeat(5_000));
    let good = format!(r#"{{"username":"alice","password":"{CANARY}"}}"#);
    let mut bodies: Vec<Vec<u8>> = [
        " ",
        "null",
        "true",
        "7",
        "\"x\"",
        "{",
        "{}{}",
        "{} x",
        "{\"a\":01}",
        "{\"a\":NaN}",
        "{\"a\":1e400}",
        "{\"a\":0x10}",
        r#"{"refresh_token":"\ud800"}"#,
        "{'username':'alice'}",
        "{username:\"alice\"}",
        "{\"a\":1,}",
        "{/**/\"a\":1}",
        "{\"a\":1}//",
        "{\"a\":\"\t\"}",
        "username=alice&password=x",
        "<username>alice</username>",
        "\u{feff}{}",
        &nested,
    ]
    .map(|body| body.as_bytes().to_vec())
    .to_vec();
    bodies.extend([
        format!("{good}{good}").into_bytes(),
        good.as_bytes()[..good.len() - 1].to_vec(),
        b"{\"refresh_token\":\"\xff\"}".to_vec(),
        b"{\"refresh_token\":\"\xed\xa0\x80\"}".to_vec(),
        b"\xfe\xff\0{\0}".to_vec(),
        good.encode_utf16().flat_map(u16::to_le_bytes).collect(),
    ]);
    each_body(attack, &bodies, &refused(400, "malformed_json"));
    // A logout may come without a body, but then with an access token.
    let name = attack.user();
    let tokens = attack.login(&name);
    for (method, path) in ROUTES.into_iter().filter(|(_, path)| *path != "/logout") {
        attack
            .tries(&Request::json(method, path, "").bearer(&tokens.access), &refused(400, "malformed_json"));
    }
}

// ASVS 1.5.2 15.3.3
fn unknown_fields(attack: &mut Attack<'_>) {
    let bodies = [
        r#"{"x":1}"#.to_owned(),
        format!(r#"{{"username":"alice","password":"{PASSWORD}","role":"{CANARY}"}}"#),
        format!(r#"{{"username":"alice","Password":"{PASSWORD}"}}"#),
        format!(r#"{{"username":"alice","password":"{PASSWORD}","\u0000":1}}"#),
        format!(r#"{{"username":{{"name":"{CANARY}"}},"password":"{PASSWORD}"}}"#),
        format!(r#"{{"refresh_token":"{CANARY}","scope":"all"}}"#),
        format!(r#"{{"current_password":"{PASSWORD}","new_password":"{PASSWORD}","user_id":"{CANARY}"}}"#),
        format!(r#"{{"__proto__":{{"admin":true}},"constructor":"{CANARY}"}}"#),
    ];
    each_body(attack, &bodies, &refused(422, "invalid_request"));
}

// ASVS 3.5.2
fn other_media_types(attack: &mut Attack<'_>) {
    let body = json!({"username": "alice", "password": CANARY}).to_string();
    let expected = refused(415, "unsupported_media_type");
    for media_type in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/xml",
        "text/json",
        "application/jsonx",
        "application/json; charset=utf-7",
        "application/json, text/plain",
        "text/plain; application/json",
        "*/*",
        "",
    ] {
        on_every_route(attack, &expected, |method, path| {
            Request::new(method, path).field("content-type", media_type).body(body.as_str())
        });
    }
    on_every_route(attack, &expected, |method, path| Request::new(method, path).body(body.as_str()));
    on_every_route(attack, &expected, |method, path| {
        Request::json(method, path, body.as_str()).field("content-type", "text/plain")
    });
}

fn compressed_bodies(attack: &mut Attack<'_>) {
    // Zeros without end: as `gzip` of ten megabytes begins.
    let bomb = [
        &b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xec\xc1\x01\x01\x00\x00\x00\x80\x90\xfe\xaf\xee"[..],
        &[0; 8_000],
    ]
    .concat();
    for coding in ["gzip", "br", "deflate", "zstd", "gzip, gzip", "identity, gzip", "x"] {
        on_every_route(attack, &refused(415, "unsupported_media_type"), |method, path| {
            Request::json(method, path, bomb.as_slice()).field("content-encoding", coding)
        });
    }
}
