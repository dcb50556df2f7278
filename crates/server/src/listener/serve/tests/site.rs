//! A server over a store in memory.

use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use portcullis_adapters::secret::Secrets;
use portcullis_domain::ports::{Clock, Store, StoreError, StoreErrorKind, StoreHealth, StoreStatus};
use portcullis_domain::time::{StoreTime, UnixTime};
use portcullis_domain::{Core, Ports};
use portcullis_testkit::{FaultyStore, MemoryStore, fixtures, ports_over};
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::super::*;
use crate::bootstrap::{Backend, Seal};
use crate::settings::{InvalidSetting, Sources};

/// A store in memory, with a clock and a state that tests change.
pub(super) struct Site {
    pub(super) store: Arc<MemoryStore>,
    pub(super) clock: Arc<OffsetClock>,
    pub(super) state: Arc<State>,
}

/// The state of a backend that tests change and look at.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) is_absent: AtomicBool,
    pub(super) is_replaced: AtomicBool,
    pub(super) refuses_writes: AtomicBool,
    pub(super) seals: AtomicU32,
    pub(super) is_closed: AtomicBool,
}

impl Site {
    pub(super) fn new() -> Self {
        Self { store: Arc::default(), clock: Arc::new(OffsetClock::new()), state: Arc::default() }
    }

    /// Starts a server on a thread of its own.
    pub(super) fn start(&self) -> Running {
        let mut settings = settings();
        let socket = BoundSocket::bind(settings.server.listen).unwrap();
        let address = socket.address();
        settings.listening_on(address).unwrap();
        let backend = MemoryBackend { store: Arc::clone(&self.store), state: Arc::clone(&self.state) };
        let clock = Arc::clone(&self.clock);
        let stop = Arc::new(Notify::new());
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let secrets = Secrets::new(settings.secret.clone().unwrap(), []);
            let instance = Instance::over(Arc::new(backend), &settings, &secrets, clock)?;
            let is_prepared = prepare(&instance)?;
            let stop = async move || stopped.notified().await;
            rt::System::new().block_on(serve(&settings, 1, socket, instance, is_prepared, stop))
        });
        Running { address, stop, thread }
    }

    /// Another instance over the same store.
    pub(super) fn other_instance(&self) -> Arc<Core> {
        let clock = Arc::clone(&self.clock) as _;
        Core::new(Ports { clock, ..ports_over(&self.store) }, settings().rules)
    }
}

/// A running server.
pub(super) struct Running {
    pub(super) address: SocketAddr,
    pub(super) stop: Arc<Notify>,
    pub(super) thread: JoinHandle<Result<(), CliError>>,
}

impl Running {
    pub(super) fn stop(self) -> Result<(), CliError> {
        self.stop.notify_one();
        self.thread.join().unwrap()
    }

    pub(super) fn wait_until_ready(&self) {
        wait_until("the server is ready", || self.get("/ready", None).status == 200);
    }

    pub(super) fn login(&self, username: &str, password: &str) -> Tokens {
        let answer = self.post("/login", None, &json!({"username": username, "password": password}));
        let text = |name: &str| answer.body[name].as_str().map(str::to_owned);
        match (text("access_token"), text("refresh_token"), text("session_id")) {
            (Some(access), Some(refresh), Some(session)) => Tokens { access, refresh, session },
            _ => panic!("{answer:?}"),
        }
    }

    pub(super) fn get(&self, path: &str, token: Option<&str>) -> Answer {
        self.call("GET", path, token, &Value::Null)
    }

    pub(super) fn post(&self, path: &str, token: Option<&str>, body: &Value) -> Answer {
        self.call("POST", path, token, body)
    }

    /// Sends a request over a connection of its own, once the server listens.
    pub(super) fn call(&self, method: &str, path: &str, token: Option<&str>, body: &Value) -> Answer {
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
pub(super) struct Answer {
    /// Zero if there was no answer.
    pub(super) status: u16,
    pub(super) body: Value,
}

pub(super) struct Tokens {
    pub(super) access: String,
    pub(super) refresh: String,
    pub(super) session: String,
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

    fn oldest_write(&self) -> Option<Duration> {
        self.store.oldest_write()
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
pub(super) struct OffsetClock {
    started: Instant,
    /// In seconds.
    offset: AtomicI64,
}

impl OffsetClock {
    fn new() -> Self {
        Self { started: Instant::now(), offset: AtomicI64::new(0) }
    }

    pub(super) fn advance(&self, by: Duration) {
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
pub(super) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

pub(super) const PATIENCE: Duration = Duration::from_secs(30);
