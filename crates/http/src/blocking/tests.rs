//! The pools, with jobs that tests start and stop.

use std::future::Future;
use std::io;
use std::num::NonZeroUsize;
use std::pin::pin;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use portcullis_testkit::SeededRandom;
use portcullis_testkit::fixtures::NOW;

use super::BlockingError;
use super::data::{DataPools, LONGEST_WAIT, LONGEST_WORK, takes_too_long};
use super::queue::Bounds;
use super::thread::{ThreadPool, Turn};
use crate::limit::in_flight::Class;
use crate::request_id::{self, RequestIds, current_request_id};

/// A job that tells when it starts and ends when it is told.
fn gate() -> (impl FnOnce() -> &'static str + Send + 'static, Receiver<()>, SyncSender<()>) {
    let (started, has_started) = sync_channel(1);
    let (open, opened) = sync_channel(1);
    let work = move || {
        started.send(()).unwrap();
        opened.recv().unwrap();
        "done"
    };
    (work, has_started, open)
}

fn pool_of(threads: usize, capacity: usize) -> io::Result<ThreadPool> {
    ThreadPool::start("test", threads, capacity)
}

/// Polls once: enough for a job to take its place in the line.
fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[actix_web::test]
async fn a_full_queue_refuses_before_anything_runs() {
    let pool = pool_of(1, 1).unwrap();
    let (work, has_started, open) = gate();
    let mut running = pin!(pool.run(work));
    assert!(poll(running.as_mut()).is_pending());
    has_started.recv().unwrap();
    let mut waiting = pin!(pool.run(|| "second"));
    assert!(poll(waiting.as_mut()).is_pending());

    let refused = pool.run(|| -> &str { panic!("must not run") }).await;
    assert_eq!(refused, Err(BlockingError::Overloaded));

    open.send(()).unwrap();
    assert_eq!(running.await, Ok("done"));
    assert_eq!(waiting.await, Ok("second"));
}

/// However long they take to wake up.
#[actix_web::test]
async fn as_many_as_there_are_threads_and_waiting_permits_are_taken_on_at_once() {
    let pool = pool_of(4, 1).unwrap();
    let (open, opened) = sync_channel::<()>(0);
    let opened = Arc::new(Mutex::new(opened));
    let job = || {
        let opened = Arc::clone(&opened);
        // It ends when the sender is dropped.
        pool.run(move || opened.lock().unwrap().recv().is_err())
    };
    let mut taken_on: Vec<_> = (0..5).map(|_| Box::pin(job())).collect();
    assert!(taken_on.iter_mut().all(|job| poll(job.as_mut()).is_pending()));
    assert_eq!(job().await, Err(BlockingError::Overloaded));
    drop(open);
    for job in taken_on {
        assert_eq!(job.await, Ok(true));
    }
}

#[actix_web::test]
async fn a_job_whose_client_left_never_runs() {
    let pool = pool_of(1, 2).unwrap();
    let (work, has_started, open) = gate();
    let mut running = pin!(pool.run(work));
    assert!(poll(running.as_mut()).is_pending());
    has_started.recv().unwrap();

    let (ran, has_run) = sync_channel(1);
    {
        let mut leaving = pin!(pool.run(move || ran.send(()).unwrap()));
        assert!(poll(leaving.as_mut()).is_pending());
    }
    open.send(()).unwrap();
    assert_eq!(running.await, Ok("done"));
    assert_eq!(pool.run(|| "next").await, Ok("next"));
    assert!(has_run.recv().is_err(), "it was dropped, and its sender with it");
}

#[actix_web::test]
async fn a_panic_is_its_jobs_own() {
    let pool = pool_of(1, 1).unwrap();
    assert_eq!(pool.run(|| panic!("on purpose")).await, Err::<(), _>(BlockingError::Panicked));
    assert_eq!(pool.run(|| "alive").await, Ok("alive"));
}

#[actix_web::test]
async fn a_panic_on_the_data_pool_is_its_jobs_own() {
    let pool = pool_of(1, 1).unwrap();
    let panicked =
        pool.run_within(LONGEST_WAIT, takes_too_long, Class::Recognized, || panic!("on purpose")).await;
    assert_eq!(panicked, Err::<(), _>(BlockingError::Panicked));
    assert_eq!(in_time(&pool, || "alive").await, Ok("alive"));
}

/// Does `work` as the data pool does it.
async fn in_time<T: Send + 'static>(
    pool: &ThreadPool,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, BlockingError> {
    pool.run_within(LONGEST_WAIT, takes_too_long, Class::Recognized, work).await
}

#[actix_web::test]
async fn a_full_data_pool_refuses_before_anything_runs() {
    let pool = pool_of(1, 1).unwrap();
    let (work, has_started, open) = gate();
    let mut running = pin!(in_time(&pool, work));
    assert!(poll(running.as_mut()).is_pending());
    has_started.recv().unwrap();
    let mut waiting = pin!(in_time(&pool, || "second"));
    assert!(poll(waiting.as_mut()).is_pending());

    let refused = in_time(&pool, || -> &str { panic!("must not run") }).await;
    assert_eq!(refused, Err(BlockingError::Overloaded));

    open.send(()).unwrap();
    assert_eq!(running.await, Ok("done"));
    assert_eq!(waiting.await, Ok("second"));
    assert_eq!(in_time(&pool, || "third").await, Ok("third"), "and has room again");
}

#[actix_web::test]
async fn what_waits_too_long_for_the_data_pool_is_given_up() {
    let pool = pool_of(1, 7).unwrap();
    let (work, has_started, open) = gate();
    let mut running = pin!(in_time(&pool, work));
    assert!(poll(running.as_mut()).is_pending());
    has_started.recv().unwrap();

    let (ran, has_run) = sync_channel(1);
    let given_up = pool
        .run_within(Duration::ZERO, takes_too_long, Class::Recognized, move || ran.send(()).unwrap())
        .await;
    assert_eq!(given_up, Err(BlockingError::Overloaded));

    open.send(()).unwrap();
    assert_eq!(running.await, Ok("done"));
    assert_eq!(in_time(&pool, || "next").await, Ok("next"));
    assert!(has_run.recv().is_err(), "it was dropped, and its sender with it");
}

#[actix_web::test]
async fn unfinished_job_is_answered_and_goes_on() {
    let pool = pool_of(1, 7).unwrap();
    let (work, has_started, open) = gate();
    let (finished, has_finished) = sync_channel(1);
    let job = move || {
        work();
        finished.send(()).unwrap();
    };
    let asked = Instant::now();
    let gives_up = |age| age >= Duration::from_millis(300);
    let outcome = pool.run_within(LONGEST_WAIT, gives_up, Class::Recognized, job).await;
    assert_eq!(outcome, Err(BlockingError::Unfinished));
    assert!(asked.elapsed() < LONGEST_WAIT, "{:?}", asked.elapsed());
    has_started.recv().unwrap();
    open.send(()).unwrap();
    has_finished.recv().unwrap();
    assert_eq!(in_time(&pool, || "next").await, Ok("next"), "its thread is free again");
}

#[actix_web::test]
async fn reads_go_on_while_every_write_hangs() {
    let pools = DataPools::start(NonZeroUsize::MIN).unwrap();
    let (work, has_started, open) = gate();
    let mut hanging = pin!(pools.write(work));
    assert!(poll(hanging.as_mut()).is_pending());
    has_started.recv().unwrap();
    assert_eq!(pools.read(|| "read").await, Ok("read"));
    assert_eq!(pools.check_login(|| "checked").await, Ok("checked"));
    open.send(()).unwrap();
    assert_eq!(hanging.await, Ok("done"));
}

#[test]
fn callers_give_up_after_the_longest_work() {
    assert!(!takes_too_long(LONGEST_WORK - Duration::from_millis(1)) && takes_too_long(LONGEST_WORK));
}

#[test]
fn what_has_begun_on_the_data_pool_is_not_dropped() {
    let (thread, request) = (Turn::default(), Turn::default());
    let waiting = thread.clone();
    assert!(thread.begin());
    assert!(!waiting.take(), "it has begun, and cannot be given up");
    let job = request.clone();
    drop(request);
    assert!(!job.begin(), "no caller waits, so it does not begin");
}

#[actix_web::test]
async fn a_data_job_whose_client_left_never_runs() {
    let pool = pool_of(1, 7).unwrap();
    let (work, has_started, open) = gate();
    let mut running = pin!(in_time(&pool, work));
    assert!(poll(running.as_mut()).is_pending());
    has_started.recv().unwrap();

    let (ran, has_run) = sync_channel(1);
    {
        let mut leaving = pin!(in_time(&pool, move || ran.send(()).unwrap()));
        assert!(poll(leaving.as_mut()).is_pending());
    }
    open.send(()).unwrap();
    assert_eq!(running.await, Ok("done"));
    assert_eq!(in_time(&pool, || "next").await, Ok("next"));
    assert!(has_run.recv().is_err(), "it was dropped, and its sender with it");
}

#[actix_web::test]
async fn closing_finishes_what_runs_and_refuses_what_waits() {
    let pool = pool_of(1, 2).unwrap();
    let (work, has_started, open) = gate();
    let mut running = pin!(pool.run(work));
    assert!(poll(running.as_mut()).is_pending());
    has_started.recv().unwrap();
    let mut waiting = pin!(pool.run(|| -> &str { panic!("must not run") }));
    assert!(poll(waiting.as_mut()).is_pending());

    pool.close();
    assert_eq!(waiting.await, Err(BlockingError::Overloaded));
    assert_eq!(pool.run(|| "late").await, Err(BlockingError::Overloaded));
    open.send(()).unwrap();
    assert_eq!(running.await, Ok("done"));
}

#[actix_web::test]
async fn dropping_waits_for_what_runs() {
    let pool = pool_of(1, 1).unwrap();
    let (work, has_started, open) = gate();
    let (finished, has_finished) = sync_channel(1);
    {
        let mut running = pin!(pool.run(move || {
            work();
            finished.send(()).unwrap();
        }));
        assert!(poll(running.as_mut()).is_pending());
        has_started.recv().unwrap();
    }
    open.send(()).unwrap();
    drop(pool);
    assert!(has_finished.try_recv().is_ok());
}

/// Threads of which anonymous jobs may use all but one.
fn reserving(threads: usize, capacity: usize) -> ThreadPool {
    let bounds = Bounds { recognized: capacity, anonymous: capacity, anonymous_running: threads - 1 };
    ThreadPool::start_with("test", threads, bounds).unwrap()
}

#[actix_web::test]
async fn recognized_job_runs_beside_a_full_anonymous_queue() {
    let pool = reserving(2, 3);
    let (work, has_started, open) = gate();
    let mut running = pin!(check(&pool, work));
    assert!(poll(running.as_mut()).is_pending());
    has_started.recv().unwrap();
    let mut waiting: Vec<_> = (0..2).map(|_| Box::pin(check(&pool, || "waited"))).collect();
    assert!(waiting.iter_mut().all(|job| poll(job.as_mut()).is_pending()));
    let refused = check(&pool, || "refused").await;
    assert_eq!(refused, Err(BlockingError::Overloaded));

    assert_eq!(in_time(&pool, || "served").await, Ok("served"));
    assert!(waiting.iter_mut().all(|job| poll(job.as_mut()).is_pending()));

    open.send(()).unwrap();
    assert_eq!(running.await, Ok("done"));
    for job in waiting {
        assert_eq!(job.await, Ok("waited"));
    }
}

#[actix_web::test]
async fn both_classes_are_served_to_the_last_job() {
    let pool = reserving(3, 200);
    let jobs = (0..300).map(|n| {
        let class = if n % 3 == 0 { Class::Recognized } else { Class::Anonymous };
        Box::pin(pool.run_within(LONGEST_WAIT, takes_too_long, class, move || n))
    });
    let mut jobs: Vec<_> = jobs.collect();
    // All are queued before any is awaited.
    let done: Vec<_> = jobs.iter_mut().map(|job| poll(job.as_mut())).collect();
    for (n, (job, done)) in jobs.into_iter().zip(done).enumerate() {
        let outcome = match done {
            Poll::Ready(outcome) => outcome,
            Poll::Pending => job.await,
        };
        assert_eq!(outcome, Ok(n));
    }
}

/// A data pool of two threads that runs one check before a login at a time.
fn checking(checks: usize) -> ThreadPool {
    let bounds = Bounds { recognized: 8, anonymous: checks, anonymous_running: 1 };
    ThreadPool::start_with("test", 2, bounds).unwrap()
}

/// Does `work` as a check before a login.
async fn check<T: Send + 'static>(
    pool: &ThreadPool,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, BlockingError> {
    pool.run_within(LONGEST_WAIT, takes_too_long, Class::Anonymous, work).await
}

#[actix_web::test]
async fn login_checks_run_a_few_at_a_time_in_order() {
    let pool = checking(3);
    let (work, has_started, open) = gate();
    let mut running = pin!(check(&pool, work));
    assert!(poll(running.as_mut()).is_pending());
    has_started.recv().unwrap();
    let mut waiting: Vec<_> = (0..2).map(|n| Box::pin(check(&pool, move || n))).collect();
    assert!(waiting.iter_mut().all(|check| poll(check.as_mut()).is_pending()));
    assert_eq!(check(&pool, || 9).await, Err(BlockingError::Overloaded), "all permits are taken");
    assert_eq!(in_time(&pool, || "other work").await, Ok("other work"), "the data pool is not");

    open.send(()).unwrap();
    assert_eq!(running.await, Ok("done"));
    for (n, check) in waiting.into_iter().enumerate() {
        assert_eq!(check.await, Ok(n));
    }
    assert_eq!(check(&pool, || 9).await, Ok(9), "and there is room again");
}

#[actix_web::test]
async fn login_check_without_a_turn_is_given_up() {
    let pool = checking(8);
    let (work, has_started, open) = gate();
    let mut running = pin!(check(&pool, work));
    assert!(poll(running.as_mut()).is_pending());
    has_started.recv().unwrap();
    let must_not_run = || -> &str { panic!("must not run") };
    let given_up = pool.run_within(Duration::ZERO, takes_too_long, Class::Anonymous, must_not_run).await;
    assert_eq!(given_up, Err(BlockingError::Overloaded));
    open.send(()).unwrap();
    assert_eq!(running.await, Ok("done"));
}

#[actix_web::test]
async fn jobs_of_every_pool_know_their_request() {
    let pool = pool_of(1, 1).unwrap();
    let id = RequestIds::new(&SeededRandom::new(1)).next(NOW);
    request_id::scope(id, async {
        assert_eq!(pool.run(current_request_id).await, Ok(Some(id)));
        let data = DataPools::start(NonZeroUsize::MIN).unwrap();
        assert_eq!(data.read(current_request_id).await, Ok(Some(id)));
        assert_eq!(data.write(current_request_id).await, Ok(Some(id)));
    })
    .await;
    assert_eq!(pool.run(current_request_id).await, Ok(None), "and leave it again");
}
