//! What the server is compared with: a bare actix-web that says hello, and a plain loop of hashes.

use std::net::SocketAddr;
use std::num::NonZero;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use actix_web::{App, HttpResponse, HttpServer, web};
use anyhow::{Context as _, Result, anyhow};
use serde::Serialize;

use crate::load::get;
use crate::server::{Process, answers, free_address, in_own_session};

/// A running [`serve_hello`], in a process of its own.
#[derive(Debug)]
pub(crate) struct Hello {
    _process: Process,
    pub address: SocketAddr,
}

impl Hello {
    pub(crate) fn start() -> Result<Self> {
        let address = free_address()?;
        let program = std::env::current_exe().context("cannot find this program")?;
        let mut process = Process::spawn(in_own_session(&program).arg("hello").arg(address.to_string()))?;
        let request = Self::request(address);
        process.wait_for(Duration::from_millis(5), Path::new(""), || answers(address, &request))?;
        Ok(Self { _process: process, address })
    }

    pub(crate) fn request(address: SocketAddr) -> Vec<u8> {
        get(address, "/hello")
    }
}

/// Says hello in JSON, on as many threads as the server uses by default, until it is killed.
pub(crate) fn serve_hello(address: SocketAddr) -> Result<()> {
    #[derive(Serialize)]
    struct Message {
        message: &'static str,
    }

    async fn hello() -> HttpResponse {
        HttpResponse::Ok().json(Message { message: "Hello, World!" })
    }

    let server = HttpServer::new(|| App::new().route("/hello", web::get().to(hello)));
    let server = server.workers(cores()).bind(address)?;
    actix_web::rt::System::new().block_on(server.run())?;
    Ok(())
}

/// How many hashes a second this machine makes, with a thread for each core that does nothing else.
pub(crate) fn raw_hashes(cost: u32, length: Duration) -> Result<f64> {
    let rates: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..cores()).map(|_| scope.spawn(|| hash_for(cost, length))).collect();
        threads.into_iter().map(thread::ScopedJoinHandle::join).collect()
    });
    let mut sum = 0.0;
    for rate in rates {
        sum += rate.map_err(|_panic| anyhow!("a hash panicked"))??;
    }
    Ok(sum)
}

/// The rate of one thread, over whole hashes.
fn hash_for(cost: u32, length: Duration) -> Result<f64> {
    let begun = Instant::now();
    let mut hashes = 0;
    while begun.elapsed() < length {
        bcrypt::hash_with_salt(PASSWORD, cost, SALT)?;
        hashes += 1;
    }
    Ok(f64::from(hashes) / begun.elapsed().as_secs_f64())
}

/// The processors that this process may use.
pub(crate) fn cores() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

/// As long as the value that bcrypt-sha256 gives to bcrypt.
const PASSWORD: [u8; 44] = *b"TlNJbnRoZWJlZ2lubmluZ3dhc3RoZXBhc3N3b3JkAA==";

const SALT: [u8; 16] = *b"any sixteen will";
