//! JW: bearer tokens. Without the key, all that can be shown over HTTP is a signature that fits nothing; the verifier's
//! own tests (`crates/adapters/src/token/jwt/tests.rs`) try the same under genuine signatures.

use serde_json::{Value, json};

use super::Case;
use super::attack::{Attack, CANARY, Expected, answered, cut_off, refused};
use super::forgery::{Genuine, decode, encode, message, own_public_key, under_hmac, under_own_key};
use super::wire::Request;
use crate::server::{PASSWORD, SECRET, run};

pub(super) const CASES: &[Case] = &[
    ("JW-01", alg_none),
    ("JW-02", alg_none_in_disguise),
    ("JW-04", other_algorithms),
    ("JW-05", keys_that_the_token_brings_along),
    ("JW-07", kids_that_are_no_kids),
    ("JW-08", secrets_that_are_none),
    ("JW-10", other_spellings),
    ("JW-11", degenerate_signatures),
    ("JW-13", duplicate_members),
    ("JW-14", dates_that_are_none),
    ("JW-16", issuers_and_audiences),
    ("JW-17", other_kinds_of_tokens),
    ("JW-19", long_tokens),
    ("JW-20", other_serialisations),
    ("JW-22", other_encodings_of_text),
    ("JW-23", tokens_of_users_who_are_gone),
    ("JW-28", refresh_tokens_cut_and_extended),
];

/// A genuine token of somebody, and whose it is.
fn genuine(attack: &mut Attack<'_>) -> Genuine {
    let name = attack.user();
    Genuine::of(&attack.login(&name).access)
}

/// What every forged token gets, on a route that only looks at the token and on one that asks the database.
fn all_refused(attack: &mut Attack<'_>, tokens: impl IntoIterator<Item = impl AsRef<[u8]>>) {
    for (n, token) in tokens.into_iter().enumerate() {
        let path = ["/protected", "/me"][n % 2];
        let reply = attack.tries(&Request::get(path).bearer(token), &refused(401, "invalid_token"));
        assert!(reply.field("www-authenticate").unwrap().starts_with("Bearer"), "{reply:?}");
    }
}

// ASVS 9.1.2
fn alg_none(attack: &mut Attack<'_>) {
    let good = genuine(attack);
    for header in [json!({"alg": "none"}).to_string(), good.header_with(&good.alg(), "none")] {
        let message = message(header, &good.payload);
        let signed = format!("{message}.{}", good.signature);
        all_refused(attack, [format!("{message}."), message, signed]);
    }
    // The genuine header without its signature.
    let (message, _) = good.token.rsplit_once('.').unwrap();
    all_refused(attack, [message, &format!("{message}."), &format!("{message}.AA")]);
}

// ASVS 9.1.2
fn alg_none_in_disguise(attack: &mut Attack<'_>) {
    let good = genuine(attack);
    for alg in [r#""noNE""#, r#""None""#, r#""NONE""#, r#"" none""#, r#""hs256""#, "null", r#"["none"]"#, "0"]
    {
        let header = good.header_with(&format!("{:?}", good.alg()), alg);
        all_refused(
            attack,
            [good.with(&header, &good.payload), format!("{}.", message(&header, &good.payload))],
        );
    }
}

// ASVS 9.1.2
fn other_algorithms(attack: &mut Attack<'_>) {
    let good = genuine(attack);
    let others = ["HS256", "HS384", "HS512", "RS256", "PS256", "ES384", "Ed448", "EdDSA", "eddsa", "es256"];
    for alg in others {
        all_refused(attack, [good.with(good.header_with(&good.alg(), alg), &good.payload)]);
    }
    // The public key, as it is published, as the secret of an HMAC.
    let keys = attack.server().get("/.well-known/jwks.json").json();
    let text = |key: &Value, name: &str| key[name].as_str().unwrap().to_owned();
    let keys = keys["keys"].as_array().unwrap();
    assert_eq!(keys.len(), 6, "the keys of two algorithms: {keys:?}");
    // The genuine signature under the id of every other key, with its own algorithm and with this one.
    for key in keys.iter().filter(|key| key["kid"] != good.kid().as_str()) {
        let header = good.header_with(&good.kid(), &text(key, "kid"));
        let own = header.replace(&good.alg(), &text(key, "alg"));
        all_refused(attack, [header, own].map(|header| good.with(header, &good.payload)));
    }
    let keys: Vec<_> = keys.iter().map(|key| text(key, "x")).collect();
    for header in [good.header.clone(), good.header_with(&good.alg(), "HS256")] {
        let message = message(header, &good.payload);
        for key in &keys {
            all_refused(attack, [under_hmac(&message, &decode(key)), under_hmac(&message, key.as_bytes())]);
        }
    }
}

// ASVS 9.1.3
fn keys_that_the_token_brings_along(attack: &mut Attack<'_>) {
    let good = genuine(attack);
    let jwk = own_public_key();
    let alg = good.alg();
    let headers = [
        json!({"alg": alg, "jwk": jwk, "typ": "at+jwt"}),
        json!({"alg": alg, "kid": good.kid(), "jwk": jwk, "typ": "at+jwt"}),
        json!({"alg": alg, "kid": good.kid(), "x5c": [jwk["x"]], "typ": "at+jwt"}),
        json!({"alg": alg, "jku": format!("https://evil.example/{CANARY}"), "typ": "at+jwt"}),
        json!({"alg": alg, "x5u": "https://evil.example/x5u", "typ": "at+jwt"}),
        json!({"alg": alg, "crit": ["exp"], "typ": "at+jwt"}),
    ];
    let headers = headers.iter().map(Value::to_string).chain([good.header.clone()]);
    all_refused(attack, headers.map(|header| under_own_key(&message(header, &good.payload))));
}

fn kids_that_are_no_kids(attack: &mut Attack<'_>) {
    let good = genuine(attack);
    let long = "k".repeat(2_000);
    for kid in ["../../dev/null", "' OR 1=1--", "\\u0000", "", "unknown", "/proc/self/environ", CANARY, &long]
    {
        let header = good.header_with(&good.kid(), kid);
        all_refused(
            attack,
            [good.with(&header, &good.payload), under_hmac(&message(&header, &good.payload), b"")],
        );
    }
    all_refused(
        attack,
        [good.with(good.header_with(&format!(r#""kid":"{}","#, good.kid()), ""), &good.payload)],
    );
    let mebibyte = good.with(good.header_with(&good.kid(), &"k".repeat(1 << 20)), &good.payload);
    attack.tries(&Request::get("/protected").bearer(mebibyte), &cut_off_or_refused());
}

/// A head that does not fit is not read to its end.
fn cut_off_or_refused() -> Expected {
    Expected::one_of(&[(0, ""), (400, ""), (431, ""), (401, "invalid_token")])
}

fn secrets_that_are_none(attack: &mut Attack<'_>) {
    let good = genuine(attack);
    for header in [good.header.clone(), good.header_with(&good.alg(), "HS256")] {
        let message = message(header, &good.payload);
        all_refused(
            attack,
            ["", "secret", "changeme", "your-256-bit-secret"].map(|key| under_hmac(&message, key.as_bytes())),
        );
    }
    let folder = attack.database.folder.path();
    let url = attack.database.url();
    for secret in [
        "",
        "guess me",
        "your-256-bit-secret",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        &SECRET[..30],
    ] {
        let settings = [("DATABASE__URL", url.as_str()), ("ENV", "production"), ("SECRET", secret)];
        let output = run(folder, &settings, &[]);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(78), "{secret:?}: {error}");
        assert!(error.contains("secret") && (secret.is_empty() || !error.contains(secret)), "{error}");
    }
}

// ASVS 7.2.1 9.1.1
fn other_spellings(attack: &mut Attack<'_>) {
    let good = genuine(attack);
    let (message, signature) = good.token.rsplit_once('.').unwrap();
    let (start, last) = good.token.split_at(good.token.len() - 1);
    // The last character of a signature has four bits that encode nothing.
    let unused = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".chars();
    let unused: Vec<_> =
        unused.filter(|other| last.chars().ne([*other])).map(|other| format!("{start}{other}")).collect();
    all_refused(attack, unused);
    let others = ["=", "==", "A", "+", "/", ".", "..", "%3D", " ", "\t", " x"]
        .map(|end| format!("{}{end}", good.token));
    // Spaces at the end are no part of a field.
    all_refused(attack, others.iter().filter(|token| token.trim_end() == *token));
    let standard = signature.replace('-', "+").replace('_', "/");
    all_refused(
        attack,
        [
            format!("{message}.{standard}="),
            format!(" {}", good.token),
            format!(".{}", good.token),
            good.token.replace('.', ""),
            good.token.replacen('.', "=.", 1),
            good.token.to_uppercase(),
            format!("{message}. {signature}"),
            format!("{message}.{}", &signature[..signature.len() - 1]),
        ],
    );
    let wrong = Request::new("POST", "/logout").bearer(format!("{}=", good.token));
    attack.tries(&wrong, &refused(401, "invalid_token"));
    attack.tries(&carrying_a_canary("/protected", &good.token), &answered(200));
}

/// A request that is good, with something beside it that nobody asked for.
fn carrying_a_canary(path: &str, token: &str) -> Request {
    Request::get(path).bearer(token).field("x-secret", CANARY)
}

fn degenerate_signatures(attack: &mut Attack<'_>) {
    let good = genuine(attack);
    assert_eq!(good.alg(), "ES256");
    attack.tries(&carrying_a_canary("/protected", &good.token), &answered(200));
    let n = [
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa,
        0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51_u8,
    ];
    let (mut below_n, mut one) = (n, [0; 32]);
    below_n[31] -= 1;
    one[31] = 1;
    let (message, signature) = good.token.rsplit_once('.').unwrap();
    let with = |signature: &[u8]| format!("{message}.{}", encode(signature));
    let numbers = [[0; 32], one, below_n, n];
    all_refused(attack, numbers.iter().flat_map(|r| numbers.iter().map(|s| with(&[*r, *s].concat()))));
    let raw = decode(signature);
    let (r, s) = raw.split_at(32);
    // As DER, as if all four bytes of the tags and lengths were known.
    let der = [&[0x30, 0x44, 0x02, 0x20], r, &[0x02, 0x20], s].concat();
    let swapped = [s, r].concat();
    let longer = [&raw[..], &[0]].concat();
    all_refused(
        attack,
        [with(&der), with(&swapped), with(&longer), with(&[&[0], &raw[..]].concat()), with(&raw[..63])],
    );
}

fn duplicate_members(attack: &mut Attack<'_>) {
    let good = genuine(attack);
    for (member, duplicate) in [
        (r#""alg":"#, r#""alg":"none","alg":"#),
        (r#""alg":"#, r#""\u0061lg":"none","alg":"#),
        (r#""kid":"#, r#""kid":"x","kid":"#),
        (r#""typ":"#, r#""typ":"JWT","typ":"#),
    ] {
        all_refused(attack, [good.with(good.header_with(member, duplicate), &good.payload)]);
    }
    for member in ["sub", "sid", "exp", "iss"] {
        let escaped = format!("\\u{:04x}{}", member.as_bytes()[0], &member[1..]);
        for name in [member, &escaped] {
            let value = good.member(member);
            all_refused(
                attack,
                [
                    good.with(&good.header, good.payload_with("{", &format!(r#"{{"{name}":{value},"#))),
                    good.with(&good.header, good.payload_with("}", &format!(r#","{name}":{value}}}"#))),
                ],
            );
        }
    }
}

// ASVS 9.1.1
fn dates_that_are_none(attack: &mut Attack<'_>) {
    let good = genuine(attack);
    for date in ["iat", "nbf", "exp"] {
        let now = good.member(date);
        for value in [
            format!("\"{now}\""),
            "1e400".into(),
            "-1".into(),
            "null".into(),
            format!("{now}.5"),
            "9".repeat(20),
        ] {
            let payload = good.payload_with(&format!("\"{date}\":{now}"), &format!("\"{date}\":{value}"));
            all_refused(attack, [good.with(&good.header, payload)]);
        }
        let without = good.payload_with(&format!("\"{date}\":{now}"), &format!("\"{CANARY}\":1"));
        all_refused(attack, [good.with(&good.header, without)]);
    }
}

fn issuers_and_audiences(attack: &mut Attack<'_>) {
    let good = genuine(attack);
    for name in ["iss", "aud"] {
        let value = good.member(name);
        let text = value.trim_matches('"');
        for other in [
            "null".to_owned(),
            format!("[{value}]"),
            format!("[\"https://evil.example\",{value}]"),
            format!("\"{text}/\""),
            format!("\"{}\"", &text[..text.len() - 1]),
            value.to_uppercase(),
            "\"\"".to_owned(),
        ] {
            let payload = good.payload_with(&format!("\"{name}\":{value}"), &format!("\"{name}\":{other}"));
            all_refused(attack, [good.with(&good.header, payload)]);
        }
    }
    // Genuine, but of a service of another name, and for another one.
    for setting in ["TOKENS__ISSUER", "TOKENS__AUDIENCE"] {
        let mut foreign = None;
        let name = attack.user();
        attack.against(&[(setting, "https://auth.test/other")], |attack| {
            foreign = Some(attack.login(&name).access);
        });
        all_refused(attack, foreign);
    }
}

fn other_kinds_of_tokens(attack: &mut Attack<'_>) {
    let name = attack.user();
    let tokens = attack.login(&name);
    all_refused(attack, [&tokens.refresh]);
    let body = json!({"refresh_token": tokens.access}).to_string();
    let refresh = Request::post("/refresh", body).secret(&tokens.access);
    attack.tries(&refresh, &refused(401, "invalid_refresh_token"));
    let good = Genuine::of(&tokens.access);
    let mut typs = ["JWT", "at+JWT", "rt+jwt", "id+jwt", "logout+jwt", "mfa+jwt", "reset+jwt", ""]
        .map(|typ| good.header_with("at+jwt", typ))
        .to_vec();
    typs.push(good.header_with(r#","typ":"at+jwt""#, ""));
    all_refused(attack, typs.iter().map(|header| good.with(header, &good.payload)));
    attack.tries(&carrying_a_canary("/protected", &tokens.access), &answered(200));
}

fn long_tokens(attack: &mut Attack<'_>) {
    let good = genuine(attack);
    all_refused(
        attack,
        [
            "..".to_owned(),
            ".".repeat(4_000),
            "a".repeat(4_097),
            format!("{}{}", good.token, "A".repeat(4_096)),
        ],
    );
    let header = format!(r#"{{"typ":"at+jwt","alg":"{}","kid":"{}"}}"#, good.alg(), "A".repeat(3 << 14));
    let kid = format!("{}.AA", message(header, "{}"));
    for token in
        [kid, ".".repeat(100_000), "a".repeat(8 << 20), format!("{}.{}", good.token, "A".repeat(1 << 20))]
    {
        attack.tries(&Request::get("/protected").bearer(token), &cut_off_or_refused());
    }
}

fn other_serialisations(attack: &mut Attack<'_>) {
    let good = genuine(attack);
    let [protected, payload, signature] = good.token.split('.').collect::<Vec<_>>()[..] else {
        unreachable!()
    };
    all_refused(
        attack,
        [
            json!({"protected": protected, "payload": payload, "signature": signature}).to_string(),
            json!({"payload": payload, "signatures": [{"protected": protected, "signature": signature}]})
                .to_string(),
            format!(r#"{{"{protected}.{payload}.{signature}":1}}"#),
            format!("\"{}\"", good.token),
            format!("{{{}}}", good.token),
            format!("{0},{0}", good.token),
            format!("{0}, Bearer {0}", good.token),
            "{}".to_owned(),
            "null".to_owned(),
        ],
    );
    let twice = Request::get("/protected").bearer(&good.token).bearer(&good.token);
    attack.tries(&twice, &refused(401, "invalid_token"));
    for nothing in ["Bearer", "bearer", "Bearer  x", "bearer ="] {
        let request = Request::get("/protected").field("authorization", nothing);
        attack.tries(&request, &refused(401, "invalid_token"));
    }
    for scheme in ["Basic", "Token", "JWT", "DPoP", "Bearer:"] {
        let other = Request::get("/protected")
            .field("authorization", format!("{scheme} {}", good.token))
            .secret(&good.token);
        attack.tries(&other, &refused(401, "missing_token"));
    }
}

fn other_encodings_of_text(attack: &mut Attack<'_>) {
    let good = genuine(attack);
    let utf_16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>();
    all_refused(
        attack,
        [
            good.with(utf_16(&good.header), &good.payload),
            good.with(format!("\u{feff}{}", good.header), &good.payload),
            good.with([good.header.as_bytes(), b"\0"].concat(), &good.payload),
            good.with([good.header.as_bytes(), b"\xff"].concat(), &good.payload),
            good.with(&good.header, utf_16(&good.payload)),
            good.with(&good.header, format!("\u{feff}{}", good.payload)),
            good.with(&good.header, format!("{}\0", good.payload)),
            good.with(&good.header, good.payload_with("http", "\\u0000http")),
            good.with(&good.header, good.payload_with("http", "\u{fffd}http")),
        ],
    );
    all_refused(attack, [&b"\xe9\xff"[..], "\u{feff}ey".as_bytes()]);
    attack.tries(&Request::get("/protected").bearer(utf_16(&good.token)), &cut_off());
}

fn tokens_of_users_who_are_gone(attack: &mut Attack<'_>) {
    let confirmation = json!({"current_password": PASSWORD});
    for operator in [false, true] {
        let name = attack.user();
        let tokens = attack.login(&name);
        match operator {
            true => attack.operate(&["user", "delete", &name, "--yes"]),
            false => assert_eq!(
                attack.server().send_as("DELETE", "/me", &tokens.access, &confirmation).status,
                204
            ),
        }
        attack.until_refused(&tokens.access);
        all_refused(attack, [&tokens.access, &tokens.access]);
        // Somebody else gets the name, and none of this.
        assert_eq!(attack.server().register(&name).status, 201);
        all_refused(attack, [&tokens.access, &tokens.access]);
        let refresh = Request::post("/refresh", json!({"refresh_token": tokens.refresh}).to_string())
            .secret(&tokens.refresh);
        attack.tries(&refresh, &refused(401, "invalid_refresh_token"));
    }
    let name = attack.user();
    let tokens = attack.login(&name);
    attack.operate(&["user", "disable", &name]);
    attack.until_refused(&tokens.access);
    all_refused(attack, [&tokens.access, &tokens.access]);
}

fn refresh_tokens_cut_and_extended(attack: &mut Attack<'_>) {
    let name = attack.user();
    let tokens = attack.login(&name);
    let good = &tokens.refresh;
    let lengths = (0..good.len()).map(|length| good[..length].to_owned());
    let longer = [1, 2, 3, 4, 75, 150].map(|more| format!("{good}{}", "A".repeat(more)));
    let others = [
        format!("{good}="),
        format!("{good}\\n"),
        format!(" {good}"),
        good.replacen("pcr_", "PCR_", 1),
        format!("{good}{good}"),
    ];
    for token in lengths.chain(longer).chain(others) {
        let refresh = Request::post("/refresh", format!(r#"{{"refresh_token":"{token}"}}"#)).secret(&token);
        attack
            .tries(&refresh, &Expected::one_of(&[(401, "invalid_refresh_token"), (422, "invalid_request")]));
    }
    attack.refresh(&tokens);
}
