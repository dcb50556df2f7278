//! Runs `make clients`: generates clients from the OpenAPI document of the real server, type-checks them, and lets them
//! register, log in, refresh and log out. Then runs the snippets of `docs/resource-servers.md`. See
//! `docs/security/contract.md`.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failure ends the command, and the panic message names it"
)]

#[path = "../e2e/database.rs"]
#[expect(dead_code, reason = "the tests use the rest")]
mod database;
mod proxies;
#[path = "../e2e/server.rs"]
#[expect(dead_code, reason = "the tests use the rest")]
mod server;
mod snippets;

use std::fs;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use database::Database;
use server::Server;
use snippets::Tokens;

fn main() -> ExitCode {
    let work = match Work::install() {
        Ok(work) => work,
        Err(reason) => {
            say(&format!("make clients cannot start: {reason}"));
            return ExitCode::FAILURE;
        }
    };
    let mut failures = generated_clients(&work);
    for algorithm in ["ES256", "EdDSA"] {
        failures.extend(resource_servers(&work, algorithm));
    }
    for failure in &failures {
        say(&format!("FAILED: {failure}"));
    }
    match failures.is_empty() {
        true => {
            say("=== all clients and snippets work");
            ExitCode::SUCCESS
        }
        false => ExitCode::FAILURE,
    }
}

/// Generates, checks and runs the clients. Returns the failures.
fn generated_clients(work: &Work) -> Vec<String> {
    let database = Database::sqlite();
    let (server, url) = start(&database, &[]);
    fs::write(work.path("openapi.json"), server.get("/openapi.json").text).unwrap();

    let mut steps = Steps::default();
    say("=== generates the clients");
    let schema = "src/gen/openapi-fetch/schema.ts";
    steps.run(work.npm("openapi-typescript").args(["openapi.json", "-o", schema]));
    steps.run(work.npm("openapi-ts").args([
        "--input",
        "openapi.json",
        "--output",
        "src/gen/hey-api",
        "--no-log-file",
    ]));
    let mut python = work.python("openapi-python-client");
    steps.run(python.args([
        "generate",
        "--path",
        "openapi.json",
        "--output-path",
        "python",
        "--fail-on-warning",
    ]));
    for (name, folder) in [
        ("openapi-typescript", "src/gen/openapi-fetch"),
        ("@hey-api/openapi-ts", "src/gen/hey-api"),
        ("openapi-python-client", "python/portcullis_client"),
    ] {
        let (files, bytes) = size(&work.path(folder));
        say(&format!("{name}: {files} files, {bytes} bytes"));
    }

    say("=== type-checks the clients");
    steps.run(work.npm("tsc").args(["--project", "tsconfig.json"]));
    steps.run(work.npm("tsc").args(["--project", "tsconfig.hey-api.json"]));
    if steps.failures.is_empty() {
        say(
            "tsc: no errors with strict and noUncheckedIndexedAccess; openapi-fetch with exactOptionalPropertyTypes too",
        );
    }
    fs::copy(here().join("flow_python.py"), work.path("python/flow_python.py")).unwrap();
    steps.run(
        work.python("mypy")
            .args(["--strict", "portcullis_client", "flow_python.py"])
            .current_dir(work.path("python")),
    );

    say("=== runs the clients");
    for flow in ["flow_openapi_fetch", "flow_hey_api"] {
        steps.run(work.node(&format!("dist/{flow}.js")).arg(&url));
    }
    steps.run(work.python("python").args(["flow_python.py", &url]).current_dir(work.path("python")));
    let (_, log) = server.terminate();
    let errors: Vec<_> = log.into_iter().filter(|line| line.contains(r#""level":"error""#)).collect();
    steps.failures.extend(errors.into_iter().map(|line| format!("the server logged an error: {line}")));
    steps.failures
}

/// Runs the snippets of the page with tokens of this algorithm. Returns the failures.
fn resource_servers(work: &Work, algorithm: &str) -> Vec<String> {
    say(&format!("=== runs the snippets of docs/resource-servers.md with {algorithm}"));
    let database = Database::sqlite();
    let (server, url) = start(&database, &[("TOKENS__ALGORITHM", algorithm)]);
    let tokens = Tokens::of(&server, &database, &url, algorithm);
    let mut steps = Steps::default();
    snippets::run(work, &url, algorithm, &tokens, &mut steps);
    proxies::run(work, server, &tokens, &mut steps);
    steps.failures
}

/// Starts a server whose public URL is its address.
fn start(database: &Database, settings: &[(&str, &str)]) -> (Server, String) {
    let address = format!("127.0.0.1:{}", free_port());
    let url = format!("http://{address}");
    let mut all = vec![("SERVER__LISTEN", address.as_str()), ("SERVER__PUBLIC_URL", &url)];
    all.extend(settings);
    let server = Server::start_with(database, &all);
    server.wait_until_ready();
    (server, url)
}

/// Returns a port that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// The steps of a run that failed, of which each lets the next ones go on.
#[derive(Default)]
struct Steps {
    failures: Vec<String>,
}

impl Steps {
    fn run(&mut self, command: &mut Command) {
        if let Err(failure) = succeed(command.stdin(Stdio::null())) {
            self.failures.push(failure);
        }
    }

    fn check(&mut self, what: &str, holds: bool) {
        if !holds {
            self.failures.push(what.to_owned());
        }
    }
}

/// The folder with the installed packages and the generated clients.
struct Work {
    folder: PathBuf,
}

impl Work {
    /// Installs the packages unless these versions are installed, and removes what an earlier run generated.
    fn install() -> Result<Self, String> {
        // target/<profile>/examples/clients
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let target = program.ancestors().nth(3).ok_or("the program is not in the target folder")?;
        let work = Self { folder: target.join("clients") };
        let sources = work.path("src");
        for generated in ["src", "dist", "python", "snippets", "proxies"] {
            match fs::remove_dir_all(work.path(generated)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.to_string()),
                _ => {}
            }
        }
        let failed = |error: io::Error| format!("{}: {error}", work.folder.display());
        fs::create_dir_all(&sources).map_err(failed)?;
        for source in fs::read_dir(here()).map_err(failed)?.flatten() {
            let name = source.file_name();
            if name.to_string_lossy().starts_with("flow_") {
                fs::copy(source.path(), sources.join(&name)).map_err(failed)?;
            }
        }
        for name in ["package.json", "tsconfig.json", "tsconfig.hey-api.json"] {
            fs::copy(here().join(name), work.path(name)).map_err(failed)?;
        }

        if work.is_stale("package-lock.json") {
            say("installs the npm packages");
            fs::copy(here().join("package-lock.json"), work.path("package-lock.json")).map_err(failed)?;
            let mut npm = Command::new("npm");
            npm.args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"]).current_dir(&work.folder);
            succeed(&mut npm)
                .map_err(|error| format!("{error}; it needs Node.js 20.19 or later, and the network"))?;
            work.mark("package-lock.json")?;
        }
        if work.is_stale("requirements.txt") {
            say("installs the Python packages");
            let mut venv = Command::new("python3");
            succeed(venv.args(["-m", "venv", "--clear"]).arg(work.path("venv")))
                .map_err(|error| format!("{error}; it needs Python 3.10 or later with venv"))?;
            let mut pip = work.python("python");
            pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"]);
            succeed(pip.arg(here().join("requirements.txt")))
                .map_err(|error| format!("{error}; it needs the network"))?;
            work.mark("requirements.txt")?;
        }
        Ok(work)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Whether the packages of a lock file are not installed.
    fn is_stale(&self, lock: &str) -> bool {
        fs::read(self.path(&format!("installed-{lock}"))).ok() != fs::read(here().join(lock)).ok()
    }

    fn mark(&self, lock: &str) -> Result<(), String> {
        let mark = self.path(&format!("installed-{lock}"));
        fs::copy(here().join(lock), &mark).map_err(|error| format!("{}: {error}", mark.display()))?;
        Ok(())
    }

    /// A program of an npm package.
    fn npm(&self, name: &str) -> Command {
        let mut command = Command::new(self.path("node_modules/.bin").join(name));
        command.current_dir(&self.folder);
        command
    }

    fn node(&self, script: &str) -> Command {
        let mut command = Command::new("node");
        command.arg(script).current_dir(&self.folder);
        command
    }

    /// A program of the virtual environment, which finds the other ones (`ruff`) in its path.
    fn python(&self, name: &str) -> Command {
        let programs = self.path("venv/bin");
        let mut command = Command::new(programs.join(name));
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path =
            std::env::join_paths(std::iter::once(programs).chain(std::env::split_paths(&path))).unwrap();
        command.current_dir(&self.folder).env("PATH", path).env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }
}

fn succeed(command: &mut Command) -> Result<(), String> {
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{command:?} ended with {status}")),
        Err(error) => Err(format!("cannot start {}: {error}", command.get_program().display())),
    }
}

/// Returns the number of files in a folder and their bytes.
fn size(folder: &Path) -> (usize, u64) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.fold((0, 0), |(files, bytes), entry| {
        let (more_files, more_bytes) = match entry.metadata().unwrap() {
            data if data.is_dir() => size(&entry.path()),
            data => (1, data.len()),
        };
        (files + more_files, bytes + more_bytes)
    })
}

/// Returns the folder of this file.
fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients")
}

fn say(line: &str) {
    // A reader that has seen enough may close the pipe.
    let _ = writeln!(io::stdout(), "{line}");
}
