use portcullis_domain::account::{NewUser, UserStore};
use portcullis_domain::audit::EventKind;
use portcullis_domain::id::UserId;
use portcullis_domain::password::PasswordHash;
use portcullis_http::ProblemCode;
use portcullis_testkit::fixtures::{self, PASSWORD};
use serde_json::json;

use crate::test_app::{TestApp, post};

#[actix_web::test]
async fn the_right_password_opens_a_session() {
    let app = TestApp::new().await;
    app.register("Alice", PASSWORD).await;
    let answer = app.login("aLiCe", PASSWORD).await;
    let tokens = answer.tokens();
    let session: uuid::Uuid = tokens.session.parse().unwrap();
    assert_eq!(session.get_version_num(), 7);
    answer.check(
        200,
        &json!({
            "access_token": tokens.access,
            "token_type": "Bearer",
            "expires_in": 900,
            "refresh_token": tokens.refresh,
            "refresh_expires_in": 2_592_000,
            "session_id": tokens.session,
        }),
    );
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(app.events(), ["user_registered", "login_succeeded"]);
}

#[actix_web::test]
async fn the_session_knows_where_it_was_opened() {
    let app = TestApp::new().await;
    app.register("Alice", PASSWORD).await;
    let body = json!({"username": "alice", "password": PASSWORD});
    let request = post("/login", body)
        .peer_addr("[::ffff:192.0.2.7]:1".parse().unwrap())
        .insert_header(("user-agent", "curl/8.5\tx"));
    assert_eq!(app.send(request).await.status, 200);
    let client = app.store.events().pop().unwrap().client;
    assert_eq!((client.address(), client.agent()), ("192.0.2.7".parse().ok(), Some("curl/8.5 x")));
}

/// EN-01, UN-08.
#[actix_web::test]
async fn unknown_wrong_and_disabled_get_one_answer_after_one_hash() {
    let app = TestApp::new().await;
    app.register("Alice", PASSWORD).await;
    app.register("Mallory", PASSWORD).await;
    let mallory = app.store.events().pop().unwrap().user.unwrap();
    let event = fixtures::event(EventKind::UserDisabled, fixtures::NOW, app.ports.random.as_ref());
    app.store.disable_user(mallory, &event).unwrap();

    let mut answers = Vec::new();
    for (name, password) in [
        ("alice", "Wr0ng-horse battery"),
        ("alice", "a"),
        ("nobody-at-all", PASSWORD),
        ("bob@example.com", PASSWORD),
        ("' OR 1=1--", PASSWORD),
        ("", ""),
        ("mallory", PASSWORD),
    ] {
        let work = app.hasher.work();
        let answer = app.login(name, password).await;
        answer.check_problem(ProblemCode::InvalidCredentials);
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        assert_eq!(app.hasher.work(), work + 1, "{name}");
        answers.push(format!("{:?}", answer.header_fields()));
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "one set of header fields: {answers:?}");
}

#[actix_web::test]
async fn imported_names_log_in() {
    let app = TestApp::new().await;
    let user = fixtures::new_user("Bob@Example.com", app.ports.random.as_ref());
    let event = fixtures::event(EventKind::UserRegistered, fixtures::NOW, app.ports.random.as_ref());
    app.store.insert_user(&user, &event).unwrap();
    assert_eq!(app.login("bob@example.com", PASSWORD).await.status, 200);
}

#[actix_web::test]
async fn what_no_account_can_have_is_refused_unhashed() {
    let app = TestApp::new().await;
    let long = "x".repeat(257);
    app.login(&long, &long).await.check_violations(&[("#/username", "too_long"), ("#/password", "too_long")]);
    app.login("a\0", "b\0")
        .await
        .check_violations(&[("#/username", "invalid_character"), ("#/password", "invalid_character")]);
    assert_eq!(app.hasher.work(), 0);
}

/// a row that cannot be used is its user's trouble alone.
#[actix_web::test]
async fn an_unusable_hash_is_a_wrong_password() {
    let app = TestApp::new().await;
    let user = NewUser {
        id: UserId::new(fixtures::NOW, app.ports.random.as_ref()),
        password_hash: PasswordHash::new("$2b$31$garbage".to_owned()),
        ..fixtures::new_user("carol", app.ports.random.as_ref())
    };
    let event = fixtures::event(EventKind::UserRegistered, fixtures::NOW, app.ports.random.as_ref());
    app.store.insert_user(&user, &event).unwrap();
    app.login("carol", PASSWORD).await.check_problem(ProblemCode::InvalidCredentials);
}

#[actix_web::test]
async fn a_closed_pool_refuses_before_anything_runs() {
    let app = TestApp::new().await;
    app.api.close_password_pool();
    app.login("alice", PASSWORD).await.check_problem(ProblemCode::Overloaded);
    app.register("alice", PASSWORD).await.check_problem(ProblemCode::Overloaded);
    assert_eq!(app.hasher.work(), 0);
    assert_eq!(app.get("/health").await.status, 200);
}
