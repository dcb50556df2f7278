//! Header fields of every answer. (The fixed ones are checked on every answer of every test, in the app.)

use actix_web::test::TestRequest;
use portcullis_http::HttpConfig;

use crate::test_app::{Setup, TestApp};

#[actix_web::test]
async fn a_plain_request_id_comes_back() {
    let app = TestApp::new().await;
    for id in ["a", "A-1_b.c", &"x".repeat(64)] {
        for path in ["/health", "/nothing", "/protected"] {
            let answer = app.send(TestRequest::get().uri(path).insert_header(("x-request-id", id))).await;
            assert_eq!(answer.header("x-request-id"), Some(id));
            if answer.status >= 400 {
                assert_eq!(answer.json()["request_id"], id);
            }
        }
    }
}

// ASVS 2.2.1
#[actix_web::test]
async fn any_other_request_id_is_replaced() {
    let app = TestApp::new().await;
    let mut made = Vec::new();
    for id in ["", "a b", "a\"b", "{{7*7}}", "<x>", "\u{e9}", &"x".repeat(65)] {
        let answer = app.send(TestRequest::get().uri("/nothing").insert_header(("x-request-id", id))).await;
        let new = answer.header("x-request-id").unwrap().to_owned();
        assert_eq!(new.parse::<uuid::Uuid>().unwrap().get_version_num(), 7);
        assert_eq!(answer.json()["request_id"], new);
        made.push(new);
    }
    made.sort();
    made.dedup();
    assert_eq!(made.len(), 7, "each is another");
}

#[actix_web::test]
async fn a_service_with_https_is_never_reached_without() {
    let config = HttpConfig { public_url: "https://auth.example.com".to_owned(), ..HttpConfig::default() };
    let app = Setup { config, ..Setup::new() }.start().await;
    for path in ["/health", "/nothing", "/protected"] {
        let answer = app.get(path).await;
        assert_eq!(answer.header("strict-transport-security"), Some("max-age=31536000"));
    }
}

// ASVS 13.4.6
#[actix_web::test]
async fn nobody_learns_the_version() {
    let app = TestApp::new().await;
    for path in ["/health", "/ready", "/nothing", "/openapi.json", "/.well-known/openid-configuration"] {
        let answer = app.get(path).await;
        assert!(!answer.body.contains(env!("CARGO_PKG_VERSION")), "{path}");
        assert!(!format!("{:?}", answer.headers).contains(env!("CARGO_PKG_VERSION")), "{path}");
    }
}
