use std::sync::Arc;

use portcullis_domain::AuthConfig;
use portcullis_domain::password::{
    AcceptedPassword, HashError, PasswordHash, PasswordHasher, PlaintextPassword, Verdict,
};
use portcullis_http::ProblemCode;
use portcullis_testkit::fixtures::PASSWORD;
use serde_json::json;

use crate::test_app::{REQUEST_ID, Setup, TestApp};

// ASVS 14.3.2 15.3.1
#[actix_web::test]
async fn a_user_is_registered() {
    let app = TestApp::new().await;
    let answer = app.register("Alice.W", PASSWORD).await;
    let id: uuid::Uuid = answer.json()["id"].as_str().unwrap().parse().unwrap();
    assert_eq!(id.get_version_num(), 7);
    answer.check(
        201,
        &json!({"id": id.to_string(), "username": "Alice.W", "created_at": "2027-01-15T08:00:00Z"}),
    );
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(app.events(), ["user_registered"]);
}

#[actix_web::test]
async fn everything_that_is_wrong_is_said_at_once() {
    let answer = TestApp::new().await.register(".x", "xxx.x").await;
    answer.check(
        422,
        &json!({
            "type": "/problems/invalid_request",
            "title": "The request breaks a rule",
            "status": 422,
            "detail": "`errors` lists everything that is wrong.",
            "code": "invalid_request",
            "request_id": REQUEST_ID,
            "errors": [
                {"pointer": "#/username", "code": "too_short", "message": "must be at least 3 characters long"},
                {"pointer": "#/username", "code": "invalid_start", "message": "must start with a letter or a digit"},
                {"pointer": "#/password", "code": "too_short", "message": "must be at least 8 characters long"},
                {"pointer": "#/password", "code": "missing_upper", "message": "must contain an upper-case letter"},
                {"pointer": "#/password", "code": "missing_digit", "message": "must contain a digit"},
            ],
        }),
    );
}

#[actix_web::test]
async fn a_name_is_taken_in_every_case() {
    let app = TestApp::new().await;
    assert_eq!(app.register("Alice", PASSWORD).await.status, 201);
    for name in ["Alice", "alice", "ALICE", "aLICE"] {
        app.register(name, PASSWORD).await.check_problem(ProblemCode::UsernameTaken);
    }
}

#[actix_web::test]
async fn closed_registration_is_forbidden() {
    let setup = Setup::new();
    let auth = AuthConfig { registration_enabled: false, ..AuthConfig::default() };
    let app = Setup { auth, ..setup }.start().await;
    app.register("Alice", PASSWORD).await.check_problem(ProblemCode::RegistrationClosed);
}

/// UN-02, UN-04, UN-05, UN-07, UN-08, UN-10.
// ASVS 2.2.1 2.2.2
#[actix_web::test]
async fn names_that_deceive_or_attack_are_refused() {
    let app = TestApp::new().await;
    let names = [
        "\u{212a}elvin",
        "\u{17f}am",
        "\u{131}lse",
        "\u{130}lse",
        "\u{430}dmin2",
        "bob\u{200b}",
        "\u{202e}bob",
        "b\u{489}ob",
        "bob\u{a0}k",
        " bob",
        "bob ",
        "bo b",
        "bob\r\nx", // ASVS 1.3.3
        "' OR 1=1--",
        "bob'; DROP TABLE users;--",
        "bob@example.com",
        "a@x,evil@x",
        "bob%0aBcc:x",
        "../../etc/passwd",
        "${jndi:ldap://x}",
        "<script>",
    ];
    for name in names {
        let answer = app.register(name, PASSWORD).await;
        assert_eq!(answer.status, 422, "{name:?}: {answer:?}");
        assert!(!answer.body.contains(name), "no echo: {answer:?}");
    }
    app.register("bob\0", PASSWORD).await.check_violations(&[("#/username", "invalid_character")]);
    app.register("Admin", PASSWORD).await.check_violations(&[("#/username", "reserved")]);
    app.register(&"x".repeat(33), PASSWORD).await.check_violations(&[("#/username", "too_long")]);
    assert_eq!(app.events(), [] as [&str; 0]);
    assert_eq!(app.register("bob", PASSWORD).await.status, 201);
}

/// PW-02, PW-05, PW-07.
// ASVS 2.2.1 2.2.2
#[actix_web::test]
async fn passwords_that_protect_nothing_are_refused_unhashed() {
    let app = TestApp::new().await;
    let cases: [(&str, &str); 4] = [
        (&"a\0".repeat(10), "invalid_character"),
        ("P@ssw0rd", "common"),
        ("x-ALICE-Y7", "contains_username"), // ASVS 2.2.3 6.2.11
        (&format!("Aa1-{}", "x".repeat(253)), "too_long"),
    ];
    for (password, code) in cases {
        app.register("Alice", password).await.check_violations(&[("#/password", code)]);
    }
    let large = format!("Aa1-{}", "x".repeat(10_000));
    app.register("Alice", &large).await.check_violations(&[("#/password", "too_long")]);
    app.register("Alice", &"x".repeat(17_000)).await.check_problem(ProblemCode::PayloadTooLarge);
    assert_eq!(app.hasher.work(), 0);
}

/// PV-01.
// ASVS 8.2.3 15.3.3
#[actix_web::test]
async fn nobody_registers_with_more_than_name_and_password() {
    let app = TestApp::new().await;
    let body = json!({"username": "Alice", "password": PASSWORD, "role": "admin", "is_admin": true, "id": 1});
    app.post("/register", body).await.check_violations(&[
        ("#/id", "unknown_field"),
        ("#/is_admin", "unknown_field"),
        ("#/role", "unknown_field"),
    ]);
    assert_eq!(app.events(), [] as [&str; 0]);
}

// ASVS 16.5.1
#[actix_web::test]
async fn a_broken_hasher_is_nobodys_business() {
    #[derive(Debug)]
    struct BrokenHasher;

    impl PasswordHasher for BrokenHasher {
        fn hash(&self, _: &AcceptedPassword) -> Result<PasswordHash, HashError> {
            Err(HashError::Failed("the secret cause".into()))
        }

        fn verify(&self, _: &PlaintextPassword, _: &PasswordHash) -> Result<Verdict, HashError> {
            Err(HashError::Failed("the secret cause".into()))
        }
    }

    let mut setup = Setup::new();
    setup.ports.hasher = Arc::new(BrokenHasher);
    let app = setup.start().await;
    app.register("Alice", PASSWORD).await.check_problem(ProblemCode::InternalError);
    app.login("Alice", PASSWORD).await.check_problem(ProblemCode::InternalError);
}
