use portcullis_http::HttpConfig;
use serde_json::json;

use crate::test_app::{Setup, TestApp};

#[actix_web::test]
async fn the_keys_are_a_jwk_set() {
    let answer = TestApp::new().await.get("/.well-known/jwks.json").await;
    answer.check(
        200,
        &json!({"keys": [{
            "kty": "OKP",
            "crv": "Ed25519",
            "x": "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc",
            "use": "sig",
            "alg": "EdDSA",
            "kid": "fake",
        }]}),
    );
    assert_eq!(answer.header("cache-control"), Some("public, max-age=3600"));
    assert_eq!(answer.header("content-type"), Some("application/json"));
}

#[actix_web::test]
async fn the_metadata_says_what_exists() {
    let config = HttpConfig {
        public_url: "https://auth.example.com".to_owned(),
        issuer: "https://issuer.example.com".to_owned(),
        ..HttpConfig::default()
    };
    let app = Setup { config, ..Setup::new() }.start().await;
    let expected = json!({
        "issuer": "https://issuer.example.com",
        "jwks_uri": "https://auth.example.com/.well-known/jwks.json",
        "service_documentation": "https://auth.example.com/docs",
        "response_types_supported": [],
        "grant_types_supported": [],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["EdDSA"],
    });
    app.get("/.well-known/oauth-authorization-server").await.check(200, &expected);
    app.get("/.well-known/openid-configuration").await.check(200, &expected);
}
