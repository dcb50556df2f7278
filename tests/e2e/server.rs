//! Starts the real binary and talks to it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};

use crate::database::Database;

/// A secret for production.
pub(crate) const SECRET: &str = "pcs_kCaD3cvDJhSoAWdL8fbAfYwTXiWyOo4nPoXAw0GDJ5Q";

/// A password that the default policy accepts.
pub(crate) const PASSWORD: &str = "Corr3ct-horse battery";

/// How long anything may take before a test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Settings with which everything is logged that can be, the HTTP stack's own words included.
pub(crate) const TRACE: &[(&str, &str)] =
    &[("LOG__LEVEL", "trace"), ("RUST_LOG", "trace,actix_http=trace,actix_web=trace,diesel=trace")];

/// The end of a secret: a part of a token is enough to worry, and all tokens begin alike.
pub(crate) fn tail(secret: &str) -> &str {
    let start = secret.len().saturating_sub(24);
    let start = (start..secret.len()).find(|at| secret.is_char_boundary(*at)).unwrap_or(start);
    &secret[start..]
}

/// A running server. It is killed when it goes out of scope.
pub(crate) struct Server {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
    pub address: SocketAddr,
    agent: ureq::Agent,
}

impl Server {
    /// Starts a server over a database, with limits out of the way and quick hashes.
    pub(crate) fn start(database: &Database) -> Self {
        Self::start_with(database, &[])
    }

    /// The same with other settings (see [`set`]).
    pub(crate) fn start_with(database: &Database, settings: &[(&str, &str)]) -> Self {
        let mut command = command(database.folder.path());
        command.env("PORTCULLIS_DATABASE__URL", database.url());
        for (name, value) in settings {
            set(&mut command, name, value);
        }
        Self::of(command)
    }

    /// Starts a server that may have only so many files open, connections among them.
    pub(crate) fn start_with_files(database: &Database, most: usize) -> Self {
        let bare = command(database.folder.path());
        let mut limited = Command::new("/bin/sh");
        limited.arg("-c").arg(format!("ulimit -n {most} && exec \"$0\"")).arg(bare.get_program());
        limited.current_dir(database.folder.path()).env_clear().stdin(Stdio::null());
        limited.envs(bare.get_envs().filter_map(|(name, value)| Some((name, value?))));
        limited.env("PORTCULLIS_DATABASE__URL", database.url());
        Self::of(limited)
    }

    /// Starts a server whose files may not grow beyond this number of KiB. A write beyond it fails, as on a full disk.
    pub(crate) fn start_with_file_size(database: &Database, most_kib: usize) -> Self {
        let bare = command(database.folder.path());
        let mut limited = Command::new("/bin/sh");
        // In blocks of 512 bytes. The signal that would end the server is ignored.
        let limit = format!("trap '' XFSZ && ulimit -S -f {} && exec \"$0\"", most_kib * 2);
        limited.arg("-c").arg(limit).arg(bare.get_program());
        limited.current_dir(database.folder.path()).env_clear().stdin(Stdio::null());
        limited.envs(bare.get_envs().filter_map(|(name, value)| Some((name, value?))));
        limited.env("PORTCULLIS_DATABASE__URL", database.url());
        Self::of(limited)
    }

    /// Takes back the limit of [`Server::start_with_file_size`].
    pub(crate) fn let_files_grow(&self) {
        let pid = self.child.id().to_string();
        let status = Command::new("prlimit").args(["--fsize=unlimited", "--pid", &pid]).status().unwrap();
        assert!(status.success());
    }

    /// Starts a server whose standard error is `stderr`; its log is not read.
    pub(crate) fn start_logging_to(
        database: &Database,
        stderr: impl Into<Stdio>,
        settings: &[(&str, &str)],
    ) -> Self {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut command = command(database.folder.path());
        command.env("PORTCULLIS_DATABASE__URL", database.url());
        set(&mut command, "SERVER__LISTEN", &address.to_string());
        for (name, value) in settings {
            set(&mut command, name, value);
        }
        let child = command.stderr(stderr).stdout(Stdio::null()).spawn().unwrap();
        let server = Self { child, log: Arc::default(), reader: None, address, agent: agent() };
        wait_until("the server listens", || TcpStream::connect(address).is_ok());
        server
    }

    /// Starts a server by a command that logs on standard error.
    pub(crate) fn of(command: Command) -> Self {
        Self::try_of(command).unwrap_or_else(|log| panic!("the server does not listen: {log:#?}"))
    }

    /// The same, but returns the log if the process ends before it listens.
    pub(crate) fn try_of(mut command: Command) -> Result<Self, Vec<String>> {
        let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let log = Arc::new(Mutex::new(Vec::new()));
        let (listening, address) = std::sync::mpsc::channel();
        let lines = Arc::clone(&log);
        let reader = std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if let Some((_, rest)) = line.split_once("listening on http://") {
                    let address = rest.split(['"', ' ']).next().unwrap();
                    let _ = listening.send(address.parse().unwrap());
                }
                lines.lock().unwrap().push(line);
            }
        });
        let address = match address.recv_timeout(PATIENCE) {
            Ok(address) => address,
            // Its log has ended, and with it the process.
            Err(RecvTimeoutError::Disconnected) => {
                child.wait().unwrap();
                return Err(log.lock().unwrap().clone());
            }
            Err(RecvTimeoutError::Timeout) => {
                let _ = child.kill();
                panic!("the server does not listen: {:#?}", log.lock().unwrap());
            }
        };
        Ok(Self { child, log, reader: Some(reader), address, agent: agent() })
    }

    /// Calls a route.
    pub(crate) fn call(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&str>,
    ) -> Answer {
        self.try_call(method, path, headers, body).unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// Calls a route of a server that may be gone. The error is a connection that was refused or broke.
    pub(crate) fn try_call(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&str>,
    ) -> Result<Answer, String> {
        let mut request =
            ureq::http::Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = match body {
            Some(body) => self.agent.run(request.body(body.to_owned()).unwrap()),
            None => self.agent.run(request.body(()).unwrap()),
        };
        let mut response = response.map_err(|error| error.to_string())?;
        let headers = response.headers().clone();
        let text = response.body_mut().read_to_string().map_err(|error| error.to_string())?;
        Ok(Answer { status: response.status().as_u16(), headers, text })
    }

    /// Sends a body to a server that may be gone, with an access token if there is one.
    pub(crate) fn try_send(
        &self,
        method: &str,
        path: &str,
        access_token: Option<&str>,
        body: &Value,
    ) -> Result<Answer, String> {
        let bearer = access_token.map(|token| format!("Bearer {token}"));
        let mut headers = vec![("content-type", "application/json")];
        headers.extend(bearer.as_deref().map(|bearer| ("authorization", bearer)));
        self.try_call(method, path, &headers, Some(&body.to_string()))
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.call("GET", path, &[], None)
    }

    pub(crate) fn get_as(&self, path: &str, access_token: &str) -> Answer {
        self.call("GET", path, &[("authorization", &format!("Bearer {access_token}"))], None)
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.call("POST", path, &[("content-type", "application/json")], Some(&body.to_string()))
    }

    /// Sends a body with an access token.
    pub(crate) fn send_as(&self, method: &str, path: &str, access_token: &str, body: &Value) -> Answer {
        let headers =
            [("content-type", "application/json"), ("authorization", &format!("Bearer {access_token}"))];
        self.call(method, path, &headers, Some(&body.to_string()))
    }

    pub(crate) fn register(&self, username: &str) -> Answer {
        self.post("/register", &json!({"username": username, "password": PASSWORD}))
    }

    pub(crate) fn try_login(&self, username: &str, password: &str) -> Answer {
        self.post("/login", &json!({"username": username, "password": password}))
    }

    /// Logs in with [`PASSWORD`].
    pub(crate) fn login(&self, username: &str) -> Tokens {
        self.try_login(username, PASSWORD).tokens()
    }

    pub(crate) fn refresh(&self, refresh_token: &str) -> Answer {
        self.post("/refresh", &json!({"refresh_token": refresh_token}))
    }

    pub(crate) fn change_password(&self, access_token: &str, current: &str, new: &str) -> Answer {
        let body = json!({"current_password": current, "new_password": new});
        self.send_as("PUT", "/me/password", access_token, &body)
    }

    pub(crate) fn logout(&self, refresh_token: &str) -> Answer {
        self.post("/logout", &json!({"refresh_token": refresh_token}))
    }

    /// Sends bytes as they are and reads what comes back until the server closes; nothing where it is gone.
    pub(crate) fn raw(&self, bytes: &[u8]) -> String {
        let Ok(mut connection) = TcpStream::connect(self.address) else { return String::new() };
        connection.set_read_timeout(Some(PATIENCE)).unwrap();
        // The server may close before it has read everything.
        let _ = connection.write_all(bytes);
        let mut answer = Vec::new();
        let _ = connection.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Waits until `/ready` says so.
    pub(crate) fn wait_until_ready(&self) {
        wait_until("the server is ready", || self.get("/ready").status == 200);
    }

    /// Kills it as a power cut would.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to stop, and waits for the end.
    pub(crate) fn terminate(self) -> (ExitStatus, Vec<String>) {
        self.signal("TERM");
        self.ended()
    }

    /// The number of its process.
    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, name: &str) {
        let sent =
            Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for it to end by itself.
    pub(crate) fn ended(mut self) -> (ExitStatus, Vec<String>) {
        let status = wait(&mut self.child);
        (status, self.finished_log())
    }

    /// Waits until a line of the log holds a text.
    pub(crate) fn wait_for_line(&self, text: &str) {
        wait_until(text, || self.log.lock().unwrap().iter().any(|line| line.contains(text)));
    }

    /// How many lines of the log hold a text by now.
    pub(crate) fn lines_with(&self, text: &str) -> usize {
        self.log.lock().unwrap().iter().filter(|line| line.contains(text)).count()
    }

    /// How much memory of the machine it has.
    pub(crate) fn resident_bytes(&self) -> usize {
        self.memory("VmRSS:")
    }

    /// The most that it ever had.
    pub(crate) fn peak_bytes(&self) -> usize {
        self.memory("VmHWM:")
    }

    fn memory(&self, which: &str) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(which)).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse::<usize>().unwrap() << 10
    }

    /// For how long processors worked for it.
    pub(crate) fn processor_time(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        // After the name in parentheses; 14 and 15 of `proc_pid_stat(5)`, in hundredths of a second.
        let (_, fields) = stat.rsplit_once(')').unwrap();
        let ticks = fields.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap());
        Duration::from_millis(10 * ticks.sum::<u64>())
    }

    /// How long its threads were ready and had no processor, one after the other.
    pub(crate) fn waited_for_processor(&self) -> Duration {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        threads.map(|thread| waited_of_thread(&thread.unwrap().path().join("schedstat"))).sum()
    }

    fn finished_log(&mut self) -> Vec<String> {
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        self.log.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .allow_non_standard_methods(true)
        .timeout_global(Some(PATIENCE))
        .max_idle_connections_per_host(64);
    config.build().into()
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub status: u16,
    pub headers: ureq::http::HeaderMap,
    pub text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The tokens of a login or a refresh that succeeded.
    pub(crate) fn tokens(&self) -> Tokens {
        assert_eq!(self.status, 200, "{self:?}");
        let body = self.json();
        let text = |name: &str| body[name].as_str().unwrap().to_owned();
        Tokens { access: text("access_token"), refresh: text("refresh_token"), session: text("session_id") }
    }

    /// Asserts the status and the code of a problem document.
    #[track_caller]
    pub(crate) fn is_problem(&self, status: u16, code: &str) {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        assert_eq!(self.json()["code"], code, "{self:?}");
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Tokens {
    pub access: String,
    pub refresh: String,
    pub session: String,
}

/// The command, in a folder of its own, with nothing of the caller's environment and settings fit for tests.
pub(crate) fn command(folder: &Path) -> Command {
    let mut command = Command::new(binary());
    command.current_dir(folder).env_clear().stdin(Stdio::null());
    for (name, value) in [
        ("SERVER__LISTEN", "127.0.0.1:0"),
        ("SERVER__PUBLIC_URL", "http://auth.test"),
        ("SERVER__WORKERS", "2"),
        ("SECRET", SECRET),
        ("HASHING__BCRYPT_COST", "4"),
        ("HASHING__QUEUE", "64"),
        ("LIMITS__ENABLED", "false"),
        ("LOG__FORMAT", "json"),
    ] {
        command.env(format!("PORTCULLIS_{name}"), value);
    }
    command
}

/// The same command under another user and group, as only root can run it.
pub(crate) fn command_as(user: u32, group: u32, folder: &Path) -> Command {
    let bare = command(folder);
    let mut other = Command::new("setpriv");
    other.args([format!("--reuid={user}"), format!("--regid={group}"), "--clear-groups".to_owned()]);
    other.arg(binary_for_all()).current_dir(folder).env_clear().stdin(Stdio::null());
    other.envs(bare.get_envs().filter_map(|(name, value)| Some((name, value?))));
    other
}

/// A copy of the binary that every user may run.
fn binary_for_all() -> &'static Path {
    use std::os::unix::fs::PermissionsExt as _;

    static COPY: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_folder, copy) = COPY.get_or_init(|| {
        let folder = tempfile::TempDir::new().unwrap();
        let copy = folder.path().join("portcullis");
        std::fs::copy(binary(), &copy).unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        (folder, copy)
    });
    copy
}

/// Sets a variable, `PORTCULLIS_` before its name unless it is one of the others; an empty value removes it.
pub(crate) fn set(command: &mut Command, name: &str, value: &str) {
    let name = match name {
        "DATABASE_URL" | "DATABASE_URL_FILE" | "PORT" | "RUST_LOG" | "PGHOST" | "PGHOSTADDR" => {
            name.to_owned()
        }
        _ => format!("PORTCULLIS_{name}"),
    };
    match value.is_empty() {
        true => command.env_remove(name),
        false => command.env(name, value),
    };
}

/// Runs the command to its end, with these settings over those of [`command`].
pub(crate) fn run(folder: &Path, settings: &[(&str, &str)], arguments: &[&str]) -> Output {
    let mut command = command(folder);
    for (name, value) in settings {
        set(&mut command, name, value);
    }
    command.args(arguments);
    output_of(command)
}

/// Runs a command to its end.
pub(crate) fn output_of(mut command: Command) -> Output {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // On a thread, so that a command that never ends fails the test; its output may be longer than a pipe holds.
    let (ended, output) = std::sync::mpsc::channel();
    std::thread::spawn(move || ended.send(child.wait_with_output()));
    output.recv_timeout(PATIENCE).expect("the command ends in time").unwrap()
}

/// The server's binary: built by `cargo test --workspace` beside this one (for the tests of its own package), and built here
/// where it is missing or older than its sources, as under `cargo test -p portcullis-e2e`.
pub(crate) fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        // target/<profile>/deps/e2e-<hash>
        let tests = std::env::current_exe().unwrap();
        let profile = tests.parent().and_then(Path::parent).unwrap();
        let binary = profile.join(format!("portcullis{}", std::env::consts::EXE_SUFFIX));
        if !is_current(&binary) {
            let mut cargo = Command::new(env!("CARGO"));
            cargo.args(["build", "--locked", "--package", "portcullis-server", "--bin", "portcullis"]);
            cargo.arg("--target-dir").arg(profile.parent().unwrap());
            if profile.ends_with("release") {
                cargo.arg("--release");
            }
            let built = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).status().unwrap();
            assert!(built.success() && is_current(&binary), "the server does not build");
        }
        binary
    })
}

/// Whether the binary is newer than every source that cargo's dependency file (`portcullis.d`) lists for it.
fn is_current(binary: &Path) -> bool {
    let modified = |path: &Path| path.metadata().and_then(|data| data.modified()).ok();
    let Some(built) = modified(binary) else { return false };
    let Ok(sources) = std::fs::read_to_string(binary.with_extension("d")) else { return false };
    let newest: Option<SystemTime> =
        sources.split_whitespace().skip(1).filter_map(|source| modified(Path::new(source))).max();
    newest.is_some_and(|newest| newest <= built)
}

/// How long a thread was ready and had no processor: the second number of its `schedstat`. Nothing of one that ended.
pub(crate) fn waited_of_thread(schedstat: &Path) -> Duration {
    let text = std::fs::read_to_string(schedstat).unwrap_or_default();
    Duration::from_nanos(text.split(' ').nth(1).map_or(0, |waited| waited.parse().unwrap()))
}

/// Waits for a process, with patience.
pub(crate) fn wait(child: &mut Child) -> ExitStatus {
    let mut status = None;
    wait_until("the process ends", || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    status.unwrap()
}

/// Asks again and again until it is so.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Runs `work` on threads that start together, and collects what it returns.
pub(crate) fn race<T: Send>(threads: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let start = std::sync::Barrier::new(threads);
    std::thread::scope(|scope| {
        let (start, work) = (&start, &work);
        let racers: Vec<_> = (0..threads)
            .map(|n| {
                scope.spawn(move || {
                    start.wait();
                    work(n)
                })
            })
            .collect();
        racers.into_iter().map(|racer| racer.join().unwrap()).collect()
    })
}
