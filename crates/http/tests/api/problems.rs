use portcullis_http::ProblemCode;
use serde_json::json;

use crate::test_app::TestApp;

#[actix_web::test]
async fn every_problem_is_explained_where_its_type_points() {
    let app = TestApp::new().await;
    let all = app.get("/problems").await.json();
    assert_eq!(all["problems"].as_array().unwrap().len(), ProblemCode::ALL.len());
    for (code, listed) in ProblemCode::ALL.iter().zip(all["problems"].as_array().unwrap()) {
        let explanation = json!({
            "type": format!("/problems/{}", code.word()),
            "code": code.word(),
            "status": code.status().as_u16(),
            "title": code.title(),
            "detail": code.detail(),
        });
        assert_eq!(listed, &explanation);
        app.get(listed["type"].as_str().unwrap()).await.check(200, &explanation);
    }
}

#[actix_web::test]
async fn there_are_no_others() {
    let app = TestApp::new().await;
    for path in ["/problems/nothing", "/problems/Not_Found", "/problems/"] {
        app.get(path).await.check_problem(ProblemCode::NotFound);
    }
}
