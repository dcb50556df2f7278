//! Three instances behind nginx with the shipped configuration, restarted one after another under traffic. They have a port
//! on three addresses of this machine, as the containers of a service have.

use std::env;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::database::Database;
use crate::nginx::{Names, Nginx};
use crate::server::{PASSWORD, PATIENCE, Server, Tokens, wait_until};

/// A port that no outgoing connection takes while an instance restarts: below the ephemeral range.
fn free_port() -> u16 {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let start = 10_000 + std::process::id() as usize % 10_000;
    let ports = (0..2_000).map(|_| start + NEXT.fetch_add(1, Ordering::Relaxed));
    let mut ports = ports.map(|port| u16::try_from(port).unwrap());
    let is_free = |port: &u16| HOSTS.iter().all(|host| TcpListener::bind((*host, *port)).is_ok());
    ports.find(is_free).expect("a port is free")
}

/// The addresses of the instances.
const HOSTS: [Ipv4Addr; 3] = [Ipv4Addr::LOCALHOST, Ipv4Addr::new(127, 0, 0, 2), Ipv4Addr::new(127, 0, 0, 3)];

/// Three instances on addresses that they keep.
struct Instances<'a> {
    database: &'a Database,
    drain_delay: String,
    port: u16,
    servers: [RwLock<Option<Server>>; 3],
}

impl<'a> Instances<'a> {
    fn start(database: &'a Database, drain_delay: Duration) -> Self {
        let drain_delay = format!("{}s", drain_delay.as_secs());
        let instances = Self { database, drain_delay, port: free_port(), servers: Default::default() };
        for place in 0..3 {
            instances.run(place);
        }
        instances
    }

    /// Starts an instance, and waits until it is ready.
    fn run(&self, place: usize) {
        let listen = SocketAddr::from((HOSTS[place], self.port)).to_string();
        let settings = [("SERVER__LISTEN", listen.as_str()), ("SERVER__DRAIN_DELAY", &self.drain_delay)];
        let server = Server::start_with(self.database, &settings);
        assert_eq!(server.get("/ready").status, 200, "it listens once it is ready");
        *self.servers[place].write().unwrap() = Some(server);
    }

    /// Replaces an instance as an orchestrator does.
    fn restart(&self, place: usize) {
        let (status, log) = self.servers[place].write().unwrap().take().unwrap().terminate();
        assert!(status.success(), "{log:#?}");
        self.run(place);
    }

    fn kill(&self, place: usize) {
        self.servers[place].write().unwrap().take().unwrap().kill();
        self.run(place);
    }
}

/// A client of nginx with connections of its own, which it keeps.
struct Client {
    agent: ureq::Agent,
    url: String,
}

impl Client {
    fn of(nginx: &Nginx, keeps: bool) -> Self {
        let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(PATIENCE));
        let agent = config.max_idle_connections_per_host(usize::from(keeps)).build().into();
        Self { agent, url: format!("http://{}", nginx.address) }
    }

    /// The status and the whole body of an answer, or why there is none.
    fn call(
        &self,
        method: &str,
        path: &str,
        token: Option<&str>,
        body: Option<&serde_json::Value>,
    ) -> Result<(u16, serde_json::Value), String> {
        let mut request = ureq::http::Request::builder().method(method).uri(format!("{}{path}", self.url));
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let body = body.map(ToString::to_string).unwrap_or_default();
        let response = match body.is_empty() {
            true => self.agent.run(request.body(()).unwrap()),
            false => {
                let request = request.header("content-type", "application/json");
                self.agent.run(request.body(body).unwrap())
            }
        };
        let mut response = response.map_err(|error| error.to_string())?;
        let status = response.status().as_u16();
        let text = response.body_mut().read_to_string().map_err(|error| error.to_string())?;
        Ok((status, serde_json::from_str(&text).unwrap_or_default()))
    }
}

/// One user's requests: what a client application sends, one after another, each with the status that it must get.
struct Visitor<'a> {
    client: Client,
    name: String,
    password: String,
    tokens: Tokens,
    made: &'a Mutex<Vec<Made>>,
}

/// A request that was made.
struct Made {
    request: &'static str,
    took: Duration,
    /// Why it failed.
    failure: Option<String>,
}

impl<'a> Visitor<'a> {
    fn new(client: Client, name: String, made: &'a Mutex<Vec<Made>>) -> Self {
        let tokens = Tokens { access: String::new(), refresh: String::new(), session: String::new() };
        let mut visitor = Self { client, name, password: PASSWORD.to_owned(), tokens, made };
        visitor.ask("POST", "/register", 201);
        visitor.log_in();
        visitor
    }

    /// Makes a request with what it needs, and returns its body if it was answered as it must be.
    fn ask(&self, method: &'static str, path: &'static str, expected: u16) -> Option<serde_json::Value> {
        let credentials = json!({"username": self.name, "password": self.password});
        let refresh = json!({"refresh_token": self.tokens.refresh});
        let other = json!({"current_password": self.password, "new_password": other(&self.password)});
        let session = format!("/me/sessions/{}", self.tokens.session);
        let (token, body) = match (method, path) {
            (_, "/register" | "/login") => (None, Some(&credentials)),
            (_, "/refresh" | "/logout") => (None, Some(&refresh)),
            ("PUT", _) => (Some(self.tokens.access.as_str()), Some(&other)),
            (_, "/health") => (None, None),
            _ => (Some(self.tokens.access.as_str()), None),
        };
        let asked = Instant::now();
        let target = if method == "DELETE" { &session } else { path };
        let answer = self.client.call(method, target, token, body);
        let took = asked.elapsed();
        let (failure, body) = match answer {
            Ok((status, body)) if status == expected => (None, Some(body)),
            other => (Some(format!("{method} {path}: {other:?} after {took:?}")), None),
        };
        self.made.lock().unwrap().push(Made { request: path, took, failure });
        body
    }

    fn log_in(&mut self) {
        if let Some(body) = self.ask("POST", "/login", 200) {
            self.take(&body);
        }
    }

    fn take(&mut self, body: &serde_json::Value) {
        let text = |name: &str| body[name].as_str().unwrap().to_owned();
        self.tokens = Tokens {
            access: text("access_token"),
            refresh: text("refresh_token"),
            session: text("session_id"),
        };
    }

    /// Makes the `n`-th request: mostly reads and refreshes, and every kind of change.
    fn go_on(&mut self, n: usize) {
        match n % 40 {
            9 | 19 | 29 => {
                if let Some(body) = self.ask("POST", "/refresh", 200) {
                    self.take(&body);
                }
            }
            14 => {
                self.ask("POST", "/logout", 204);
                self.log_in();
            }
            24 => {
                self.ask("DELETE", "/me/sessions/{id}", 204);
                self.log_in();
            }
            34 => {
                if let Some(body) = self.ask("PUT", "/me/password", 200) {
                    other(&self.password).clone_into(&mut self.password);
                    self.take(&body);
                }
            }
            39 => {
                self.name = format!("{}x{n}", self.name.split('x').next().unwrap());
                PASSWORD.clone_into(&mut self.password);
                self.ask("POST", "/register", 201);
                self.log_in();
            }
            n if n % 4 == 0 => drop(self.ask("GET", "/me", 200)),
            n if n % 4 == 1 => drop(self.ask("GET", "/me/sessions", 200)),
            n if n % 4 == 2 => drop(self.ask("GET", "/health", 200)),
            _ => drop(self.ask("GET", "/protected", 200)),
        }
    }
}

/// The password that a user changes to.
fn other(password: &str) -> &'static str {
    if password == PASSWORD { "An0ther-horse battery" } else { PASSWORD }
}

/// `PORTCULLIS_TEST_ROLLING_ROUNDS` makes it longer, and drain as long as in production:
/// `make test-rolling`.
#[test]
fn rolling_restart_behind_nginx_fails_no_request() {
    let long_rounds = env::var("PORTCULLIS_TEST_ROLLING_ROUNDS").ok().map(|rounds| rounds.parse().unwrap());
    let (rounds, drain_delay) = match long_rounds {
        Some(rounds) => (rounds, Duration::from_secs(5)),
        None => (1, Duration::from_secs(2)),
    };
    let database = Database::postgres();
    let instances = Instances::start(&database, drain_delay);
    let nginx = Nginx::start(&Names::serve(&HOSTS), instances.port);
    let (made, is_over) = (Mutex::default(), AtomicBool::new(false));
    let begun = Instant::now();
    thread::scope(|scope| {
        let _end = SetWhenDropped(&is_over);
        for number in 0..VISITORS {
            let (nginx, made, is_over) = (&nginx, &made, &is_over);
            scope.spawn(move || {
                let mut visitor = Visitor::new(Client::of(nginx, true), format!("user{number}"), made);
                let mut next = Instant::now() + PACE * number / VISITORS;
                for n in usize::try_from(number).unwrap().. {
                    if is_over.load(Ordering::SeqCst) {
                        break;
                    }
                    // The pace of the visitors, who do not wait for each other.
                    thread::sleep(next.saturating_duration_since(Instant::now()));
                    next += PACE;
                    visitor.go_on(n);
                }
            });
        }
        for _ in 0..rounds {
            for place in 0..3 {
                instances.restart(place);
                let before = made.lock().unwrap().len();
                wait_until("the visitors go on", || made.lock().unwrap().len() > before + RATE / 2);
            }
        }
    });
    let took = begun.elapsed();
    let made = made.into_inner().unwrap();
    report(&made, took, rounds);
    let failures: Vec<_> = made.iter().filter_map(|made| made.failure.as_ref()).collect();
    assert!(failures.is_empty(), "{} of {} failed: {failures:#?}", failures.len(), made.len());
    assert!(made.len() > RATE * 5, "only {} requests were made", made.len());
}

#[expect(clippy::print_stderr, reason = "the figures are the point of a long run")]
fn report(made: &[Made], took: Duration, rounds: u32) {
    let mut times: Vec<_> = made.iter().map(|made| made.took).collect();
    times.sort_unstable();
    let at = |part: usize| times[(times.len() - 1) * part / 1_000].as_millis();
    let failed = made.iter().filter(|made| made.failure.is_some()).count();
    eprintln!(
        "{} restarts in {took:?}: {} requests ({} per second), {failed} failed; p50 {} ms, p99 {} ms, p99.9 {} ms, max {} ms",
        3 * rounds,
        made.len(),
        u128::try_from(made.len()).unwrap() * 1_000 / took.as_millis(),
        at(500),
        at(990),
        at(999),
        at(1_000),
    );
    let mut kinds: Vec<_> = made.iter().map(|made| made.request).collect();
    kinds.sort_unstable();
    for kind in kinds.chunk_by(|one, other| one == other) {
        eprintln!("{:>8} {}", kind.len(), kind[0]);
    }
}

/// Instances are killed, and nginx is reloaded, while clients register and refresh. Their requests may fail, but
/// none is made twice: a name that no one had is never taken, and a lost refresh gets its answer when it is repeated.
#[test]
fn killed_instances_behind_nginx_repeat_no_change() {
    let database = Database::postgres();
    let instances = Instances::start(&database, Duration::ZERO);
    let nginx = Nginx::start(&Names::serve(&HOSTS), instances.port);
    let is_over = AtomicBool::new(false);
    let (registered, repeated, read) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        let _end = SetWhenDropped(&is_over);
        for number in 0..KILLED_CLIENTS {
            let (nginx, is_over) = (&nginx, &is_over);
            let (registered, repeated, read) = (&registered, &repeated, &read);
            scope.spawn(move || {
                let client = Client::of(nginx, false);
                // A request that was not answered, or by nginx for an instance that is gone, is repeated.
                let ask = |method: &str, path: &str, token: Option<&str>, body: &serde_json::Value| {
                    let mut times = 0;
                    let body = (!body.is_null()).then_some(body);
                    loop {
                        times += 1;
                        match client.call(method, path, token, body) {
                            Ok((503, _)) | Err(_) => {
                                assert!(times < 100, "{method} {path}");
                                thread::sleep(Duration::from_millis(20));
                            }
                            Ok((status, body)) => return (times, status, body),
                        }
                    }
                };
                let mut tokens: Option<(String, String)> = None;
                for n in 0.. {
                    if is_over.load(Ordering::SeqCst) {
                        return;
                    }
                    let user = json!({"username": format!("user{number}x{n}"), "password": PASSWORD});
                    let (times, status, _) = ask("POST", "/register", None, &user);
                    repeated.fetch_add(usize::from(times > 1), Ordering::Relaxed);
                    assert!(status == 201 || status == 409 && times > 1, "{status} the {times}. time");
                    registered.fetch_add(1, Ordering::Relaxed);
                    let (access, refresh) = match tokens.take() {
                        Some(tokens) => tokens,
                        None => {
                            let (_, status, body) = ask("POST", "/login", None, &user);
                            assert_eq!(status, 200, "{body}");
                            pair(&body)
                        }
                    };
                    let (_, status, body) = ask("GET", "/me", Some(&access), &serde_json::Value::Null);
                    assert_eq!(status, 200, "{body}");
                    read.fetch_add(1, Ordering::Relaxed);
                    let (_, status, body) = ask("POST", "/refresh", None, &json!({"refresh_token": refresh}));
                    assert_eq!(status, 200, "{body}");
                    tokens = Some(pair(&body));
                }
            });
        }
        for place in 0..3 {
            let before = registered.load(Ordering::Relaxed);
            wait_until("the clients go on", || registered.load(Ordering::Relaxed) > before + 100);
            instances.kill(place);
            nginx.reload();
        }
    });
    let (registered, repeated) = (registered.into_inner(), repeated.into_inner());
    assert!(registered > 300 && read.into_inner() > 300, "{registered}");
    let users = database.number("SELECT count(*) FROM users");
    assert_eq!(users, i64::try_from(registered).unwrap(), "{repeated} were repeated");
    let events = database.number("SELECT count(*) FROM security_events WHERE kind = 'user_registered'");
    assert_eq!(events, users, "each was made once");
    let reused = database.number("SELECT count(*) FROM security_events WHERE kind LIKE '%reuse%'");
    assert_eq!(reused, 0, "no repeated refresh ended a session");
}

fn pair(body: &serde_json::Value) -> (String, String) {
    let text = |name: &str| body[name].as_str().unwrap().to_owned();
    (text("access_token"), text("refresh_token"))
}

/// Ends the clients, also when an assertion fails.
struct SetWhenDropped<'a>(&'a AtomicBool);

impl Drop for SetWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Requests per second of all visitors.
const RATE: usize = 200;

const VISITORS: u32 = 40;

/// The time between two requests of a visitor, so that all make [`RATE`].
const PACE: Duration = Duration::from_millis(200);

/// Clients that register and refresh as fast as they get answers.
const KILLED_CLIENTS: usize = 8;
