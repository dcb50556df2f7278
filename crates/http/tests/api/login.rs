use portcullis_domain::event::EventKind;
use portcullis_domain::id::UserId;
use portcullis_domain::password::PasswordHash;
use portcullis_domain::ports::UserStore;
use portcullis_domain::user::NewUser;
use portcullis_http::ProblemCode;
use portcullis_testkit::fixtures::{self, PASSWORD};
use serde_json::json;

use crate::rig::{Rig, post};

#[actix_web::test]
async fn the_right_password_opens_a_session() {
    let rig = Rig::new().await;
    rig.register("Alice", PASSWORD).await;
    let answer = rig.login("aLiCe", PASSWORD).await;
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
    assert_eq!(rig.events(), ["user_registered", "login_succeeded"]);
}

#[actix_web::test]
async fn the_session_knows_where_it_was_opened() {
    let rig = Rig::new().await;
    rig.register("Alice", PASSWORD).await;
    let body = json!({"username": "alice", "password": PASSWORD});
    let request = post("/login", body)
        .peer_addr("[::ffff:192.0.2.7]:1".parse().unwrap())
        .insert_header(("user-agent", "curl/8.5\tx"));
    assert_eq!(rig.send(request).await.status, 200);
    let client = rig.store.events().pop().unwrap().client;
    assert_eq!((client.address(), client.agent()), ("192.0.2.7".parse().ok(), Some("curl/8.5 x")));
}

/// EN-01, UN-08.
#[actix_web::test]
async fn unknown_wrong_and_disabled_get_one_answer_after_one_hash() {
    let rig = Rig::new().await;
    rig.register("Alice", PASSWORD).await;
    rig.register("Mallory", PASSWORD).await;
    let mallory = rig.store.events().pop().unwrap().user.unwrap();
    let event = fixtures::event(EventKind::UserDisabled, fixtures::NOW, rig.ports.entropy.as_ref());
    rig.store.disable(mallory, &event).unwrap();

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
        let work = rig.hasher.work();
        let answer = rig.login(name, password).await;
        answer.check_problem(ProblemCode::InvalidCredentials);
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        assert_eq!(rig.hasher.work(), work + 1, "{name}");
        answers.push(format!("{:?}", answer.header_fields()));
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "one set of header fields: {answers:?}");
}

#[actix_web::test]
async fn imported_names_log_in() {
    let rig = Rig::new().await;
    let user = fixtures::new_user("Bob@Example.com", rig.ports.entropy.as_ref());
    let event = fixtures::event(EventKind::UserRegistered, fixtures::NOW, rig.ports.entropy.as_ref());
    rig.store.insert(&user, &event).unwrap();
    assert_eq!(rig.login("bob@example.com", PASSWORD).await.status, 200);
}

#[actix_web::test]
async fn what_no_account_can_have_is_refused_unhashed() {
    let rig = Rig::new().await;
    let long = "x".repeat(257);
    rig.login(&long, &long).await.check_violations(&[("#/username", "too_long"), ("#/password", "too_long")]);
    rig.login("a\0", "b\0")
        .await
        .check_violations(&[("#/username", "invalid_character"), ("#/password", "invalid_character")]);
    assert_eq!(rig.hasher.work(), 0);
}

/// a row that cannot be used is its user's trouble alone.
#[actix_web::test]
async fn an_unusable_hash_is_a_wrong_password() {
    let rig = Rig::new().await;
    let user = NewUser {
        id: UserId::new(fixtures::NOW, rig.ports.entropy.as_ref()),
        password_hash: PasswordHash::new("$2b$31$garbage".to_owned()),
        ..fixtures::new_user("carol", rig.ports.entropy.as_ref())
    };
    let event = fixtures::event(EventKind::UserRegistered, fixtures::NOW, rig.ports.entropy.as_ref());
    rig.store.insert(&user, &event).unwrap();
    rig.login("carol", PASSWORD).await.check_problem(ProblemCode::InvalidCredentials);
}

#[actix_web::test]
async fn a_closed_lane_refuses_before_anything_runs() {
    let rig = Rig::new().await;
    rig.api.close_password_lane();
    rig.login("alice", PASSWORD).await.check_problem(ProblemCode::Overloaded);
    rig.register("alice", PASSWORD).await.check_problem(ProblemCode::Overloaded);
    assert_eq!(rig.hasher.work(), 0);
    assert_eq!(rig.get("/health").await.status, 200);
}
