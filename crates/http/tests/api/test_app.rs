//! A service to send requests to, and what comes back. Every answer is checked against the rules that hold for all, and
//! against the OpenAPI document.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_web::Error;
use actix_web::body::{MessageBody, to_bytes};
use actix_web::dev::{Service, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::HeaderMap;
use actix_web::test::{TestRequest, init_service};
use portcullis_domain::maintenance::Maintenance;
use portcullis_domain::{AuthConfig, Core, Ports};
use portcullis_http::{Api, HttpConfig, LimitsConfig, ProblemCode};
use portcullis_testkit::fixtures::{self, PASSWORD};
use portcullis_testkit::{FixedClock, MemoryStore, PlainHasher};
use serde_json::{Value, json};

use crate::{contract, mounted};

/// What a service is made of, to be changed before it starts.
pub(crate) struct Setup {
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) clock: Arc<FixedClock>,
    pub(crate) hasher: Arc<PlainHasher>,
    pub(crate) ports: Ports,
    pub(crate) auth: AuthConfig,
    pub(crate) config: HttpConfig,
    pub(crate) knows_revocations: bool,
    /// Where the API is mounted in a foreign app; `None` for an app of its own.
    pub(crate) prefix: Option<&'static str>,
}

impl Setup {
    pub(crate) fn new() -> Self {
        crate::access_log::install();
        let store = Arc::new(MemoryStore::new());
        let clock = Arc::new(FixedClock::at(fixtures::NOW));
        let hasher = Arc::new(PlainHasher::new());
        let ports = Ports {
            clock: Arc::clone(&clock) as _,
            hasher: Arc::clone(&hasher) as _,
            ..portcullis_testkit::ports_over(&store)
        };
        let auth = AuthConfig::default();
        // Tests call more often than clients may; those of the limits switch them on again.
        let limits = LimitsConfig { enabled: false, ..LimitsConfig::default() };
        let config = HttpConfig { limits, ..HttpConfig::default() };
        Self { store, clock, hasher, ports, auth, config, knows_revocations: true, prefix: None }
    }

    pub(crate) async fn start(self) -> TestApp {
        let core = Core::new(self.ports.clone(), self.auth.clone());
        let maintenance = Maintenance::new(&core);
        if self.knows_revocations {
            maintenance.sync().unwrap();
        }
        // `/ready` reports the outcome.
        let _checked = maintenance.check_writes();
        let is_https = self.config.public_url.starts_with("https");
        let api = Arc::new(Api::new(&core, self.config.clone()).unwrap());
        let below = |request: TestRequest, prefix: &str| {
            let mut request = request.to_request();
            let (method, path) = (request.method().to_string(), request.path().to_owned());
            if !prefix.is_empty() {
                request.head_mut().uri = format!("{prefix}{}", request.uri()).parse().unwrap();
            }
            (method, path, request)
        };
        let call = match self.prefix {
            None => call_of(init_service(portcullis_http::app(&api)).await, below),
            Some(prefix) => call_of(init_service(mounted::foreign_app(&api, prefix)).await, below),
        };
        let Self { store, clock, hasher, ports, prefix, .. } = self;
        TestApp { call, prefix, api, maintenance, ports, store, clock, hasher, is_https }
    }
}

/// Sends a request below a prefix. Returns its method and path, without the prefix, and the answer.
type Call = Box<dyn Fn(TestRequest, &str) -> Pin<Box<dyn Future<Output = (String, String, Answer)>>>>;

fn call_of<R: 'static, B: MessageBody + 'static>(
    service: impl Service<R, Response = ServiceResponse<B>, Error = Error> + 'static,
    below: impl Fn(TestRequest, &str) -> (String, String, R) + 'static,
) -> Call {
    let service = Rc::new(service);
    Box::new(move |request, prefix| {
        let service = Rc::clone(&service);
        let (method, path, request) = below(request, prefix);
        Box::pin(async move {
            let response = match service.call(request).await {
                Ok(response) => response.into_parts().1.map_into_boxed_body(),
                // What actix-web makes of an error that no middleware answered.
                Err(error) => error.error_response(),
            };
            let (status, headers) = (response.status().as_u16(), response.headers().clone());
            let body = to_bytes(response.into_body()).await.unwrap();
            let body = String::from_utf8_lossy(&body).into_owned();
            (method, path, Answer { status, headers, body, base_path: "" })
        })
    })
}

/// A running service and the fakes behind it.
pub(crate) struct TestApp {
    call: Call,
    prefix: Option<&'static str>,
    pub(crate) api: Arc<Api>,
    pub(crate) maintenance: Maintenance,
    pub(crate) ports: Ports,
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) clock: Arc<FixedClock>,
    pub(crate) hasher: Arc<PlainHasher>,
    is_https: bool,
}

impl TestApp {
    /// A service of fakes alone.
    pub(crate) async fn new() -> Self {
        Setup::new().start().await
    }

    /// Sends a request, named [`REQUEST_ID`] unless it has a name.
    pub(crate) async fn send(&self, request: TestRequest) -> Answer {
        let base_path = self.prefix.unwrap_or_default();
        let (method, path, answer) = (self.call)(request, base_path).await;
        let answer = Answer { base_path, ..answer };
        contract::check(&method, &path, &answer);
        answer.obeys_the_rules_for_every_answer(self.is_https);
        answer
    }

    /// Sends a request to the foreign app that the API is mounted in.
    pub(crate) async fn send_beside(&self, request: TestRequest) -> Answer {
        (self.call)(request, "").await.2
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(named(TestRequest::get()).uri(path)).await
    }

    pub(crate) async fn get_as(&self, path: &str, token: &str) -> Answer {
        self.send(named(TestRequest::get()).uri(path).insert_header(bearer(token))).await
    }

    pub(crate) async fn delete_as(&self, path: &str, token: &str) -> Answer {
        self.send(named(TestRequest::delete()).uri(path).insert_header(bearer(token))).await
    }

    /// Sends a body as JSON, whatever it is.
    pub(crate) async fn post(&self, path: &str, body: impl ToString) -> Answer {
        self.send(post(path, body)).await
    }

    pub(crate) async fn register(&self, username: &str, password: &str) -> Answer {
        self.post("/register", json!({"username": username, "password": password})).await
    }

    pub(crate) async fn login(&self, username: &str, password: &str) -> Answer {
        self.post("/login", json!({"username": username, "password": password})).await
    }

    pub(crate) async fn refresh(&self, token: &str) -> Answer {
        self.post("/refresh", json!({"refresh_token": token})).await
    }

    pub(crate) async fn change_password(&self, token: &str, current: &str, new: &str) -> Answer {
        let body = json!({"current_password": current, "new_password": new});
        self.send(with_json(Method::PUT, "/me/password", body).insert_header(bearer(token))).await
    }

    pub(crate) async fn delete_account(&self, token: &str, current: &str) -> Answer {
        let body = json!({"current_password": current});
        self.send(with_json(Method::DELETE, "/me", body).insert_header(bearer(token))).await
    }

    /// Whether the session of these tokens is over, which both must show.
    pub(crate) async fn is_over(&self, tokens: &Tokens) -> bool {
        let access = self.get_as("/protected", &tokens.access).await.status;
        let refresh = self.refresh(&tokens.refresh).await.status;
        assert_eq!(access, refresh, "both or none");
        access == 401
    }

    /// Registers Alice and logs her in.
    pub(crate) async fn alice(&self) -> Tokens {
        assert_eq!(self.register("Alice", PASSWORD).await.status, 201);
        self.login("alice", PASSWORD).await.tokens()
    }

    pub(crate) fn wait(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// The words of all events so far, in order.
    pub(crate) fn events(&self) -> Vec<&'static str> {
        self.store.events().iter().map(|event| event.kind.name()).collect()
    }
}

/// The id of requests that have no better one.
pub(crate) const REQUEST_ID: &str = "req-1";

/// A request named [`REQUEST_ID`].
pub(crate) fn named(request: TestRequest) -> TestRequest {
    request.insert_header(("x-request-id", REQUEST_ID))
}

/// The field that carries an access token.
pub(crate) fn bearer(token: &str) -> (&'static str, String) {
    ("authorization", format!("Bearer {token}"))
}

/// A POST of a body as JSON, whatever it is.
pub(crate) fn post(path: &str, body: impl ToString) -> TestRequest {
    with_json(Method::POST, path, body)
}

/// A request with a body as JSON, whatever it is.
#[expect(clippy::needless_pass_by_value, reason = "callers hand over what they just made")]
pub(crate) fn with_json(method: Method, path: &str, body: impl ToString) -> TestRequest {
    named(TestRequest::default().method(method))
        .uri(path)
        .insert_header(("content-type", "application/json"))
        .set_payload(body.to_string())
}

/// An answer, as a client sees it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
    /// What the links of the response start with.
    pub(crate) base_path: &'static str,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// All header fields, in order of their names.
    pub(crate) fn header_fields(&self) -> Vec<(&str, &str)> {
        let fields = self.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap()));
        let mut fields: Vec<_> = fields.collect();
        fields.sort_unstable();
        fields
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Checks status and the whole body.
    #[track_caller]
    pub(crate) fn check(&self, status: u16, body: &Value) {
        assert_eq!((self.status, &self.json()), (status, body), "{self:?}");
    }

    /// Checks that it is this problem, to the last member.
    #[track_caller]
    pub(crate) fn check_problem(&self, code: ProblemCode) {
        self.check(
            code.status().as_u16(),
            &json!({
                "type": format!("{}/problems/{}", self.base_path, code.word()),
                "title": code.title(),
                "status": code.status().as_u16(),
                "detail": code.detail(),
                "code": code.word(),
                "request_id": REQUEST_ID,
            }),
        );
    }

    /// Checks that it refuses the request for these reasons, by pointer and code.
    #[track_caller]
    pub(crate) fn check_violations(&self, expected: &[(&str, &str)]) {
        let body = self.json();
        assert_eq!((self.status, &body["code"]), (422, &json!("invalid_request")), "{self:?}");
        let errors = body["errors"].as_array().unwrap();
        let found: Vec<_> = errors
            .iter()
            .map(|error| (error["pointer"].as_str().unwrap(), error["code"].as_str().unwrap()))
            .collect();
        assert_eq!(found, expected, "{self:?}");
        assert!(errors.iter().all(|error| !error["message"].as_str().unwrap().is_empty()));
    }

    /// Checks that it says nothing but that it is done, and is kept by nobody.
    #[track_caller]
    pub(crate) fn check_done(&self) {
        assert_eq!((self.status, self.body.as_str()), (204, ""), "{self:?}");
        assert_eq!(self.header("cache-control"), Some("no-store"), "{self:?}");
    }

    #[track_caller]
    pub(crate) fn tokens(&self) -> Tokens {
        assert_eq!(self.status, 200, "{self:?}");
        let body = self.json();
        let text = |name: &str| body[name].as_str().unwrap().to_owned();
        Tokens { access: text("access_token"), refresh: text("refresh_token"), session: text("session_id") }
    }

    /// The part of the contract that every answer keeps.
    #[track_caller]
    fn obeys_the_rules_for_every_answer(&self, is_https: bool) {
        let fixed = [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("x-xss-protection", "0"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-resource-policy", "same-origin"),
        ];
        for (name, value) in fixed {
            assert_eq!(self.header(name), Some(value), "{name}: {self:?}");
        }
        let is_page = self.header("content-type") == Some("text/html; charset=utf-8");
        let policy = self.header("content-security-policy").unwrap();
        assert!(is_page || policy == "default-src 'none'; base-uri 'none'; frame-ancestors 'none'; sandbox");
        assert_eq!(self.header("strict-transport-security").is_some(), is_https);
        assert_eq!(self.header("server"), None);
        assert!((1..=64).contains(&self.header("x-request-id").unwrap().len()));

        let has_problem = self.status >= 400 && !self.body.is_empty() && self.json()["code"].is_string();
        if self.status >= 400 {
            assert_eq!(self.header("cache-control"), Some("no-store"), "{self:?}");
            assert!(has_problem || self.status == 503, "{self:?}");
        }
        let content_type = match (self.status, has_problem) {
            (204, _) => None,
            (_, true) => Some("application/problem+json"),
            _ => self.header("content-type"),
        };
        assert_eq!(self.header("content-type"), content_type, "{self:?}");
        if self.status == 204 {
            assert_eq!(self.body, "");
        }
        assert_eq!(self.header("www-authenticate").is_some(), self.status == 401, "{self:?}");
        assert_eq!(self.header("retry-after").is_some(), matches!(self.status, 429 | 503), "{self:?}");
        if let Some(seconds) = self.header("retry-after") {
            assert!(seconds.parse::<u64>().unwrap() >= 1, "{self:?}");
        }
    }
}

/// What a login gives out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tokens {
    pub(crate) access: String,
    pub(crate) refresh: String,
    pub(crate) session: String,
}
