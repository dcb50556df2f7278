//! Prints what the service makes of each requirement: see `docs/security/README.md`.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "it has nobody to give an error to, and nothing to do but to print"
)]

#[path = "scoreboard.rs"]
mod scoreboard;

use std::process::ExitCode;

use scoreboard::Scoreboard;

fn main() -> ExitCode {
    let board = Scoreboard::read();
    print!("{board}");
    let faults = board.faults();
    for fault in &faults {
        println!("FAULT {fault}");
    }
    ExitCode::from(u8::from(!faults.is_empty()))
}
