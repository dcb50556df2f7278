//! Checks the limits of the machine before they are reached, because libraries of the server panic beyond them.

use std::sync::RwLock;
use std::thread;

use portcullis_adapters::db::DatabaseUrl;

use crate::cli_error::CliError;
use crate::settings::{InvalidSetting, Settings};

/// Checks that the service can have its threads and files, and returns how many workers there can be: those of the
/// settings, or fewer if the limit of open files is too low. Raises the soft limit of open files to the hard one first.
///
/// # Errors
/// [`CliError::Config`], which names the limit and how to raise it.
pub(crate) fn workers(settings: &Settings) -> Result<usize, CliError> {
    let wanted = settings.server.workers;
    let workers = match open_files() {
        Some(limit) => workers_within(limit, wanted, files_besides_workers(settings))?,
        None => wanted,
    };
    if workers < wanted {
        log::warn!(
            server_workers = wanted, workers;
            "fewer workers than configured are started: raise the limit of open files (ulimit -n) for more"
        );
    }
    let password = settings.password_pool;
    let pool = settings.pool.size as usize;
    check_threads(
        workers + password.hashing_threads.get() + password.threads().get() + pool + OTHER_THREADS,
    )?;
    Ok(workers)
}

/// Checks that a command can have the few threads that it needs.
///
/// # Errors
/// [`CliError::Config`], which names the limit and how to raise it.
pub(crate) fn check_command(settings: &Settings) -> Result<(), CliError> {
    check_threads(settings.password_pool.hashing_threads.get() + OTHER_THREADS)
}

/// Connections get at least as many files as workers do.
fn workers_within(limit: usize, wanted: usize, besides: usize) -> Result<usize, CliError> {
    let workers = limit.saturating_sub(besides) / FILES_PER_WORKER / 2;
    let needed = besides + FEWEST_CONNECTIONS + FILES_PER_WORKER;
    match limit < needed {
        true => Err(InvalidSetting::new(format!(
            "the limit of open files is {limit}, and at least {needed} are needed: raise it (ulimit -n, LimitNOFILE= \
             of systemd, --ulimit nofile= of Docker), or lower database.pool_size"
        ))
        .into()),
        false => Ok(wanted.min(workers.max(1))),
    }
}

fn files_besides_workers(settings: &Settings) -> usize {
    let connections = settings.pool.size as usize;
    OTHER_FILES
        + match settings.database {
            // A database file and its log for each connection.
            DatabaseUrl::Sqlite(_) => 2 * connections,
            DatabaseUrl::Postgres(_) => connections,
        }
}

/// Raises the soft limit of open files to the hard one. Returns the resulting limit; `None` if there is none.
#[cfg(unix)]
fn open_files() -> Option<usize> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let limit = if raised.is_ok() { maximum } else { current };
    limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

#[cfg(not(unix))]
fn open_files() -> Option<usize> {
    None
}

/// Starts as many threads as will be needed, and ends them: no system reports beforehand how many it allows.
fn check_threads(needed: usize) -> Result<(), CliError> {
    let barrier = RwLock::new(());
    let closed = barrier.write();
    thread::scope(|scope| {
        let started = (0..needed).find_map(|started| {
            let thread = thread::Builder::new().spawn_scoped(scope, || drop(barrier.read()));
            thread.err().map(|error| (started, error))
        });
        drop(closed);
        match started {
            None => Ok(()),
            Some((started, error)) => Err(InvalidSetting::new(format!(
                "only {started} of {needed} threads can be started ({error}): raise the limit of processes (ulimit -u, \
                 TasksMax= of systemd, --pids-limit of Docker) or of memory (ulimit -v), or lower server.workers, \
                 hashing.threads and database.pool_size"
            ))
            .into()),
        }
    })
}

/// The files of one worker besides its connections: two of `epoll`, an `eventfd` and a socket for signals.
const FILES_PER_WORKER: usize = 4;

/// Standard streams, the listener, the main event loop, signals, the log, and two connections to the database outside the
/// pool; twice what was counted.
const OTHER_FILES: usize = 48;

/// The fewest connections with which the service is useful.
const FEWEST_CONNECTIONS: usize = 16;

/// Background work, the pool's own threads, the accepting thread, the log.
const OTHER_THREADS: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_follow_the_limit_of_open_files() {
        for (limit, wanted, expected) in [
            (1_024, 2, Some(2)),
            (1_024, 256, Some(117)),
            (4_096, 256, Some(256)),
            (150, 256, Some(8)),
            (104, 16, Some(2)),
            (103, 16, None),
            (64, 16, None),
            (0, 1, None),
            (usize::MAX, 512, Some(512)),
        ] {
            let workers = workers_within(limit, wanted, 84);
            assert_eq!(workers.ok(), expected, "{wanted} within {limit}");
        }
    }

    #[test]
    fn refusal_names_the_limit_and_the_remedy() {
        let Err(CliError::Config(error)) = workers_within(64, 16, 84) else {
            panic!("64 files are not enough")
        };
        let error = error.to_string();
        assert!(error.contains("limit of open files is 64") && error.contains("ulimit -n"), "{error}");
    }

    #[test]
    fn threads_within_the_limit_pass() {
        assert!(check_threads(64).is_ok());
    }
}
