//! The API below a prefix in an app that has routes of its own, and its extractors in the handlers of that app.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::http::{Method, Version};
use actix_web::test::TestRequest;
use actix_web::{App, Error, HttpResponse, web};
use portcullis_http::{
    AllowedOrigins, Api, Bearer, ClientAddress, HttpConfig, LimitsConfig, ProblemCode, TrustedProxies, routes,
};
use portcullis_testkit::PlainAccessTokens;
use portcullis_testkit::fixtures::PASSWORD;
use serde_json::json;

use crate::contract::example_body;
use crate::routes::{RESOURCES, Resource, example_path};
use crate::test_app::{Answer, Setup, TestApp, bearer, named, with_json};

const PREFIX: &str = "/auth";
const ORIGIN: &str = "https://app.example.com";
const PROBLEM_JSON: &str = "application/problem+json";

/// An app with its own routes, its own response to unknown paths, and the API.
pub(crate) fn foreign_app(
    api: &Arc<Api>,
    prefix: &str,
) -> App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<impl MessageBody + use<>>,
        Error = Error,
        InitError = (),
    > + use<>,
> {
    let orders = async |bearer: Bearer| HttpResponse::Ok().body(bearer.claims().user.to_string());
    let address = async |client: ClientAddress| HttpResponse::Ok().body(format!("{:?}", client.ip()));
    App::new()
        .route("/login", web::get().to(async || "a login page"))
        .configure(|config| portcullis_http::configure(config, api, prefix))
        .route("/orders", web::get().to(orders))
        .route("/address", web::get().to(address))
        .route("/authors", web::get().to(async || "authors"))
        .default_service(web::to(async || HttpResponse::NotFound().body("no such page")))
}

fn config() -> HttpConfig {
    HttpConfig {
        public_url: format!("https://example.com{PREFIX}"),
        issuer: "https://example.com".to_owned(),
        allowed_origins: AllowedOrigins::parse([ORIGIN]).unwrap(),
        trusted_proxies: TrustedProxies::new(vec!["127.0.0.1".parse().unwrap()]),
        limits: LimitsConfig { enabled: false, ..LimitsConfig::default() },
        ..HttpConfig::default()
    }
}

async fn mounted() -> TestApp {
    Setup { config: config(), prefix: Some(PREFIX), ..Setup::new() }.start().await
}

/// The API as an app of its own, which is otherwise the same.
async fn alone() -> TestApp {
    let config = HttpConfig { public_url: "https://example.com".to_owned(), ..config() };
    Setup { config, ..Setup::new() }.start().await
}

/// The parts of a response that do not depend on the prefix: status, header fields with sorted lists, and the body with links
/// as at the root.
fn seen(answer: &Answer) -> (u16, Vec<(String, Vec<String>)>, String) {
    let fields = answer.header_fields().into_iter().map(|(name, value)| {
        let mut list: Vec<_> = value.split(", ").map(str::to_owned).collect();
        list.sort_unstable();
        (name.to_owned(), list)
    });
    let body = answer.body.replace("\"/auth/", "\"/").replace("example.com/auth", "example.com");
    (answer.status, fields.collect(), body)
}

#[actix_web::test]
async fn routes_respond_below_a_prefix_as_at_root() {
    let (mounted, alone) = (mounted().await, alone().await);
    let tokens = [mounted.alice().await.access, alone.alice().await.access];
    for route in routes() {
        let path = example_path(&route);
        for (body, with_token, method) in [
            (example_body(&route), false, route.method().clone()),
            (json!({}), true, route.method().clone()),
            (json!({}), false, Method::PATCH),
            (json!({}), false, Method::OPTIONS),
        ] {
            let request = |token: &str| {
                let request = with_json(method.clone(), &path, &body).insert_header(("origin", ORIGIN));
                if with_token { request.insert_header(bearer(token)) } else { request }
            };
            let below = mounted.send(request(&tokens[0])).await;
            let at_root = alone.send(request(&tokens[1])).await;
            let (below, at_root) = (seen(&below), seen(&at_root));
            assert_eq!((below.0, &below.1), (at_root.0, &at_root.1), "{method} {path}");
            // Successful responses contain ids and times of their own.
            match below.0 {
                400.. => assert_eq!(below.2, at_root.2, "{method} {path}"),
                _ => assert_eq!(below.2.len(), at_root.2.len(), "{method} {path}"),
            }
        }
    }
}

#[actix_web::test]
async fn mounted_api_serves_tokens_until_logout() {
    let app = mounted().await;
    let tokens = app.alice().await;
    assert_eq!(app.get_as("/me", &tokens.access).await.status, 200);
    let next = app.refresh(&tokens.refresh).await.tokens();
    let changed = app.change_password(&next.access, PASSWORD, "An0ther-horse battery").await.tokens();
    assert!(app.is_over(&next).await);
    app.post("/logout", json!({"refresh_token": changed.refresh})).await.check_done();
    assert!(app.is_over(&changed).await);
}

#[actix_web::test]
async fn allow_lists_methods_below_the_prefix() {
    let app = mounted().await;
    for Resource { path, allow } in &*RESOURCES {
        let answer = app.send(named(TestRequest::patch()).uri(path)).await;
        answer.check_problem(ProblemCode::MethodNotAllowed);
        assert_eq!(answer.header("allow"), Some(&**allow), "{path}");
    }
}

#[actix_web::test]
async fn unknown_paths_below_the_prefix_are_problems() {
    let app = mounted().await;
    for path in ["/", "/nothing", "/login/", "/%6Cogin", "/auth/login"] {
        let request = || named(TestRequest::get()).uri(path);
        app.send(request()).await.check_problem(ProblemCode::NotFound);
    }
    let prefix_alone = app.send_beside(named(TestRequest::get()).uri(PREFIX)).await;
    assert_eq!(prefix_alone.json()["type"], "/auth/problems/not_found");
    let request = named(TestRequest::get()).uri("/health").insert_header(("host", "a b"));
    app.send(request).await.check_problem(ProblemCode::MalformedRequest);
}

/// An HTTP/2 server puts scheme and authority into the URI.
#[actix_web::test]
async fn http_2_requests_are_served_below_the_prefix() {
    let app = mounted().await;
    let request =
        |method, uri: &str| named(TestRequest::default().method(method)).version(Version::HTTP_2).uri(uri);
    for (uri, status) in [
        ("https://example.com/auth/health", 200),
        ("https://example.com:8443/auth/health", 200),
        ("https://example.com/auth/protected", 401),
        ("https://example.com/auth/nothing", 404),
        ("https://user@example.com/auth/health", 400),
    ] {
        assert_eq!(app.send_beside(request(Method::GET, uri)).await.status, status, "{uri}");
    }
    let not_allowed = app.send_beside(request(Method::PATCH, "https://example.com/auth/login")).await;
    assert_eq!((not_allowed.status, not_allowed.header("allow")), (405, Some("POST")));
    let in_http_1 = named(TestRequest::get()).uri("https://example.com/auth/health");
    assert_eq!(app.send_beside(in_http_1).await.status, 400);
}

/// The scope's parameter has the name of one of the API's.
#[actix_web::test]
async fn path_parameters_are_read_below_scopes_with_parameters() {
    let app = mounted().await;
    let tokens = app.alice().await;
    let scope = web::scope("/{id}").configure(|config| portcullis_http::configure(config, &app.api, PREFIX));
    let service = actix_web::test::init_service(App::new().service(scope)).await;
    let session = &tokens.session;
    for (method, path, status) in [
        (Method::GET, "/acme/auth/problems/not_found", 200),
        (Method::GET, "/acme/auth/problems/nothing", 404),
        (Method::GET, "/acme/auth/docs/index.css", 200),
        (Method::GET, "/acme/auth/docs/nothing", 404),
        (Method::DELETE, "/acme/auth/me/sessions/x", 404),
        (Method::DELETE, &format!("/acme/auth/me/sessions/{session}"), 204),
    ] {
        let request = TestRequest::default().method(method).uri(path).insert_header(bearer(&tokens.access));
        let response = actix_web::test::call_service(&service, request.to_request()).await;
        assert_eq!(response.status(), status, "{path}");
        let is_problem = response.headers().get("content-type").is_some_and(|kind| kind == PROBLEM_JSON);
        assert_eq!(is_problem, status == 404, "{path}");
    }
}

/// The scope matches decoded paths, and the API serves none that was encoded.
#[actix_web::test]
async fn odd_spellings_of_paths_are_not_found() {
    let app = mounted().await;
    for path in ["/auth", "/auth/", "/auth//login", "/%61uth/login", "/auth/../orders", "/auth/%2e%2e/orders"]
    {
        let answer = app.send_beside(TestRequest::get().uri(path)).await;
        assert_eq!(answer.status, 404, "{path}");
        assert_eq!(answer.json()["type"], "/auth/problems/not_found", "{path}");
    }
    for path in ["/authx", "/authx/login", "/auth%2Flogin", "//auth/login", "/Auth/login", "/x/auth/login"] {
        let answer = app.send_beside(TestRequest::get().uri(path)).await;
        assert_eq!((answer.status, &*answer.body), (404, "no such page"), "{path}");
    }
}

#[actix_web::test]
async fn extractors_of_a_nested_api_serve_its_scope() {
    let app = mounted().await;
    let tokens = app.alice().await;
    let orders = || web::get().to(async |_: Bearer| "orders");
    let scope = web::scope("/shop")
        .configure(|config| portcullis_http::configure(config, &app.api, PREFIX))
        .route("/orders", orders());
    let foreign = App::new().service(scope).route("/orders", orders());
    let service = actix_web::test::init_service(foreign).await;
    for (path, status) in [("/shop/auth/me", 200), ("/shop/orders", 200), ("/auth/me", 404), ("/orders", 500)]
    {
        let request = TestRequest::get().uri(path).insert_header(bearer(&tokens.access)).to_request();
        let response = actix_web::test::call_service(&service, request).await;
        assert_eq!(response.status(), status, "{path}");
    }
}

#[actix_web::test]
async fn last_of_two_apis_serves_foreign_handlers() {
    let mut other = Setup::new();
    other.ports.access_tokens = Arc::new(PlainAccessTokens::new("other"));
    let (first, second) = (mounted().await, other.start().await);
    let tokens = [first.alice().await.access, second.alice().await.access];
    let foreign = App::new()
        .configure(|config| portcullis_http::configure(config, &first.api, "/first"))
        .configure(|config| portcullis_http::configure(config, &second.api, "/second"))
        .route("/orders", web::get().to(async |_: Bearer| "orders"));
    let service = actix_web::test::init_service(foreign).await;
    for (path, statuses) in [("/first/me", [200, 401]), ("/second/me", [401, 200]), ("/orders", [401, 200])] {
        for (token, status) in tokens.iter().zip(statuses) {
            let request = TestRequest::get().uri(path).insert_header(bearer(token)).to_request();
            let response = actix_web::test::call_service(&service, request).await;
            assert_eq!(response.status(), status, "{path}");
        }
    }
}

#[actix_web::test]
async fn prefixes_that_never_match_are_refused() {
    let app = mounted().await;
    for prefix in ["", "/", "auth", "/auth/", "/a b", "/%61uth", "/\u{e9}"] {
        let configure =
            || App::new().configure(|config| portcullis_http::configure(config, &app.api, prefix));
        assert!(catch_unwind(AssertUnwindSafe(|| drop(configure()))).is_err(), "{prefix:?}");
    }
}

#[actix_web::test]
async fn prefix_that_links_miss_is_logged_once() {
    for (public_url, warnings) in [
        ("https://once.example/auth", 0),
        ("https://once.example/shop/auth", 0),
        ("https://once.example", 1),
        ("https://once.example/author", 1),
        ("https://once.example/shop-auth", 1),
    ] {
        let config = HttpConfig { public_url: public_url.to_owned(), ..config() };
        let app = Setup { config, ..Setup::new() }.start().await;
        for _ in 0..2 {
            drop(foreign_app(&app.api, PREFIX));
        }
        let text = format!(" public_url={public_url} prefix=/auth");
        let lines = crate::access_log::logged_anywhere(&text);
        assert_eq!(lines.len(), warnings, "{lines:?}");
        assert!(lines.iter().all(|line| line.starts_with("WARN ")), "{lines:?}");
    }
}

#[actix_web::test]
async fn links_start_with_the_path_of_the_public_url() {
    let app = mounted().await;
    let metadata = app.get("/.well-known/oauth-authorization-server").await.json();
    assert_eq!(metadata["jwks_uri"], "https://example.com/auth/.well-known/jwks.json");
    assert_eq!(metadata["service_documentation"], "https://example.com/auth/docs");
    assert_eq!(metadata["issuer"], "https://example.com");
    let document = app.get("/openapi.json").await.json();
    assert_eq!(document["servers"][0]["url"], "https://example.com/auth");
    let refused = app.get("/protected").await.json();
    assert_eq!(refused["type"], "/auth/problems/missing_token");
    let explained = app.get("/problems/missing_token").await.json();
    assert_eq!(explained["type"], refused["type"]);
    let all = app.get("/problems").await.json();
    assert!(all["problems"].as_array().unwrap().contains(&explained));
}

#[actix_web::test]
async fn preflights_below_the_prefix_are_answered() {
    let app = mounted().await;
    let preflight = |origin: &str| {
        named(TestRequest::default().method(Method::OPTIONS))
            .uri("/login")
            .insert_header(("origin", origin.to_owned()))
            .insert_header(("access-control-request-method", "POST"))
    };
    let answer = app.send(preflight(ORIGIN)).await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, Some(ORIGIN)));
    app.send(preflight("https://evil.example")).await.check_problem(ProblemCode::Forbidden);
}

#[cfg(feature = "governor")]
#[actix_web::test]
async fn limits_count_below_the_prefix() {
    let config = HttpConfig { limits: LimitsConfig::default(), ..config() };
    let app = Setup { config, prefix: Some(PREFIX), ..Setup::new() }.start().await;
    let from = |address: &str| {
        let peer = format!("{address}:1").parse().unwrap();
        with_json(Method::POST, "/login", "{}").peer_addr(peer)
    };
    for _ in 0..LimitsConfig::default().login.burst.get() {
        assert_eq!(app.send(from("192.0.2.1")).await.status, 422);
    }
    app.send(from("192.0.2.1")).await.check_problem(ProblemCode::RateLimited);
    assert_eq!(app.send(from("192.0.2.2")).await.status, 422);
}

#[actix_web::test]
async fn foreign_routes_stay_as_they_are() {
    let app = mounted().await;
    for (path, status, body) in [
        ("/login", 200, "a login page"),
        ("/authors", 200, "authors"),
        ("/nothing", 404, "no such page"),
        ("/health", 404, "no such page"),
        ("/%6Cogin%zz", 404, "no such page"),
    ] {
        let request = TestRequest::get().uri(path).insert_header(("origin", ORIGIN));
        let answer = app.send_beside(request).await;
        assert_eq!((answer.status, &*answer.body), (status, body), "{path}");
        let names: Vec<_> = answer.header_fields().into_iter().map(|(name, _)| name).collect();
        assert!(names.iter().all(|name| *name == "content-type"), "{path}: {names:?}");
    }
}

// ASVS 8.3.1
#[actix_web::test]
async fn bearer_guards_foreign_handlers() {
    let app = mounted().await;
    let tokens = app.alice().await;
    let user = app.get_as("/me", &tokens.access).await.json()["id"].as_str().unwrap().to_owned();
    let orders = || TestRequest::get().uri("/orders");
    let answer = app.send_beside(orders().insert_header(bearer(&tokens.access))).await;
    assert_eq!((answer.status, answer.body), (200, user));

    app.post("/logout", json!({"refresh_token": tokens.refresh})).await.check_done();
    let ended = app.send_beside(orders().insert_header(bearer(&tokens.access))).await;
    let missing = app.send_beside(orders()).await;
    for (answer, code, challenge) in [
        (ended, ProblemCode::InvalidToken, "Bearer error=\"invalid_token\""),
        (missing, ProblemCode::MissingToken, "Bearer"),
    ] {
        assert_eq!(answer.status, 401, "{answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        assert_eq!(answer.header("www-authenticate"), Some(challenge));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.json()["type"], format!("/auth/problems/{}", code.word()));
        assert_eq!(answer.json()["code"], code.word());
    }
}

#[actix_web::test]
async fn bearer_refuses_before_the_first_sync() {
    let ready = mounted().await;
    let token = ready.alice().await.access;
    let setup = Setup { config: config(), prefix: Some(PREFIX), knows_revocations: false, ..Setup::new() };
    let request = TestRequest::get().uri("/orders").insert_header(bearer(&token));
    let answer = setup.start().await.send_beside(request).await;
    assert_eq!((answer.status, &answer.json()["code"]), (503, &json!("not_ready")));
    assert_eq!(answer.header("retry-after"), Some("1"));
}

#[actix_web::test]
async fn client_address_believes_trusted_proxies_only() {
    let app = mounted().await;
    for (peer, forwarded, expected) in
        [("127.0.0.1", "192.0.2.7", "Some(192.0.2.7)"), ("203.0.113.1", "192.0.2.7", "Some(203.0.113.1)")]
    {
        let request = TestRequest::get()
            .uri("/address")
            .peer_addr(format!("{peer}:1").parse().unwrap())
            .insert_header(("x-forwarded-for", forwarded));
        assert_eq!(app.send_beside(request).await.body, expected);
    }
    assert_eq!(app.send_beside(TestRequest::get().uri("/address")).await.body, "None");
}

/// An app that forgot to configure an API neither panics nor lets a request through.
#[actix_web::test]
async fn extractors_fail_closed_in_an_app_without_an_api() {
    let app = App::new()
        .route("/orders", web::get().to(async |_: Bearer| "orders"))
        .route("/address", web::get().to(async |_: ClientAddress| "address"));
    let service = actix_web::test::init_service(app).await;
    for path in ["/orders", "/address"] {
        let request = TestRequest::get().uri(path).insert_header(bearer("x")).to_request();
        assert_eq!(actix_web::test::call_service(&service, request).await.status(), 500);
    }
}
