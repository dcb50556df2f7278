//! A primary and a streaming standby, for tests of failover and of commits that wait for a standby.

use std::thread;
use std::time::{Duration, Instant};

use super::{INIT, Manner, PATIENCE, ThrowawayPostgres, USER, binaries, free_port};

/// A primary and its streaming standby, each on a port of 127.0.0.1. Both are [`ThrowawayPostgres`] servers, so a test
/// stops, crashes, kills, freezes and restarts each of them by itself. Dropping the pair removes both. Linux only.
///
/// The standby's data are a copy of the new primary's, made before that starts for the first time, so only `initdb` and
/// `postgres` are needed. The primary keeps its log for the standby in a replication slot.
///
/// ```no_run
/// use portcullis_testkit::postgres::PostgresPair;
///
/// let pair = PostgresPair::start();
/// let name = pair.create_database();
/// let url = pair.url(&name); // names both servers
/// pair.primary().kill();
/// pair.promote_standby();
/// pair.standby().execute(&name, "SELECT pg_is_in_recovery()"); // f
/// ```
#[derive(Debug)]
pub struct PostgresPair {
    primary: ThrowawayPostgres,
    standby: ThrowawayPostgres,
}

impl PostgresPair {
    /// Starts a pair whose commits wait for the standby (`synchronous_standby_names = 'ANY 1 (standby)'`). A promoted
    /// standby waits for no other server.
    ///
    /// # Panics
    /// When one of the servers does not start, with the reason.
    pub fn start() -> Self {
        let pair = Self::start_asynchronous();
        pair.set_synchronous(true);
        pair
    }

    /// Starts a pair whose commits do not wait for the standby.
    ///
    /// # Panics
    /// When one of the servers does not start, with the reason.
    pub fn start_asynchronous() -> Self {
        Self::try_start().unwrap_or_else(|reason| panic!("{reason}"))
    }

    /// Returns the server that starts as the primary.
    pub fn primary(&self) -> &ThrowawayPostgres {
        &self.primary
    }

    /// Returns the server that starts as the standby.
    pub fn standby(&self) -> &ThrowawayPostgres {
        &self.standby
    }

    /// Creates an empty database on the primary and returns its name. The user of the URLs owns it.
    ///
    /// # Panics
    /// When the primary is stopped.
    pub fn create_database(&self) -> String {
        let url = self.primary.create_database();
        ThrowawayPostgres::database_name(&url).to_owned()
    }

    /// Returns a URL of a database that names both servers, the primary first:
    /// `postgres://portcullis@127.0.0.1:43210,127.0.0.1:43211/test_1`. [`ThrowawayPostgres::url`] of one of them
    /// names only that one.
    pub fn url(&self, database: &str) -> String {
        let (primary, standby) = (self.primary.manner.port(), self.standby.manner.port());
        format!("postgres://{USER}@127.0.0.1:{primary},127.0.0.1:{standby}/{database}")
    }

    /// Sets whether commits on the primary wait for the standby, and waits until that applies.
    ///
    /// # Panics
    /// When the primary does not answer, or the standby is not connected.
    pub fn set_synchronous(&self, is_synchronous: bool) {
        let (names, state) = match is_synchronous {
            true => (format!("ANY 1 ({STANDBY})"), "quorum"),
            false => (String::new(), "async"),
        };
        // Two statements in one string would be one transaction, in which this one is not allowed.
        self.primary.execute("postgres", &format!("ALTER SYSTEM SET synchronous_standby_names = '{names}'"));
        self.primary.execute("postgres", "SELECT pg_reload_conf()");
        self.wait_for_standby(state);
    }

    /// Waits until the standby has replayed everything that is in the primary's log now.
    ///
    /// # Panics
    /// When that takes longer than a minute.
    pub fn wait_until_replayed(&self) {
        let written = value(&self.primary, "SELECT pg_current_wal_flush_lsn()");
        let replayed = format!("SELECT pg_last_wal_replay_lsn() >= '{written}'");
        wait_until("the standby has replayed the log", || value(&self.standby, &replayed) == "t");
    }

    /// Freezes only the standby's process that receives the log: the standby answers queries and receives nothing.
    ///
    /// # Panics
    /// When the standby receives nothing already.
    pub fn freeze_walreceiver(&self) {
        let process =
            value(&self.standby, "SELECT pid FROM pg_stat_activity WHERE backend_type = 'walreceiver'");
        self.standby.order(&format!("kill -STOP {process}"));
    }

    /// Lets the process go on that [`Self::freeze_walreceiver`] froze.
    ///
    /// # Panics
    /// When the standby is stopped.
    pub fn thaw_walreceiver(&self) {
        self.standby.thaw();
    }

    /// Freezes only the primary's process that sends the log. What the primary commits from now on is lost with the
    /// primary. (A frozen receiver would still read what the operating system holds for it.)
    ///
    /// # Panics
    /// When the standby is not connected.
    pub fn freeze_walsender(&self) {
        let process = value(&self.primary, "SELECT pid FROM pg_stat_replication");
        self.primary.order(&format!("kill -STOP {process}"));
    }

    /// Lets the process go on that [`Self::freeze_walsender`] froze.
    ///
    /// # Panics
    /// When the primary is stopped.
    pub fn thaw_walsender(&self) {
        self.primary.thaw();
    }

    /// Makes the standby a primary, and waits until it accepts writes.
    ///
    /// # Panics
    /// When it does not answer, or is none.
    pub fn promote_standby(&self) {
        let promoted = value(&self.standby, "SELECT pg_promote()");
        assert_eq!(promoted, "t", "the standby is not promoted; {}", self.standby.log());
    }

    fn try_start() -> Result<Self, String> {
        let programs = binaries::find_or_install()?;
        let port = free_port()?;
        let primary = ThrowawayPostgres::prepare(programs.clone(), Manner::Primary { port })?;
        primary.try_order(INIT)?;
        let manner = Manner::Standby { port: free_port()?, primary: port };
        let standby = ThrowawayPostgres::prepare(programs, manner)?;
        standby.try_order(&format!(r#"cp -R "{}/data" data"#, primary.directory.display()))?;
        standby.make_standby();
        primary.try_start_initialized()?;
        let slot = format!("SELECT pg_create_physical_replication_slot('{STANDBY}')");
        primary.try_execute("postgres", &slot)?;
        standby.try_run()?;
        let pair = Self { primary, standby };
        pair.wait_for_standby("async");
        Ok(pair)
    }

    /// Waits until the standby streams in this state: `async`, or `quorum` if commits wait for it.
    fn wait_for_standby(&self, state: &str) {
        let states =
            "SELECT coalesce(string_agg(state || ' ' || sync_state, ','), '') FROM pg_stat_replication";
        let expected = format!("streaming {state}");
        wait_until(&format!("the standby is {expected}"), || value(&self.primary, states) == expected);
    }
}

/// The settings of a standby of the server on a port.
pub(super) fn standby_settings(primary: u16) -> String {
    // After a break it connects again at once.
    format!(
        "-c primary_conninfo='host=127.0.0.1 port={primary} user=postgres application_name={STANDBY}' \
         -c primary_slot_name={STANDBY} -c wal_retrieve_retry_interval=200ms"
    )
}

/// The single value that a query gives.
fn value(server: &ThrowawayPostgres, sql: &str) -> String {
    let rows = server.execute("postgres", sql);
    rows.into_iter().next().and_then(|row| row.into_iter().next().flatten()).unwrap_or_default()
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        thread::sleep(PAUSE);
    }
}

/// The name of the standby and of its replication slot.
const STANDBY: &str = "standby";

/// Between two checks of a condition.
const PAUSE: Duration = Duration::from_millis(10);
