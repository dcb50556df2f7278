//! What a server holds in memory.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow};

use crate::baseline::cores;
use crate::report::{Goal, Row, Unit};
use crate::server::Server;
use crate::statistics::count;

/// Does the work, and returns what came of it and the most memory the server held meanwhile.
pub(crate) fn highest_during<T>(server: &Server, work: impl FnOnce() -> T) -> (T, Result<f64>) {
    thread::scope(|scope| {
        let (done, is_done) = mpsc::channel::<()>();
        let watch = scope.spawn(move || {
            let mut highest = server.memory()?;
            while is_done.recv_timeout(PAUSE) == Err(RecvTimeoutError::Timeout) {
                highest = highest.max(server.memory()?);
            }
            Ok(highest)
        });
        let outcome = work();
        drop(done);
        (outcome, watch.join().unwrap_or_else(|_panic| Err(anyhow!("the watch panicked"))))
    })
}

/// The row of P8, idle.
pub(crate) fn idle_row(measured: Vec<Result<f64>>) -> Row {
    row("P8", "memory (PSS) after 10 s of idleness", measured, IDLE)
}

/// The row of a load that hashes with bcrypt.
pub(crate) fn load_row(id: &'static str, what: &'static str, measured: Vec<Result<f64>>) -> Row {
    row(id, what, measured, IDLE + BCRYPT * count(cores()))
}

fn row(id: &'static str, what: &'static str, measured: Vec<Result<f64>>, most: f64) -> Row {
    match measured.into_iter().collect() {
        Ok(measured) => Row::new(id, what, Unit::Mebibytes, measured).goal(Goal::AtMost(most)),
        Err(why) => Row::unmeasured(id, &why),
    }
}

/// MiB that a server may hold before it hashes.
const IDLE: f64 = 20.0;

/// MiB that a hash takes.
const BCRYPT: f64 = 4.0 / 1024.0;

/// How often it is looked at: seldom enough that looking costs nothing.
const PAUSE: Duration = Duration::from_millis(500);
