use portcullis_http::{HttpConfig, ProblemCode};
use serde_json::json;

use crate::test_app::{Setup, TestApp};

#[actix_web::test]
async fn document_names_the_public_url() {
    let answer = TestApp::new().await.get("/openapi.json").await;
    let mut document = serde_json::to_value(portcullis_http::openapi()).unwrap();
    let servers = &mut document["servers"];
    *servers =
        json!([{"url": HttpConfig::default().public_url, "description": "The public URL of this server."}]);
    answer.check(200, &document);
    assert_eq!(answer.json()["openapi"], "3.1.0");
}

// ASVS 3.4.3 3.4.6
#[actix_web::test]
async fn the_page_loads_its_parts_from_here_alone() {
    let app = TestApp::new().await;
    let page = app.get("/docs").await;
    assert_eq!(page.status, 200);
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; script-src 'self'; "), "{policy}");
    assert!(!policy.contains("http") && !policy.contains('*'), "{policy}");
    assert!(policy.ends_with("; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"), "{policy}");

    let parts: Vec<_> =
        page.body.split("\"docs/").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert!(parts.len() >= 4, "{parts:?}");
    for part in parts {
        let answer = app.get(&format!("/docs/{part}")).await;
        assert_eq!(answer.status, 200, "{part}");
        assert!(!answer.body.is_empty(), "{part}");
    }
    app.get("/docs/other").await.check_problem(ProblemCode::NotFound);
}

// ASVS 13.4.5
#[actix_web::test]
async fn the_page_can_be_switched_off() {
    let config = HttpConfig { docs: false, ..HttpConfig::default() };
    let app = Setup { config, ..Setup::new() }.start().await;
    for path in ["/openapi.json", "/docs", "/docs/index.css"] {
        app.get(path).await.check_problem(ProblemCode::NotFound);
    }
    let metadata = app.get("/.well-known/openid-configuration").await;
    assert_eq!(metadata.json()["service_documentation"], serde_json::Value::Null);
}
