use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};

use super::{Answer, Client, PATIENCE, Tally};

/// When requests are due.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    /// Requests in a second, evenly.
    pub rate: f64,
    pub length: Duration,
}

impl Schedule {
    /// When the nth request is due, after the start; `None` after the end.
    fn due(&self, n: u32) -> Option<Duration> {
        let due = Duration::from_secs_f64(f64::from(n) / self.rate);
        (due < self.length).then_some(due)
    }
}

/// Sends requests when they are due, each by the next client that is free, and counts the time of each from when it
/// was due: a server, or a load, that falls behind shows. Each client has a thread: sleeping threads wake to a tenth
/// of a millisecond, the timers of an event loop to one.
///
/// # Errors
/// When an answer is not what a client expects; that ends the load.
pub(crate) fn open_loop(server: SocketAddr, clients: Vec<Client>, schedule: Schedule) -> Result<Tally> {
    let next = AtomicU32::new(0);
    let failed = AtomicBool::new(false);
    let mut connections = Vec::new();
    for _ in &clients {
        connections.push(Connection::open(server)?);
    }
    let start = Instant::now();
    let outcomes: Vec<_> = thread::scope(|scope| {
        let clients = clients.into_iter().zip(connections);
        let threads: Vec<_> = clients
            .map(|(client, connection)| {
                let (next, failed) = (&next, &failed);
                scope.spawn(move || {
                    let outcome = drive(client, connection, schedule, start, next, failed);
                    failed.fetch_or(outcome.is_err(), Ordering::Relaxed);
                    outcome
                })
            })
            .collect();
        threads.into_iter().map(thread::ScopedJoinHandle::join).collect()
    });
    let mut tally = Tally { length: schedule.length, ..Tally::default() };
    for outcome in outcomes {
        tally.add(outcome.map_err(|_panic| anyhow!("a client panicked"))??);
    }
    tally.ensure_some()
}

fn drive(
    mut client: Client,
    mut connection: Connection,
    schedule: Schedule,
    start: Instant,
    next: &AtomicU32,
    failed: &AtomicBool,
) -> Result<Tally> {
    let mut tally = Tally::default();
    while let Some(due) = schedule.due(next.fetch_add(1, Ordering::Relaxed)) {
        let due = start + due;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if failed.load(Ordering::Relaxed) {
            break;
        }
        let answer = connection.ask(client.request())?;
        let took = due.elapsed();
        tally.record(client.take(&answer)?, took);
    }
    Ok(tally)
}

/// A connection that blocks.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    is_closing: bool,
}

impl Connection {
    pub(crate) fn open(server: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(server).context("cannot connect")?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: vec![0; BUFFER], is_closing: false })
    }

    /// Sends a request and waits for the answer.
    pub(crate) fn ask(&mut self, request: &[u8]) -> Result<Answer> {
        if self.is_closing {
            *self = Self::open(self.stream.peer_addr()?)?;
        }
        self.stream.write_all(request).context("cannot send a request")?;
        let mut length = 0;
        loop {
            let read = self.stream.read(&mut self.buffer[length..]).context("cannot read an answer")?;
            ensure!(read > 0, "the server closed the connection before it answered");
            length += read;
            if let Some(answer) = Answer::parse(&self.buffer[..length])? {
                self.is_closing = answer.closes;
                return Ok(answer);
            }
        }
    }
}

/// Holds any answer that is asked for here.
const BUFFER: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_due_evenly_until_the_end() {
        let schedule = Schedule { rate: 4.0, length: Duration::from_secs(1) };
        let due: Vec<_> = (0..6).map(|n| schedule.due(n).map(|due| due.as_millis())).collect();
        assert_eq!(due, [Some(0), Some(250), Some(500), Some(750), None, None]);
    }
}
