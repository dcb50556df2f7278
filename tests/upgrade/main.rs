//! What `make test-upgrade` runs: the previous release beside the current version over one PostgreSQL database, under
//! traffic, while it is migrated and the instances are replaced one by one and one back. See
//! `docs/operations/upgrades.md`.
//!
//! With `record` it writes the databases of the last release to `tests/data`, which `tests/e2e/upgrades.rs` upgrades.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "it has nobody to give an error to: where it cannot go on, it says why and ends"
)]

#[path = "../e2e/database.rs"]
#[expect(dead_code, reason = "what only tests need")]
mod database;
mod record;
mod release;
mod rolling;
#[path = "../e2e/server.rs"]
#[expect(dead_code, reason = "what only tests need")]
mod server;
mod traffic;

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Instant;

use release::Release;

fn main() -> ExitCode {
    let begun = Instant::now();
    let release = Release::last();
    say(&format!("builds {} ({})", release.version, release.commit));
    let previous = match release.build() {
        Ok(binary) => binary,
        Err(reason) => {
            say(&format!("cannot build the previous release: {reason}"));
            return ExitCode::FAILURE;
        }
    };
    server::binary();
    say(&format!("both versions are built ({} s)", begun.elapsed().as_secs()));
    match std::env::args().nth(1).as_deref() {
        Some("record") => {
            record::record(&release, &previous);
            ExitCode::SUCCESS
        }
        Some(other) => {
            say(&format!("unknown argument: {other}"));
            ExitCode::from(2)
        }
        None => {
            let failures = rolling::run(&previous);
            for failure in failures.iter().take(20) {
                say(&format!("FAILED: {failure}"));
            }
            say(&format!("{} failures ({} s in all)", failures.len(), begun.elapsed().as_secs()));
            if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
    }
}

fn say(line: &str) {
    // Whoever reads the beginning alone may hang up.
    let _ = writeln!(io::stdout(), "{line}");
}
