//! CO: what pages of other origins may do.

use super::Case;
use super::attack::{Attack, CANARY, Expected, answered, refused};
use super::wire::{Reply, Request};
use crate::server::run;

pub(super) const CASES: &[Case] =
    &[("CO-01", the_origin_null), ("CO-02", any_origin), ("CO-04", what_caches_are_told)];

const APP: &str = "https://app.example.com";
const ORIGINS: [(&str, &str); 1] =
    [("CORS__ALLOWED_ORIGINS", "https://app.example.com,http://localhost:5173")];

fn from(origin: &str, path: &str) -> Request {
    Request::get(path).field("origin", origin).field("x-secret", CANARY)
}

fn preflight(origin: &str) -> Request {
    let asked = Request::new("OPTIONS", "/login").field("origin", origin).field("x-secret", CANARY);
    asked
        .field("access-control-request-method", "POST")
        .field("access-control-request-headers", "content-type")
}

fn grants_nothing(reply: &Reply) {
    let granted = reply.fields.iter().find(|(name, _)| name.starts_with("access-control-allow"));
    assert_eq!(granted, None, "{reply:?}");
}

// ASVS 3.4.2
fn the_origin_null(attack: &mut Attack<'_>) {
    for origins in [ORIGINS[0].1, "*"] {
        attack.against(&[("CORS__ALLOWED_ORIGINS", origins)], |attack| {
            grants_nothing(&attack.tries(&from("null", "/health"), &answered(200)));
            grants_nothing(&attack.tries(&from("null", "/protected"), &refused(401, "missing_token")));
            grants_nothing(&attack.tries(&preflight("null"), &refused(403, "forbidden")));
        });
    }
}

// ASVS 3.4.2
fn any_origin(attack: &mut Attack<'_>) {
    attack.against(&ORIGINS, |attack| {
        for origin in [
            "https://evil.example",
            "https://app.example.com.evil.example",
            "https://evil.example/https://app.example.com",
            "http://app.example.com",
            "https://app.example.com:8443",
            "https://xapp.example.com",
            "https://sub.app.example.com",
            "https://APP.example.com",
            "https://app.example.com/",
            "https://app.example.com.",
            "https://user@app.example.com",
        ] {
            grants_nothing(&attack.tries(&from(origin, "/health"), &answered(200)));
            let asked = attack.tries(
                &preflight(origin),
                &Expected::one_of(&[(403, "forbidden"), (400, "malformed_request")]),
            );
            grants_nothing(&asked);
        }
        let granted = attack.tries(&from(APP, "/health"), &answered(200));
        assert_eq!(granted.field("access-control-allow-origin"), Some(APP));
        assert_eq!(granted.field("access-control-allow-credentials"), None);
        let granted = attack.tries(&preflight(APP), &Expected::one_of(&[(200, ""), (204, "")]));
        assert_eq!(granted.field("access-control-allow-credentials"), None, "{granted:?}");
    });
    attack.against(&[("CORS__ALLOWED_ORIGINS", "*")], |attack| {
        let granted = attack.tries(&from("https://anybody.example", "/health"), &answered(200));
        assert_eq!(granted.field("access-control-allow-origin"), Some("*"), "and reflects nothing");
        assert_eq!(granted.field("access-control-allow-credentials"), None);
    });
    // Without the setting nobody may read anything.
    grants_nothing(&attack.tries(&from(APP, "/health"), &answered(200)));
    grants_nothing(&attack.tries(&preflight(APP), &refused(405, "method_not_allowed")));
    let url = attack.database.url();
    for origins in [
        "*,https://app.example.com",
        "https://*.example.com",
        "app.example.com",
        "null",
        "https://app.example.com/path",
    ] {
        let settings = [("DATABASE__URL", url.as_str()), ("CORS__ALLOWED_ORIGINS", origins)];
        let output = run(attack.database.folder.path(), &settings, &[]);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(78), "{origins}: {error}");
        assert!(error.contains("cors.allowed_origins"), "{error}");
    }
}

fn what_caches_are_told(attack: &mut Attack<'_>) {
    attack.against(&ORIGINS, |attack| {
        for origin in [APP, "https://evil.example", "null", APP] {
            for (path, status, code) in
                [("/health", 200, ""), ("/nowhere", 404, "not_found"), ("/protected", 401, "missing_token")]
            {
                let reply = attack.tries(&from(origin, path), &Expected::one_of(&[(status, code)]));
                let varies = |(name, value): &(String, String)| {
                    name == "vary" && value.to_ascii_lowercase().contains("origin")
                };
                assert!(reply.fields.iter().any(varies), "{origin} {path}: {reply:?}");
            }
        }
    });
}
