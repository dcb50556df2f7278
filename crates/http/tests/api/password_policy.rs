use portcullis_domain::AuthConfig;
use portcullis_domain::password::policy::PasswordPolicy;
use serde_json::json;

use crate::test_app::{Setup, TestApp};

#[actix_web::test]
async fn the_rules_are_shown() {
    let answer = TestApp::new().await.get("/password-policy").await;
    answer.check(
        200,
        &json!({
            "min_length": 8,
            "max_length": 256,
            "require": {"upper": true, "lower": true, "digit": true, "special": true},
            "forbids": ["contains_username", "invalid_character", "common"],
        }),
    );
}

#[actix_web::test]
async fn the_rules_are_those_of_the_settings() {
    let password = PasswordPolicy { forbid_common: false, ..PasswordPolicy::nist() };
    let auth = AuthConfig { password, ..AuthConfig::default() };
    let answer = Setup { auth, ..Setup::new() }.start().await.get("/password-policy").await;
    answer.check(
        200,
        &json!({
            "min_length": 15,
            "max_length": 256,
            "require": {"upper": false, "lower": false, "digit": false, "special": false},
            "forbids": ["contains_username", "invalid_character"],
        }),
    );
}
