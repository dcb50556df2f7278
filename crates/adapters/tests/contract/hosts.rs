//! URLs with several hosts: which of them a connection leads to, and how long that takes.

use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use portcullis_adapters::db::{
    Database, DatabaseUrl, Deployment, MigrationStatus, Migrations, PoolConfig, PrepareError,
};
use portcullis_domain::audit::{AuditLog, EventKind};
use portcullis_domain::ports::{StoreErrorKind, StoreHealth};
use portcullis_domain::session::SessionStore;
use portcullis_testkit::SeededRandom;
use portcullis_testkit::fixtures::{NOW, event};
use portcullis_testkit::postgres::{BlackHole, PostgresPair, ThrowawayPostgres};

use crate::stores::KEY;

fn database(url: &str) -> Database {
    Database::new(DatabaseUrl::parse(url).unwrap(), PoolConfig::default())
}

/// A URL whose first host swallows packets, and the host.
fn behind_black_hole(server: &ThrowawayPostgres) -> (BlackHole, String) {
    let hole = BlackHole::start();
    let url = server.create_database();
    let url = url.replace("host=", "host=127.0.0.1,").replace("port=", &format!("port={},", hole.port()));
    (hole, url)
}

/// Uses every connection of the pool at once and returns how long that took.
fn fill_pool(database: &Database) -> Duration {
    static SEED: AtomicU64 = AtomicU64::new(0);
    let begun = Instant::now();
    let size = PoolConfig::default().size as usize;
    let together = Barrier::new(size);
    let random = SeededRandom::new(SEED.fetch_add(1, Ordering::Relaxed));
    std::thread::scope(|scope| {
        for _ in 0..size {
            scope.spawn(|| {
                together.wait();
                // A call waits for a connection only so long.
                while database.record_event(&event(EventKind::UserRegistered, NOW, &random)).is_err() {
                    assert!(begun.elapsed() < Duration::from_mins(1), "the pool does not fill");
                }
            });
        }
    });
    begun.elapsed()
}

///
#[test]
fn a_pool_fills_beside_a_black_holed_first_host() {
    let (_hole, url) = behind_black_hole(ThrowawayPostgres::shared());
    let database = database(&url);
    let begun = Instant::now();
    database.prepare(KEY, &[]).unwrap();
    let prepared = begun.elapsed();
    let filled = fill_pool(&database);
    let begun = Instant::now();
    database.session_changes(None, NOW, 1).unwrap();
    let watched = begun.elapsed();
    assert!(prepared + filled < Duration::from_secs(15), "{prepared:?} {filled:?}");
    // The timeout of the dead host was waited out once, by the preparation.
    let is_once = prepared >= LEAST_TIMEOUT && filled < LEAST_TIMEOUT && watched < LEAST_TIMEOUT;
    assert!(is_once, "{prepared:?} {filled:?} {watched:?}");
}

/// Every connection begins at the host that answered last, which then swallows packets.
#[test]
fn a_pool_refills_after_its_host_turned_into_a_black_hole() {
    let pair = PostgresPair::start();
    let name = pair.create_database();
    let database = database(&pair.url(&name));
    database.prepare(KEY, &[]).unwrap();
    fill_pool(&database);
    pair.primary().kill();
    let _hole = BlackHole::on_port(port(&pair.primary().url(&name))).unwrap();
    pair.promote_standby();
    let refilled = fill_pool(&database);
    assert!(refilled >= LEAST_TIMEOUT && refilled < Duration::from_secs(15), "{refilled:?}");
    assert!(fill_pool(&database) < LEAST_TIMEOUT);
}

#[test]
fn standbys_are_skipped_unless_no_host_is_a_primary() {
    let pair = PostgresPair::start();
    let name = pair.create_database();
    let [primary, standby] = [pair.primary(), pair.standby()].map(|server| port(&server.url(&name)));
    let url = format!("postgres://portcullis@127.0.0.1:{standby},127.0.0.1:{primary}/{name}");
    let database = database(&url);
    database.prepare(KEY, &[]).unwrap();
    database.check_writes().unwrap();
    assert!(fill_pool(&database) < Duration::from_secs(15));
    pair.wait_until_replayed();

    pair.primary().kill();
    let other = self::database(&url);
    let error = other.prepare(KEY, &[]).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, PrepareError::Unreachable(_)), "{text}");
    assert!(text.contains(&format!("127.0.0.1:{standby} is a standby")), "{text}");
    // What only reads may do so.
    Deployment::at(other.url()).check_exists().unwrap();
    assert!(
        Migrations::of(other.url())
            .states()
            .unwrap()
            .iter()
            .all(|state| state.status == MigrationStatus::Applied)
    );

    pair.promote_standby();
    other.prepare(KEY, &[]).unwrap();
    assert!(fill_pool(&database) < Duration::from_secs(15), "the older instance follows");
}

/// After a promotion the old primary comes back and accepts changes, as one does that no cluster manager stops.
#[test]
fn an_old_primary_that_comes_back_is_skipped() {
    let pair = PostgresPair::start_asynchronous();
    let name = pair.create_database();
    let url = pair.url(&name);
    let running = database(&url);
    running.prepare(KEY, &[]).unwrap();
    pair.wait_until_replayed();
    pair.primary().kill();
    pair.promote_standby();
    fill_pool(&running);
    pair.primary().restart();

    let started_later = database(&url);
    started_later.prepare(KEY, &[]).unwrap();
    for database in [&running, &started_later] {
        fill_pool(database);
        database.session_changes(None, NOW, 1).unwrap();
    }
    let count = "SELECT count(*) FROM security_events";
    let events = |server: &ThrowawayPostgres| server.execute(&name, count)[0][0].clone().unwrap();
    assert_eq!(events(pair.primary()), "0", "nothing went to the old primary");
    assert_eq!(events(pair.standby()), "48");

    // Not even if it is the only one left.
    pair.standby().kill();
    let error = running
        .record_event(&event(EventKind::UserRegistered, NOW, &SeededRandom::new(u64::MAX)))
        .unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    let text = started_later.prepare(KEY, &[]).unwrap_err().to_string();
    assert!(text.contains("is an old primary, on an earlier timeline"), "{text}");
}

#[test]
fn a_primary_that_only_reads_is_used_if_no_other_accepts_changes() {
    let pair = PostgresPair::start_asynchronous();
    let name = pair.create_database();
    let database = database(&pair.url(&name));
    database.prepare(KEY, &[]).unwrap();
    let set = format!("ALTER DATABASE {name} SET default_transaction_read_only = on");
    pair.primary().execute("postgres", &set);
    pair.wait_until_replayed();
    let reader = self::database(&pair.url(&name));
    // Nothing is pending, so the preparation only reads.
    reader.prepare(KEY, &[]).unwrap();
    reader.session_changes(None, NOW, 1).unwrap();
    reader.check_writes().unwrap_err();
}

fn port(url: &str) -> u16 {
    url.rsplit_once(':').unwrap().1.split_once('/').unwrap().0.parse().unwrap()
}

/// What a dead host costs at least: libpq counts the 3 seconds of `connect_timeout` in whole ones.
const LEAST_TIMEOUT: Duration = Duration::from_secs(2);
