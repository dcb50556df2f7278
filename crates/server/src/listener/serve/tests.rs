//! The server over a store that is no database: the HTTP API on a listening socket, and the background tasks.

use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use portcullis_adapters::secret::Secrets;
use portcullis_domain::admin::{Admin, Authority};
use portcullis_domain::maintenance::{Maintenance, SESSIONS_AFTER_THEIR_END, WRITES_SETTLE_WITHIN};
use portcullis_domain::ports::{Clock, Store, StoreError, StoreErrorKind, StoreHealth, StoreStatus};
use portcullis_domain::time::{StoreTime, UnixTime};
use portcullis_domain::{AuthService, Core, Ports};
use portcullis_testkit::{FaultyStore, MemoryStore, fixtures, ports_over};
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::*;
use crate::bootstrap::{Backend, Seal};
use crate::settings::{InvalidSetting, Sources};

#[test]
fn http_api_works_over_a_foreign_store() {
    let site = Site::new();
    let server = site.start();
    server.wait_until_ready();
    assert_eq!(server.get("/health", None).status, 200);

    let alice = json!({"username": "alice", "password": fixtures::PASSWORD});
    assert_eq!(server.post("/register", None, &alice).status, 201);
    assert_eq!(server.post("/register", None, &alice).status, 409);
    let wrong = json!({"username": "alice", "password": "Wr0ng-password"});
    assert_eq!(server.post("/login", None, &wrong).status, 401);
    let first = server.login("alice", fixtures::PASSWORD);
    assert_eq!(server.get("/protected", Some(&first.access)).status, 200);
    assert_eq!(server.get("/me", Some(&first.access)).body["username"], "alice");

    let refreshed = server.post("/refresh", None, &json!({"refresh_token": first.refresh}));
    assert_eq!(refreshed.status, 200);
    let second = server.login("alice", fixtures::PASSWORD);
    let sessions = server.get("/me/sessions", Some(&second.access));
    assert_eq!(sessions.body["sessions"].as_array().map(Vec::len), Some(2), "{sessions:?}");
    let logout = json!({"refresh_token": second.refresh});
    assert_eq!(server.post("/logout", None, &logout).status, 204);
    assert_eq!(server.get("/protected", Some(&second.access)).status, 401, "at once on this instance");
    assert_eq!(server.get("/protected", Some(&first.access)).status, 200);

    let change = json!({"current_password": fixtures::PASSWORD, "new_password": "An0ther-horse battery"});
    let changed = server.call("PUT", "/me/password", Some(&first.access), &change);
    assert_eq!(changed.status, 200);
    assert_eq!(server.get("/protected", Some(&first.access)).status, 401);
    assert_eq!(server.post("/login", None, &alice).status, 401);
    let third = server.login("alice", "An0ther-horse battery");
    let delete = json!({"current_password": "An0ther-horse battery"});
    assert_eq!(server.post("/me/delete", Some(&third.access), &delete).status, 204);
    assert_eq!(server.get("/me", Some(&third.access)).status, 401);
    server.stop().unwrap();
}

#[test]
fn every_route_works_over_a_foreign_store() {
    let site = Site::new();
    let server = site.start();
    server.wait_until_ready();
    for (n, route) in portcullis_http::routes().iter().enumerate() {
        let name = format!("user-{n}");
        let user = json!({"username": name, "password": fixtures::PASSWORD});
        assert_eq!(server.post("/register", None, &user).status, 201);
        let tokens = server.login(&name, fixtures::PASSWORD);
        let current = json!({"current_password": fixtures::PASSWORD});
        let refresh = json!({"refresh_token": tokens.refresh});
        let line = format!("{} {}", route.method(), route.path());
        let (body, status) = match line.as_str() {
            "POST /register" => (json!({"username": "another", "password": fixtures::PASSWORD}), 201),
            "POST /login" => (user, 200),
            "POST /refresh" => (refresh, 200),
            "POST /logout" => (refresh, 204),
            "PUT /me/password" => {
                let new = "An0ther-horse battery";
                (json!({"current_password": fixtures::PASSWORD, "new_password": new}), 200)
            }
            "DELETE /me" | "POST /me/delete" => (current, 204),
            "DELETE /me/sessions/{id}" => (Value::Null, 204),
            "GET /me"
            | "GET /me/activity"
            | "GET /me/sessions"
            | "GET /protected"
            | "GET /password-policy"
            | "GET /.well-known/jwks.json"
            | "GET /.well-known/oauth-authorization-server"
            | "GET /.well-known/openid-configuration"
            | "GET /problems"
            | "GET /problems/{code}"
            | "GET /health"
            | "GET /ready"
            | "GET /openapi.json"
            | "GET /docs"
            | "GET /docs/{file}" => (Value::Null, 200),
            _ => panic!("list {line} here with its status"),
        };
        let path = route.path().replace("{id}", &tokens.session).replace("{code}", "not_found");
        let path = path.replace("{file}", "index.css");
        let answer = server.call(route.method().as_str(), &path, Some(&tokens.access), &body);
        assert_eq!(answer.status, status, "{line}: {answer:?}");
        if line == "DELETE /me/sessions/{id}" {
            assert_eq!(server.get("/me", Some(&tokens.access)).status, 401, "the session has ended");
        }
        if line == "GET /me/activity" {
            let events = answer.body["events"].as_array().unwrap();
            let kinds: Vec<_> = events.iter().map(|event| event["kind"].as_str().unwrap()).collect();
            assert_eq!(kinds, ["login_succeeded", "user_registered"]);
        }
    }
    server.stop().unwrap();
}

#[test]
fn sync_learns_of_sessions_that_others_ended() {
    let site = Site::new();
    let server = site.start();
    server.wait_until_ready();
    let alice = json!({"username": "alice", "password": fixtures::PASSWORD});
    assert_eq!(server.post("/register", None, &alice).status, 201);
    let tokens = server.login("alice", fixtures::PASSWORD);
    assert_eq!(server.get("/protected", Some(&tokens.access)).status, 200);

    let other = site.other_instance();
    assert_eq!(Admin::new(&other).end_sessions_of(&Authority::operator(), "alice").unwrap(), 1);
    wait_until("the token is refused", || server.get("/protected", Some(&tokens.access)).status == 401);
    server.stop().unwrap();
}

#[test]
fn purge_deletes_sessions_that_ended_long_ago() {
    let site = Site::new();
    let other = site.other_instance();
    Maintenance::new(&other).sync().unwrap();
    Admin::new(&other).add_user(&Authority::operator(), &fixtures::alice()).unwrap();
    let credentials = fixtures::credentials("alice", fixtures::PASSWORD);
    AuthService::new(&other).login(&credentials, &fixtures::client()).unwrap();
    site.clock.advance(other.config().lifetimes.refresh_idle + SESSIONS_AFTER_THEIR_END);
    assert_eq!(site.store.session_rows(), 1);

    let server = site.start();
    wait_until("the session is deleted", || site.store.session_rows() == 0);
    server.stop().unwrap();
}

#[test]
fn failing_writes_make_the_server_unready() {
    let site = Site::new();
    let server = site.start();
    server.wait_until_ready();
    site.state.refuses_writes.store(true, Ordering::SeqCst);
    wait_until("the server is unready", || server.get("/ready", None).status == 503);
    assert_eq!(server.get("/health", None).status, 200);
    site.state.refuses_writes.store(false, Ordering::SeqCst);
    site.clock.advance(WRITES_SETTLE_WITHIN);
    server.wait_until_ready();
    server.stop().unwrap();
}

#[test]
fn server_waits_for_a_store_that_comes_later() {
    let site = Site::new();
    site.state.is_absent.store(true, Ordering::SeqCst);
    let server = site.start();
    assert_eq!(server.get("/health", None).status, 200);
    assert_eq!(server.get("/ready", None).status, 503);
    site.state.is_absent.store(false, Ordering::SeqCst);
    server.wait_until_ready();
    server.stop().unwrap();
}

#[test]
fn failed_backend_check_stops_the_server() {
    let site = Site::new();
    let server = site.start();
    server.wait_until_ready();
    site.state.is_replaced.store(true, Ordering::SeqCst);
    let error = server.thread.join().unwrap().unwrap_err();
    assert_eq!(error.to_string(), "the store was replaced");
}

#[test]
fn sealer_steps_and_closes_at_the_stop() {
    let site = Site::new();
    let server = site.start();
    wait_until("the sealer makes a step", || site.state.seals.load(Ordering::SeqCst) > 0);
    assert!(!site.state.is_closed.load(Ordering::SeqCst));
    server.stop().unwrap();
    assert!(site.state.is_closed.load(Ordering::SeqCst));
}

#[test]
fn graceful_stop_answers_requests_under_way() {
    let site = Site::new();
    let server = site.start();
    server.wait_until_ready();
    let alice = json!({"username": "alice", "password": fixtures::PASSWORD});
    assert_eq!(server.post("/register", None, &alice).status, 201);
    let tokens = server.login("alice", fixtures::PASSWORD);
    let mut connection = TcpStream::connect(server.address).unwrap();
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    // The request is under way until its body is complete.
    let body = json!({"refresh_token": tokens.refresh}).to_string();
    let (begin, end) = body.split_at(10);
    let fields = format!("content-type: application/json\r\ncontent-length: {}", body.len());
    write!(connection, "POST /refresh HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\n{fields}\r\n\r\n")
        .unwrap();
    let mut interim = [0; 25];
    connection.read_exact(&mut interim).unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    connection.write_all(begin.as_bytes()).unwrap();
    server.stop.notify_one();
    wait_until("no connection is accepted", || TcpStream::connect(server.address).is_err());
    connection.write_all(end.as_bytes()).unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    server.thread.join().unwrap().unwrap();
}

/// A store in memory, with a clock and a state that tests change.
struct Site {
    store: Arc<MemoryStore>,
    clock: Arc<OffsetClock>,
    state: Arc<State>,
}

/// The state of a backend that tests change and look at.
#[derive(Debug, Default)]
struct State {
    is_absent: AtomicBool,
    is_replaced: AtomicBool,
    refuses_writes: AtomicBool,
    seals: AtomicU32,
    is_closed: AtomicBool,
}

impl Site {
    fn new() -> Self {
        Self { store: Arc::default(), clock: Arc::new(OffsetClock::new()), state: Arc::default() }
    }

    /// Starts a server on a thread of its own.
    fn start(&self) -> Running {
        let mut settings = settings();
        let socket = BoundSocket::bind(settings.server.listen).unwrap();
        let address = socket.address();
        settings.listening_on(address).unwrap();
        let backend = MemoryBackend { store: Arc::clone(&self.store), state: Arc::clone(&self.state) };
        let clock = Arc::clone(&self.clock);
        let stop = Arc::new(Notify::new());
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let secrets = Secrets::new(settings.secret.clone().unwrap(), []);
            let instance = Instance::over(Arc::new(backend), &settings, &secrets, clock)?;
            let is_prepared = prepare(&instance)?;
            let stop = async move || stopped.notified().await;
            rt::System::new().block_on(serve(&settings, 1, socket, instance, is_prepared, stop))
        });
        Running { address, stop, thread }
    }

    /// Another instance over the same store.
    fn other_instance(&self) -> Arc<Core> {
        let clock = Arc::clone(&self.clock) as _;
        Core::new(Ports { clock, ..ports_over(&self.store) }, settings().rules)
    }
}

/// A running server.
struct Running {
    address: SocketAddr,
    stop: Arc<Notify>,
    thread: JoinHandle<Result<(), CliError>>,
}

impl Running {
    fn stop(self) -> Result<(), CliError> {
        self.stop.notify_one();
        self.thread.join().unwrap()
    }

    fn wait_until_ready(&self) {
        wait_until("the server is ready", || self.get("/ready", None).status == 200);
    }

    fn login(&self, username: &str, password: &str) -> Tokens {
        let answer = self.post("/login", None, &json!({"username": username, "password": password}));
        let text = |name: &str| answer.body[name].as_str().map(str::to_owned);
        match (text("access_token"), text("refresh_token"), text("session_id")) {
            (Some(access), Some(refresh), Some(session)) => Tokens { access, refresh, session },
            _ => panic!("{answer:?}"),
        }
    }

    fn get(&self, path: &str, token: Option<&str>) -> Answer {
        self.call("GET", path, token, &Value::Null)
    }

    fn post(&self, path: &str, token: Option<&str>, body: &Value) -> Answer {
        self.call("POST", path, token, body)
    }

    /// Sends a request over a connection of its own, once the server listens.
    fn call(&self, method: &str, path: &str, token: Option<&str>, body: &Value) -> Answer {
        let mut connected = None;
        wait_until("the server listens", || {
            connected = TcpStream::connect(self.address).ok();
            connected.is_some()
        });
        let mut connection = connected.unwrap();
        connection.set_read_timeout(Some(PATIENCE)).unwrap();
        let bearer = token.map(|token| format!("authorization: Bearer {token}\r\n")).unwrap_or_default();
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let kind = if body.is_empty() { "" } else { "content-type: application/json\r\n" };
        let length = body.len();
        let head = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{bearer}{kind}");
        write!(connection, "{head}content-length: {length}\r\n\r\n{body}").unwrap();
        let mut answer = Vec::new();
        connection.read_to_end(&mut answer).unwrap();
        // Files of the documentation page are compressed.
        let answer = String::from_utf8_lossy(&answer);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        Answer { status: status.unwrap_or_default(), body: serde_json::from_str(body).unwrap_or_default() }
    }
}

#[derive(Debug)]
struct Answer {
    /// Zero if there was no answer.
    status: u16,
    body: Value,
}

struct Tokens {
    access: String,
    refresh: String,
    session: String,
}

/// A backend over a store in memory.
#[derive(Debug)]
struct MemoryBackend {
    store: Arc<MemoryStore>,
    state: Arc<State>,
}

impl Backend for MemoryBackend {
    fn store(&self) -> Arc<dyn Store> {
        let health = Arc::new(Health { store: Arc::clone(&self.store), state: Arc::clone(&self.state) });
        Arc::new(FaultyStore { health, ..FaultyStore::over(Arc::clone(&self.store) as _) })
    }

    fn location(&self) -> String {
        "memory".to_owned()
    }

    fn may_be_awaited(&self) -> bool {
        true
    }

    fn prepare(&self) -> Result<(), CliError> {
        match self.state.is_absent.load(Ordering::SeqCst) {
            true => Err(anyhow::anyhow!("there is no store yet").into()),
            false => Ok(()),
        }
    }

    fn check(&self) -> Result<(), CliError> {
        match self.state.is_replaced.load(Ordering::SeqCst) {
            true => Err(InvalidSetting::new("the store was replaced").into()),
            false => Ok(()),
        }
    }

    fn sealer(&self, _now: UnixTime) -> Option<Box<dyn Seal>> {
        Some(Box::new(CountingSealer(Arc::clone(&self.state))))
    }
}

/// Refuses writes when it is told to.
#[derive(Debug)]
struct Health {
    store: Arc<MemoryStore>,
    state: Arc<State>,
}

impl StoreHealth for Health {
    fn check(&self) -> Result<StoreStatus, StoreError> {
        self.store.check()
    }

    fn check_writes(&self) -> Result<(), StoreError> {
        match self.state.refuses_writes.load(Ordering::SeqCst) {
            true => Err(StoreError::new(StoreErrorKind::Unavailable, "writes are refused")),
            false => self.store.check_writes(),
        }
    }
}

/// Counts its steps.
struct CountingSealer(Arc<State>);

impl Seal for CountingSealer {
    fn step(&mut self) -> Result<Duration, StoreError> {
        self.0.seals.fetch_add(1, Ordering::SeqCst);
        Ok(Duration::from_millis(10))
    }

    fn close(self: Box<Self>) -> Result<(), StoreError> {
        self.0.is_closed.store(true, Ordering::SeqCst);
        Ok(())
    }
}

/// Runs with real time, and can be advanced.
#[derive(Debug)]
struct OffsetClock {
    started: Instant,
    /// In seconds.
    offset: AtomicI64,
}

impl OffsetClock {
    fn new() -> Self {
        Self { started: Instant::now(), offset: AtomicI64::new(0) }
    }

    fn advance(&self, by: Duration) {
        self.offset.fetch_add(i64::try_from(by.as_secs()).unwrap(), Ordering::SeqCst);
    }
}

impl Clock for OffsetClock {
    fn now(&self) -> UnixTime {
        fixtures::NOW + self.uptime()
    }

    fn uptime(&self) -> Duration {
        let offset = self.offset.load(Ordering::SeqCst);
        self.started.elapsed() + Duration::from_secs(offset.unsigned_abs())
    }

    fn align(&self, _store: StoreTime, _asked: Duration) {}
}

fn settings() -> Settings {
    let variables = [
        ("PORTCULLIS_SECRET", "pcs_kCaD3cvDJhSoAWdL8fbAfYwTXiWyOo4nPoXAw0GDJ5Q"),
        ("PORTCULLIS_SERVER__LISTEN", "127.0.0.1:0"),
        ("PORTCULLIS_SERVER__SHUTDOWN_TIMEOUT", "10s"),
        ("PORTCULLIS_HASHING__BCRYPT_COST", "4"),
        ("PORTCULLIS_HASHING__THREADS", "1"),
        ("PORTCULLIS_LIMITS__ENABLED", "false"),
    ];
    let variables = variables.map(|(name, value)| (OsString::from(name), OsString::from(value)));
    Settings::load(&Sources::new(None, variables).unwrap()).unwrap()
}

/// Polls until a condition holds.
#[track_caller]
fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

const PATIENCE: Duration = Duration::from_secs(30);
