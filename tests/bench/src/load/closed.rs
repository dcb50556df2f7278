use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::{Answer, Client, PATIENCE, Tally};

/// How long a load lasts: what is answered in the warm-up is not counted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub warm_up: Duration,
    pub length: Duration,
}

/// Lets every client send its next request as soon as the last one is answered (or when it was told), each over a connection of its own.
///
/// # Errors
/// When an answer is not what a client expects; that ends the load.
pub(crate) fn closed_loop(server: SocketAddr, clients: Vec<Client>, window: Window) -> Result<Tally> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut tally = runtime.block_on(run(server, clients, window))?;
    tally.length = window.length;
    tally.ensure_some()
}

async fn run(server: SocketAddr, clients: Vec<Client>, window: Window) -> Result<Tally> {
    let mut streams = Vec::new();
    for _ in &clients {
        streams.push(connect(server).await?);
    }
    let begin = Instant::now() + window.warm_up;
    let end = begin + window.length;
    let mut tasks = JoinSet::new();
    let mut ledgers = Vec::new();
    for (client, stream) in clients.into_iter().zip(streams) {
        let ledger = Arc::new(Mutex::new(Ledger::default()));
        ledgers.push(Arc::clone(&ledger));
        tasks.spawn(drive(client, stream, ledger, begin, end));
    }
    // A client ends before the time is up only by an error.
    while let Ok(Some(ended)) = timeout_at(end, tasks.join_next()).await {
        ended??;
    }
    tasks.shutdown().await;
    let mut tally = Tally::default();
    for ledger in ledgers {
        let mut ledger = lock(&ledger);
        tally.waiting.extend(ledger.sent.map(|sent| end.duration_since(sent)));
        tally.add(std::mem::take(&mut ledger.tally));
    }
    Ok(tally)
}

/// What one client has to show, also when it is stopped in the middle of a request.
#[derive(Debug, Default)]
struct Ledger {
    tally: Tally,
    /// When the request was sent that has no answer yet.
    sent: Option<Instant>,
}

async fn drive(
    mut client: Client,
    mut stream: TcpStream,
    ledger: Arc<Mutex<Ledger>>,
    begin: Instant,
    end: Instant,
) -> Result<()> {
    let mut buffer = Vec::with_capacity(BUFFER);
    loop {
        let sent = Instant::now();
        if sent >= end {
            return Ok(());
        }
        lock(&ledger).sent = Some(sent);
        stream.write_all(client.request()).await.context("cannot send a request")?;
        let answer = read(&mut stream, &mut buffer).await?;
        let answered = Instant::now();
        let meaning = client.take(&answer)?;
        lock(&ledger).sent = None;
        if answered >= begin && answered < end {
            lock(&ledger).tally.record(meaning, answered - sent);
        }
        let pause = client.pause(meaning);
        if let Some(pause) = pause {
            sleep_until(end.min(answered + pause)).await;
        }
        // Who comes back later comes on a new connection: the server may have closed the other.
        if answer.closes || pause.is_some() {
            stream = connect(stream.peer_addr()?).await?;
        }
    }
}

async fn connect(server: SocketAddr) -> Result<TcpStream> {
    let stream = timeout(PATIENCE, TcpStream::connect(server)).await.context("no connection")?;
    let stream = stream.context("cannot connect")?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn read(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Result<Answer> {
    buffer.clear();
    loop {
        let read = stream.read_buf(buffer).await.context("cannot read an answer")?;
        ensure!(read > 0, "the server closed the connection before it answered");
        if let Some(answer) = Answer::parse(buffer)? {
            return Ok(answer);
        }
    }
}

fn lock(ledger: &Mutex<Ledger>) -> MutexGuard<'_, Ledger> {
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Holds most answers; it grows for others.
const BUFFER: usize = 4096;
