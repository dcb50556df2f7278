//! The JS family, and PW-08, on every route with a body.

use actix_web::http::Method;
use actix_web::test::TestRequest;
use portcullis_http::ProblemCode;
use portcullis_testkit::fixtures::PASSWORD;

use crate::test_app::{TestApp, bearer, named, post};

const ROUTES: [(Method, &str); 7] = [
    (Method::POST, "/register"),
    (Method::POST, "/login"),
    (Method::POST, "/refresh"),
    (Method::POST, "/logout"),
    (Method::PUT, "/me/password"),
    (Method::DELETE, "/me"),
    (Method::POST, "/me/delete"),
];

/// Sends bodies to every route, with an access token where one is needed.
struct Sender {
    app: TestApp,
    token: String,
}

impl Sender {
    async fn new() -> Self {
        // Any app's tokens are good for the others; this one has hashed nothing yet.
        Self { app: TestApp::new().await, token: TestApp::new().await.alice().await.access }
    }

    fn request(&self, route: &(Method, &str), body: &str) -> TestRequest {
        self.untyped(route, body).insert_header(("content-type", "application/json"))
    }

    /// The same, without saying what the body is.
    fn untyped(&self, (method, path): &(Method, &str), body: &str) -> TestRequest {
        let request = named(TestRequest::default().method(method.clone()));
        let request = request.uri(path).set_payload(body.to_owned());
        if path.starts_with("/me") { request.insert_header(bearer(&self.token)) } else { request }
    }
}

/// JS-01, JS-02, JS-05.
// ASVS 1.5.2 15.3.7
#[actix_web::test]
async fn what_is_not_one_json_object_is_malformed() {
    let sender = Sender::new().await;
    let app = &sender.app;
    let bomb = format!("{{\"a\":{}{}}}", "[".repeat(5_000), "]".repeat(5_000));
    let deep = "{\"a\":".repeat(2_000);
    let bodies: &[&[u8]] = &[
        b" ",
        b"null",
        b"true",
        b"7",
        b"\"x\"",
        br#"["alice","Corr3ct-horse battery"]"#,
        br#"[{"username":"alice","password":"x"}]"#,
        br#"{"username":"alice","password":"x"}x"#,
        br#"{"username":"alice","password":"x"}{}"#,
        br#"{"username":"alice","password":"x"},"#,
        br#"{"username":"alice","password":"x",}"#,
        br#"{"username":"alice" "password":"x"}"#,
        b"{'username':'alice','password':'x'}",
        b"{username:\"alice\",password:\"x\"}",
        b"{/**/\"username\":\"alice\",\"password\":\"x\"}",
        b"{\"username\":\"alice\",\"password\":\"x\"}//",
        b"{\"username\":\"alice\",\"password\":\"x\"",
        br#"{"username":"alice","username":"bob","password":"x"}"#,
        br#"{"username":"alice","user\u006eame":"bob","password":"x"}"#,
        br#"{"username":"alice","password":"x","more":{"a":1,"\u0061":2}}"#,
        br#"{"username":"alice","password":"x","more":[[{"a":1,"a":1}]]}"#,
        br#"{"refresh_token":"x","refresh_token":"x"}"#,
        br#"{"refresh_token":"\ud800"}"#,
        br#"{"refresh_token":"\udc00x"}"#,
        br#"{"\ud800":1}"#,
        br#"{"refresh_token":"\x"}"#,
        b"{\"refresh_token\":\"a\tb\"}",
        b"{\"refresh_token\":\"a\nb\"}",
        b"{\"refresh_token\":\"\xff\"}",
        b"{\"refresh_token\":\"\xc0\xaf\"}",
        b"{\"refresh_token\":\"\xed\xa0\x80\"}",
        b"{\"more\":[\"\xff\"]}",
        b"\xef\xbb\xbf{\"refresh_token\":\"x\"}",
        b"\xfe\xff\0{\0}",
        b"{\"a\":NaN}",
        b"{\"a\":Infinity}",
        b"{\"a\":01}",
        b"{\"a\":+1}",
        b"{\"a\":.5}",
        b"{\"a\":0x10}",
        b"{\"a\":tru}",
        // The grammar allows it, but no program can hold it.
        b"{\"a\":1e400}",
        b"\0",
        bomb.as_bytes(),
        deep.as_bytes(),
    ];
    for route in &ROUTES {
        for body in bodies {
            let request = sender.request(route, "").set_payload(body.to_vec());
            let answer = app.send(request).await;
            assert_eq!(answer.status, 400, "{route:?} {}", String::from_utf8_lossy(body));
            answer.check_problem(ProblemCode::MalformedJson);
        }
    }
    for route in ROUTES.iter().filter(|(_, path)| *path != "/logout") {
        app.send(sender.request(route, "")).await.check_problem(ProblemCode::MalformedJson);
    }
    assert_eq!(app.hasher.work(), 0);
}

/// JS-07, PW-08: nothing is coerced.
// ASVS 1.5.2 2.2.1
#[actix_web::test]
async fn what_has_another_shape_is_invalid() {
    let app = TestApp::new().await;
    for route in ["/register", "/login"] {
        for value in ["7", "1.5", "true", "null", "[]", "[\"x\"]", "{}", "{\"a\":{\"b\":[]}}", "-0"] {
            let body = format!(r#"{{"username":{value},"password":{value}}}"#);
            app.post(route, body)
                .await
                .check_violations(&[("#/username", "wrong_type"), ("#/password", "wrong_type")]); // ASVS 15.3.5
        }
        app.post(route, "{}")
            .await
            .check_violations(&[("#/username", "required"), ("#/password", "required")]);
        app.post(route, r#"{"Username":"alice","Password":"x","nested":{"password":"x"}}"#)
            .await
            .check_violations(&[
                ("#/username", "required"),
                ("#/password", "required"),
                ("#/Password", "unknown_field"),
                ("#/Username", "unknown_field"),
                ("#/nested", "unknown_field"), // ASVS 15.3.3
            ]);
        // ASVS 1.1.1
        app.post(route, r#"{"username":"a\u0000","password":"Corr3ct\u0000-horse"}"#)
            .await
            .check_violations(&[("#/username", "invalid_character"), ("#/password", "invalid_character")]);
    }
}

#[actix_web::test]
async fn no_value_and_no_long_name_comes_back() {
    let sender = Sender::new().await;
    let secret = "Canary-4711-".repeat(10);
    for body in [
        format!(r#"{{"username":"{secret}","password":["{secret}"],"other":"{secret}"}}"#),
        format!(r#"{{"{secret}":1}}"#),
        format!(r#"{{"username":"{secret}" "#),
        secret.clone(),
    ] {
        for route in &ROUTES {
            let answer = sender.app.send(sender.request(route, &body)).await;
            assert!(matches!(answer.status, 400 | 422), "{answer:?}");
            assert!(!answer.body.contains("Canary"), "{answer:?}");
        }
    }
}

/// JS-08, JS-10.
// ASVS 3.5.2
#[actix_web::test]
async fn only_plain_json_is_read() {
    let sender = Sender::new().await;
    let app = &sender.app;
    let body = format!(r#"{{"username":"alice","password":"{PASSWORD}"}}"#);
    let types = [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/xml",
        "text/json",
        "application/json; charset=utf-7",
        "application/json; charset=utf-8; charset=utf-7",
        "application/json; charset=iso-8859-1",
        "application/json, text/plain",
        "text/plain, application/json",
        "text/plain; application/json",
        "application/vnd.api+json",
        "*/*",
        "",
    ];
    for route in &ROUTES {
        for content_type in types {
            let request = sender.request(route, &body).insert_header(("content-type", content_type));
            app.send(request).await.check_problem(ProblemCode::UnsupportedMediaType);
        }
        for coding in ["gzip", "br", "deflate", "gzip, gzip", "x"] {
            let request = sender.request(route, &body).insert_header(("content-encoding", coding));
            app.send(request).await.check_problem(ProblemCode::UnsupportedMediaType);
        }
        let another = sender.request(route, &body).append_header(("content-type", "text/plain"));
        app.send(another).await.check_problem(ProblemCode::UnsupportedMediaType);
        let none = sender.untyped(route, &body);
        app.send(none).await.check_problem(ProblemCode::UnsupportedMediaType);
    }
}

#[actix_web::test]
async fn json_is_read_under_each_usual_content_type() {
    let app = TestApp::new().await;
    for content_type in [
        "application/json",
        "application/json; charset=utf-8",
        "APPLICATION/JSON;charset=UTF-8",
        "application/json; charset=\"utf-8\"",
        "application/json; charset=utf8",
        "application/json;",
        "application/json ; charset = utf-8 ; ",
        "application/json; odata=verbose",
        "application/json; charset=utf-8; v=1",
        "application/json, application/json",
    ] {
        for coding in ["identity", "Identity", ""] {
            let request = post("/refresh", r#"{"refresh_token":"x"}"#)
                .insert_header(("content-type", content_type))
                .append_header(("content-type", "application/json"))
                .insert_header(("content-encoding", coding));
            app.send(request).await.check_problem(ProblemCode::InvalidRefreshToken);
        }
    }
}

/// JS-04.
#[actix_web::test]
async fn a_body_has_sixteen_kibibytes() {
    let sender = Sender::new().await;
    let app = &sender.app;
    let body = |length: usize| format!("{{{}}}", " ".repeat(length - 2));
    for route in ROUTES.iter().filter(|(_, path)| *path != "/logout") {
        assert_eq!(app.send(sender.request(route, &body(16_384))).await.status, 422);
        app.send(sender.request(route, &body(16_385))).await.check_problem(ProblemCode::PayloadTooLarge);
        let announced = sender.request(route, "{}").insert_header(("content-length", "104857600"));
        app.send(announced).await.check_problem(ProblemCode::PayloadTooLarge);
    }
}

#[actix_web::test]
async fn nesting_has_its_end_at_127_levels() {
    let app = TestApp::new().await;
    let nested = |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels - 1), "]".repeat(levels - 1));
    assert_eq!(app.post("/logout", nested(127)).await.status, 422);
    app.post("/logout", nested(128)).await.check_problem(ProblemCode::MalformedJson);
}
