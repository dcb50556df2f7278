//! PW: passwords. Every character counts, none is coerced, and none costs more than a hash.

use serde_json::{Value, json};

use super::Case;
use super::attack::{Attack, CANARY, Expected, answered, login_failed, refused};
use super::wire::Request;
use crate::server::PASSWORD;

pub(super) const CASES: &[Case] = &[
    ("PW-01", the_same_72_bytes),
    ("PW-02", cycles_of_nul),
    ("PW-04", other_forms_of_unicode),
    ("PW-05", mebibytes),
    ("PW-07", passwords_that_protect_nothing),
    ("PW-08", what_is_no_text),
    ("PW-10", stored_hashes_that_cost_too_much),
];

pub(super) fn login(name: &str, password: &str) -> Request {
    let body = json!({"username": name, "password": password}).to_string();
    Request::post("/login", body).field("x-secret", CANARY).secret(password)
}

pub(super) fn register(name: &str, password: &str) -> Request {
    let body = json!({"username": name, "password": password}).to_string();
    Request::post("/register", body).field("x-secret", CANARY).secret(password)
}

pub(super) fn registered() -> Expected {
    answered(201).changing(&["users"]).recording(&["user_registered"])
}

/// The first login from a network makes it known.
pub(super) fn logged_in() -> Expected {
    answered(200).changing(&["attempt_counters", "sessions"]).recording(&["login_succeeded"])
}

fn the_same_72_bytes(attack: &mut Attack<'_>) {
    let name = attack.name();
    let long = format!("{CANARY}{}", "x".repeat(72 - CANARY.len()));
    attack.tries(&register(&name, &format!("{long}A12!")), &registered());
    for other in [format!("{long}B12!"), long.clone(), format!("{long}A12!\u{301}")] {
        attack.tries(&login(&name, &other), &login_failed());
    }
    attack.tries(&login(&name, &format!("{long}A12!")), &logged_in());
    let longest = format!("Aa1-{}", "\u{1f980}".repeat(252));
    let name = attack.name();
    attack.tries(&register(&name, &longest), &registered()); // ASVS 6.2.9
    attack.tries(&login(&name, &longest), &logged_in());
}

fn cycles_of_nul(attack: &mut Attack<'_>) {
    let cycle = format!("{CANARY}\0");
    for password in [cycle.repeat(2), format!("{}{CANARY}", cycle.repeat(2)), format!("\0{CANARY}")] {
        let name = attack.name();
        attack.tries(&register(&name, &password), &refused(422, "invalid_request"));
        attack.tries(&login(&name, CANARY), &login_failed());
        attack.tries(&login(&name, &password), &refused(422, "invalid_request"));
    }
    // Of the real bcrypt of `a`, which a cycle of it and NUL would pass for.
    let name = attack.name();
    let hash = "$2b$04$a6UDBISJZtluc6KgbaNLqeBPCw3YCHDON0JUZmzr4/srg/B5j.xVC";
    attack.meddle(|database| database.import_user(1, &name, hash));
    attack.tries(&login(&name, &format!("{PASSWORD}\0{PASSWORD}")), &refused(422, "invalid_request"));
    attack.tries(
        &login(&name, PASSWORD),
        &logged_in()
            .changing(&["attempt_counters", "sessions", "users"])
            .recording(&["hash_upgraded", "login_succeeded"]),
    );
}

fn other_forms_of_unicode(attack: &mut Attack<'_>) {
    for (registered_with, same, others) in [
        ("Caf\u{e9}-123-Canary", "Cafe\u{301}-123-Canary", ["Cafe-123-Canary", "CAF\u{c9}-123-Canary"]),
        ("Of\u{fb01}ce-123-Canary", "Of\u{fb01}ce-123-Canary", ["Office-123-Canary", "Ofice-123-Canary"]),
        ("\u{ff21}Aa1-Canary", "\u{ff21}Aa1-Canary", ["AAa1-Canary", "aAa1-Canary"]),
        ("Pa\u{df}word-1-Canary", "Pa\u{df}word-1-Canary", ["Password-1-Canary", "Pa\u{1e9e}word-1-Canary"]),
    ] {
        let name = attack.name();
        attack.tries(&register(&name, registered_with), &registered());
        for other in others {
            attack.tries(&login(&name, other), &login_failed());
        }
        attack.tries(&login(&name, same), &logged_in());
    }
}

fn mebibytes(attack: &mut Attack<'_>) {
    let name = attack.user();
    let tokens = attack.login(&name);
    for length in [257, 8_000, 1 << 20] {
        let password = format!("{CANARY}{}", "x".repeat(length - CANARY.len()));
        let expected = match length {
            ..16_384 => refused(422, "invalid_request"),
            _ => Expected::one_of(&[(413, "payload_too_large"), (0, "")]),
        };
        attack.tries(&login(&name, &password), &expected);
        attack.tries(&register(&name, &password), &expected);
        attack.tries(&login(&password, PASSWORD), &expected);
        let body = json!({"current_password": password, "new_password": password}).to_string();
        let change = Request::json("PUT", "/me/password", body).bearer(&tokens.access).secret(&password);
        attack.tries(&change, &expected);
    }
    let largest =
        [b"{\"username\":\"x\",\"password\":\"", CANARY.as_bytes(), &vec![b'x'; 16 << 20], b"\"}"].concat();
    attack
        .tries(&Request::post("/login", largest), &Expected::one_of(&[(413, "payload_too_large"), (0, "")]));
}

fn passwords_that_protect_nothing(attack: &mut Attack<'_>) {
    let name = attack.user();
    let tokens = attack.login(&name);
    let code = |reply: &super::wire::Reply, at: &str| {
        let body = reply.json();
        let errors = body["errors"].as_array().unwrap();
        let error = errors.iter().find(|error| error["pointer"] == at).unwrap_or_else(|| panic!("{body}"));
        error["code"].as_str().unwrap().to_owned()
    };
    for (password, broken) in [
        ("P@ssw0rd".to_owned(), "common"),
        ("Password123!".to_owned(), "common"),
        ("Qwerty123!".to_owned(), "common"),
        (format!("Xx1-{name}-xX"), "contains_username"),
        (format!("Xx1-{}-xX", name.to_uppercase()), "contains_username"),
        ("Sh0rt-x".to_owned(), "too_short"),
    ] {
        let reply = attack.tries(&register(&name, &password), &refused(422, "invalid_request"));
        assert_eq!(code(&reply, "#/password"), broken, "{reply:?}");
        let body = json!({"current_password": PASSWORD, "new_password": password}).to_string();
        let change = Request::json("PUT", "/me/password", body).bearer(&tokens.access).secret(&password);
        let reply = attack.tries(&change, &refused(422, "invalid_request"));
        assert_eq!(code(&reply, "#/new_password"), broken, "{reply:?}");
    }
    let listed = attack.database.folder.path().join("words.txt");
    std::fs::write(&listed, format!("{CANARY}-Portcullis!\n")).unwrap();
    attack.against(&[("PASSWORD__COMMON_FILE", listed.to_str().unwrap())], |attack| {
        let name = attack.name();
        let reply = attack
            .tries(&register(&name, &format!("{CANARY}-portCULLIS!")), &refused(422, "invalid_request"));
        assert_eq!(code(&reply, "#/password"), "common", "{reply:?}");
    });
}

// ASVS 15.3.5
fn what_is_no_text(attack: &mut Attack<'_>) {
    let name = attack.user();
    let tokens = attack.login(&name);
    let values =
        [json!(1), json!(1.5), json!(true), json!(null), json!([PASSWORD]), json!({"password": PASSWORD})];
    for value in values {
        let values: [(&str, &str, Value); 4] = [
            ("POST", "/register", json!({"username": "nobody", "password": value})),
            ("POST", "/login", json!({"username": name, "password": value})),
            ("PUT", "/me/password", json!({"current_password": value, "new_password": value})),
            ("DELETE", "/me", json!({"current_password": value})),
        ];
        for (method, path, body) in values {
            let mut request = Request::json(method, path, body.to_string());
            if path.starts_with("/me") {
                request = request.bearer(&tokens.access);
            }
            attack.tries(&request, &refused(422, "invalid_request"));
        }
    }
    for broken in [r#""\ud800""#, r#""\udc00\ud800""#, r#""\u00""#, "'x'"] {
        let body = format!(r#"{{"username":"{name}","password":{broken}}}"#);
        attack.tries(
            &Request::post("/login", body),
            &Expected::one_of(&[(400, "malformed_json"), (422, "invalid_request")]),
        );
    }
}

fn stored_hashes_that_cost_too_much(attack: &mut Attack<'_>) {
    let hashes = [
        "",
        "x",
        "$2b$31$n79VH.0Q2TMWmt3Oqt9ukuKq4Noyk3094Y2QlB8NdRT8SvGiI4ft2",
        "$argon2id$v=19$m=8388608,t=1000,p=1$c29tZXNhbHRzb21lc2FsdA$RdescudvJCsgt3ub+b27Ig4Zn0B2QLxUV5vXPZb2Kw4",
        "$argon2id$v=19$m=65536,t=1000,p=1$c29tZXNhbHRzb21lc2FsdA$RdescudvJCsgt3ub+b27Ig4Zn0B2QLxUV5vXPZb2Kw4",
        "scrypt:1073741824:8:1$salt$00",
        "pbkdf2:sha256:4000000000$salt$00",
        "pbkdf2:md5:1000$salt$00",
        "$2b$04$\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}",
    ];
    for (number, hash) in hashes.into_iter().enumerate() {
        let name = attack.name();
        attack.meddle(|database| database.import_user(u8::try_from(100 + number).unwrap(), &name, hash));
        attack.tries(&login(&name, CANARY), &login_failed());
    }
}
