//! Whether the service can do its work, for anybody who asks and as often as they like.
//!
//! A check costs the store a query, and nobody who asks has to show a token. So there is at most one at a time, its
//! outcome holds for a moment, and it has a thread of its own: it neither waits for the work of users nor for a store
//! that is stuck.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use actix_web::rt::time::timeout;
use portcullis_domain::Core;
use portcullis_domain::maintenance::{Check, Maintenance, Readiness};
use portcullis_domain::ports::Clock;
use tokio::sync::Mutex;

use crate::blocking::thread::ThreadPool;
use crate::respond::catalogue::ProblemCode;
use crate::respond::problem::Problem;

/// The outcome of the last check, and the thread for the next.
#[derive(Debug)]
pub(crate) struct LastReadiness {
    /// With when it came, by the clock that nobody sets.
    last: Mutex<Option<(Duration, Readiness)>>,
    pool: ThreadPool,
    maintenance: Maintenance,
    clock: Arc<dyn Clock>,
}

impl LastReadiness {
    /// Nothing is known yet.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub(crate) fn new(core: &Arc<Core>) -> io::Result<Self> {
        Ok(Self {
            last: Mutex::new(None),
            pool: ThreadPool::start("readiness", 1, 1)?,
            maintenance: Maintenance::new(core),
            clock: Arc::clone(core.clock()),
        })
    }

    /// Returns the outcome of the checks. What the store answered is at most [`LASTS`] old.
    ///
    /// # Errors
    /// Fails with [`ProblemCode::NotReady`] if the checks take longer than [`PATIENCE`].
    pub(crate) async fn get(&self) -> Result<Readiness, Problem> {
        self.get_within(PATIENCE).await
    }

    /// Returns whether changes are committed. Never waits for the store.
    pub(crate) fn writes(&self) -> Check {
        self.maintenance.writes()
    }

    async fn get_within(&self, patience: Duration) -> Result<Readiness, Problem> {
        // Time runs out for those in line too, and with whoever is first in it.
        let outcome = timeout(patience, self.last_or_next()).await;
        outcome.unwrap_or_else(|_elapsed| Err(ProblemCode::NotReady.into()))
    }

    async fn last_or_next(&self) -> Result<Readiness, Problem> {
        let mut last = self.last.lock().await;
        if let Some((then, readiness)) = *last
            && self.clock.uptime().saturating_sub(then) < LASTS
        {
            // Only the store's part costs a query. The rest is as fresh as the background tasks keep it.
            let (writes, revocations) = (self.maintenance.writes(), self.maintenance.revocations());
            return Ok(Readiness { writes, revocations, ..readiness });
        }
        let maintenance = self.maintenance.clone();
        let readiness = self.pool.run(move || maintenance.readiness()).await;
        // The thread is still busy with a check that nobody waits for any more.
        let readiness = readiness.map_err(|_busy| Problem::new(ProblemCode::NotReady))?;
        *last = Some((self.clock.uptime(), readiness));
        Ok(readiness)
    }
}

/// How long an outcome holds: balancers ask every few seconds.
const LASTS: Duration = Duration::from_secs(1);

/// How long anybody waits for an answer: balancers give up after a few seconds.
const PATIENCE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::num::NonZeroUsize;
    use std::pin::{Pin, pin};
    use std::sync::Mutex as BlockingMutex;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
    use std::task::{Context, Poll, Waker};

    use actix_web::ResponseError;
    use portcullis_domain::ports::{StoreError, StoreHealth, StoreStatus};
    use portcullis_domain::time::StoreTime;
    use portcullis_testkit::fixtures::NOW;
    use portcullis_testkit::{FaultyStore, FixedClock};

    use super::*;
    use crate::blocking::data::DataPools;

    /// The health of a store. Its checks report their start, wait for a signal to end, and are counted.
    #[derive(Debug)]
    struct StallingHealth {
        checks: Arc<AtomicUsize>,
        started: SyncSender<()>,
        opened: BlockingMutex<Receiver<()>>,
    }

    impl StoreHealth for StallingHealth {
        fn check(&self) -> Result<StoreStatus, StoreError> {
            self.checks.fetch_add(1, Ordering::SeqCst);
            self.started.send(()).unwrap();
            self.opened.lock().unwrap().recv().unwrap();
            Ok(StoreStatus { migrated: true, time: Some(StoreTime { now: NOW, high_water_mark: NOW }) })
        }

        fn check_writes(&self) -> Result<(), StoreError> {
            Ok(())
        }

        fn oldest_write(&self) -> Option<Duration> {
            None
        }
    }

    struct Fixture {
        readiness: LastReadiness,
        clock: Arc<FixedClock>,
        checks: Arc<AtomicUsize>,
        has_started: Receiver<()>,
        open: SyncSender<()>,
    }

    fn fixture() -> Fixture {
        let clock = Arc::new(FixedClock::at(NOW));
        let checks = Arc::new(AtomicUsize::new(0));
        let (started, has_started) = sync_channel(8);
        let (open, opened) = sync_channel(8);
        let health =
            StallingHealth { checks: Arc::clone(&checks), started, opened: BlockingMutex::new(opened) };
        let ports =
            portcullis_domain::Ports { clock: Arc::clone(&clock) as _, ..portcullis_testkit::ports() };
        let ports = FaultyStore::within(ports, |store| FaultyStore { health: Arc::new(health), ..store });
        let core = Core::new(ports, portcullis_domain::AuthConfig::default());
        let readiness = LastReadiness::new(&core).unwrap();
        Fixture { readiness, clock, checks, has_started, open }
    }

    impl Fixture {
        async fn readiness(&self) -> Result<Readiness, Problem> {
            self.readiness.get().await
        }

        async fn readiness_within(&self, patience: Duration) -> Result<Readiness, Problem> {
            self.readiness.get_within(patience).await
        }
    }

    fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[actix_web::test]
    async fn all_who_ask_at_once_share_one_check_and_its_outcome_holds_for_a_second() {
        let fixture = fixture();
        let mut first = pin!(fixture.readiness());
        let mut second = pin!(fixture.readiness());
        assert!(poll(first.as_mut()).is_pending());
        assert!(poll(second.as_mut()).is_pending());
        fixture.open.send(()).unwrap();
        let outcome = first.await.unwrap();
        assert_eq!(second.await.unwrap(), outcome);
        fixture.clock.advance(LASTS - Duration::from_micros(1));
        assert_eq!(fixture.readiness().await.unwrap(), outcome);
        assert_eq!(fixture.checks.load(Ordering::SeqCst), 1);

        fixture.clock.advance(Duration::from_micros(1));
        fixture.open.send(()).unwrap();
        fixture.readiness().await.unwrap();
        assert_eq!(fixture.checks.load(Ordering::SeqCst), 2);
    }

    #[actix_web::test]
    async fn nobody_waits_for_a_store_that_is_stuck() {
        let fixture = fixture();
        let mut stuck = pin!(fixture.readiness());
        assert!(poll(stuck.as_mut()).is_pending());
        fixture.has_started.recv().unwrap();
        for _ in 0..3 {
            let problem = fixture.readiness_within(Duration::ZERO).await.unwrap_err();
            assert_eq!(problem.status_code(), 503);
        }
        assert_eq!(fixture.checks.load(Ordering::SeqCst), 1, "nor does it get more to do");
        fixture.open.send(()).unwrap();
        stuck.await.unwrap();
    }

    #[actix_web::test]
    async fn a_check_does_not_wait_for_the_work_of_users() {
        let fixture = fixture();
        let (leave, left) = sync_channel::<()>(0);
        let pools = DataPools::start(NonZeroUsize::MIN).unwrap();
        let mut busy = pin!(pools.read(move || left.recv().unwrap_err()));
        assert!(poll(busy.as_mut()).is_pending());
        fixture.open.send(()).unwrap();
        assert!(fixture.readiness().await.is_ok());
        drop(leave);
        busy.await.unwrap();
    }
}
