//! Prints what the service makes of each requirement: see `docs/security/README.md`.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "it has nobody to give an error to, and nothing to do but to print"
)]

#[path = "scoreboard.rs"]
mod scoreboard;

use std::io::{self, Write as _};
use std::process::ExitCode;

use scoreboard::Scoreboard;

fn main() -> ExitCode {
    let board = Scoreboard::read();
    let faults = board.faults();
    // Whoever reads the beginning alone may hang up.
    let _ = write!(io::stdout(), "{board}");
    for fault in &faults {
        let _ = writeln!(io::stdout(), "FAULT {fault}");
    }
    ExitCode::from(u8::from(!faults.is_empty()))
}
