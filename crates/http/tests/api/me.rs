use portcullis_domain::id::{SessionId, TokenId, UserId};
use portcullis_domain::ports::AccessTokenCodec;
use portcullis_domain::token::Claims;
use portcullis_http::ProblemCode;
use portcullis_testkit::PlainAccessTokens;
use portcullis_testkit::fixtures::NOW;
use serde_json::json;
use std::time::Duration;

use crate::rig::Rig;

#[actix_web::test]
async fn the_holder_of_a_token_is_shown() {
    let rig = Rig::new().await;
    let tokens = rig.alice().await;
    let answer = rig.get_as("/me", &tokens.access).await;
    let id = rig.store.events()[0].user.unwrap().to_string();
    answer.check(200, &json!({"id": id, "username": "Alice", "created_at": "2027-01-15T08:00:00Z"}));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}

/// JW-23.
#[actix_web::test]
async fn the_token_of_a_user_who_is_gone_is_refused() {
    let rig = Rig::new().await;
    let entropy = rig.ports.entropy.as_ref();
    let claims = Claims {
        user: UserId::new(NOW, entropy),
        session: SessionId::new(NOW, entropy),
        token: TokenId::new(NOW, entropy),
        issued_at: NOW,
        not_before: NOW,
        expires_at: NOW + Duration::from_mins(15),
    };
    let token = PlainAccessTokens::new("fake").sign(&claims).unwrap();
    rig.get_as("/me", token.expose()).await.check_problem(ProblemCode::InvalidToken);
}

#[actix_web::test]
async fn nobody_is_shown_without_a_token() {
    Rig::new().await.get("/me").await.check_problem(ProblemCode::MissingToken);
}
