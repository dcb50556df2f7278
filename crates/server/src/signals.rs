//! Signals: those that ask the process to stop, and those that it must outlive.

use std::io;
#[cfg(unix)]
use std::task::Poll;

use actix_web::rt::signal;

/// The signals that ask a process to stop. SIGHUP does not if it was ignored at the start, as under `nohup`.
#[cfg(unix)]
pub(crate) struct Signals(Vec<signal::unix::Signal>);

#[cfg(unix)]
impl Signals {
    pub(crate) fn listen() -> io::Result<Self> {
        use signal::unix::{SignalKind, signal};

        let mut kinds = vec![SignalKind::terminate(), SignalKind::interrupt(), SignalKind::quit()];
        if !is_ignored(SignalKind::hangup().as_raw_value()) {
            kinds.push(SignalKind::hangup());
        }
        kinds.into_iter().map(signal).collect::<io::Result<_>>().map(Self)
    }

    pub(crate) async fn next(&mut self) {
        std::future::poll_fn(|context| {
            // All are polled, so that each wakes this task.
            let came = self.0.iter_mut().filter_map(|signal| match signal.poll_recv(context) {
                Poll::Ready(_) => Some(()),
                Poll::Pending => None,
            });
            if came.count() > 0 { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

#[cfg(not(unix))]
pub(crate) struct Signals;

#[cfg(not(unix))]
impl Signals {
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self)
    }

    pub(crate) async fn next(&mut self) {
        if let Err(error) = signal::ctrl_c().await {
            log::error!("cannot wait for Ctrl-C: {error}");
        }
    }
}

/// Makes a write beyond the size limit of files (`ulimit -f`, `LimitFSIZE=`) fail, as on a full disk. By default the signal
/// ends the process, so a log file that reaches the limit would stop the service.
#[cfg(unix)]
pub(crate) fn outlive_full_files() -> io::Result<()> {
    // The handler stays after this receiver is dropped.
    signal::unix::signal(signal::unix::SignalKind::from_raw(SIGXFSZ)).map(drop)
}

/// Whether the process was started with a signal ignored, as `nohup` does with SIGHUP. Works on Linux; elsewhere no signal
/// counts as ignored.
#[cfg(unix)]
pub(crate) fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    u32::try_from(signal - 1).is_ok_and(|bit| ignored.checked_shr(bit).is_some_and(|mask| mask & 1 == 1))
}

/// The signal's number (`signal(7)`), except on MIPS and PA-RISC.
#[cfg(unix)]
const SIGXFSZ: i32 = 25;
