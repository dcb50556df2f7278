use std::path::PathBuf;
use std::sync::mpsc::{Sender, channel};
use std::thread;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use portcullis_domain::ports::StoreErrorKind;
use tempfile::TempDir;

use super::*;
use crate::db::DatabaseUrl;
use crate::db::transaction::LONGEST_TRANSACTION;

diesel::table! {
    marks (mark) {
        mark -> BigInt,
    }
}

/// A file with one table of unique marks, of which those above 100 must have a parent by the commit.
struct File {
    _folder: TempDir,
    path: PathBuf,
    writers: GroupCommit,
}

impl File {
    fn new(most_parts: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        let mut writers = GroupCommit::new(NonZeroU32::new(most_parts).unwrap());
        writers.longest_gathering = LONGEST_WAIT;
        writers.queue = WriterQueue::new(LONGEST_WAIT);
        let file = Self { _folder: folder, path, writers };
        file.connect()
            .batch_execute(
                "CREATE TABLE parents (id INTEGER PRIMARY KEY);
                 CREATE TABLE marks (
                    mark INTEGER PRIMARY KEY,
                    parent INTEGER AS (CASE WHEN mark > 100 THEN mark END)
                        REFERENCES parents DEFERRABLE INITIALLY DEFERRED
                 )",
            )
            .unwrap();
        file
    }

    fn connect(&self) -> AnyConnection {
        AnyConnection::connect(&DatabaseUrl::Sqlite(self.path.clone())).unwrap()
    }

    fn write<T>(
        &self,
        work: impl FnOnce(&mut AnyConnection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.writers.write(Instant::now(), || Ok(self.connect()), work)
    }

    fn state<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut AnyConnection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.writers.statement(Instant::now(), || Ok(self.connect()), work)
    }

    fn mark(&self, mark: i64) -> Result<(), StoreError> {
        self.write(|connection| insert(connection, mark))
    }

    /// What others see, which is what was committed.
    fn seen(&self) -> Vec<i64> {
        marks::table.select(marks::mark).order(marks::mark).load(&mut self.connect()).unwrap()
    }

    /// Lets `parts` queue up, in order, behind a first part that leaves mark 0. Gives what became of all of them.
    fn together(&self, parts: &[&(dyn Fn() -> Written + Sync)]) -> Vec<thread::Result<Written>> {
        let (open, opened) = channel::<()>();
        thread::scope(|scope| {
            // Dropped if the test fails, so that no thread waits for it.
            let open = open;
            let first = scope.spawn(move || {
                self.write(|connection| {
                    opened.recv().unwrap();
                    insert(connection, 0)
                })
            });
            self.wait_for(1);
            let mut joined = Vec::new();
            for (n, part) in parts.iter().enumerate() {
                joined.push(scope.spawn(part));
                self.wait_for(n + 2);
            }
            assert_eq!(self.seen(), [0; 0], "nothing is committed yet");
            open.send(()).unwrap();
            let first = first.join();
            let others = joined.into_iter().map(thread::ScopedJoinHandle::join);
            std::iter::once(first).chain(others).collect()
        })
    }

    fn wait_for(&self, writers: usize) {
        let begun = Instant::now();
        while self.writers.queue.len() < writers {
            assert!(begun.elapsed() < LONGEST_WAIT, "{writers} do not queue up");
            thread::yield_now();
        }
    }
}

/// Long enough for the busiest machine.
const LONGEST_WAIT: Duration = Duration::from_mins(1);

type Written = Result<(), StoreError>;

fn insert(connection: &mut AnyConnection, mark: i64) -> Result<(), StoreError> {
    let inserted = diesel::insert_into(marks::table).values(marks::mark.eq(mark)).execute(connection);
    inserted.map(drop).map_err(store_error)
}

fn kinds(outcomes: Vec<thread::Result<Written>>) -> Vec<Result<(), StoreErrorKind>> {
    outcomes.into_iter().map(|outcome| outcome.unwrap().map_err(|error| error.kind())).collect()
}

#[test]
fn nobody_is_answered_before_the_common_commit() {
    let file = File::new(64);
    let (tell, told) = channel::<()>();
    let (open, opened) = channel::<()>();
    let opened = std::sync::Mutex::new(opened);
    let answered = |answered: Sender<()>| {
        file.mark(1)?;
        answered.send(()).unwrap();
        Ok(())
    };
    let last = || {
        file.write(|connection| {
            opened.lock().unwrap().recv().unwrap();
            insert(connection, 2)
        })
    };
    thread::scope(|scope| {
        // Dropped if the test fails, so that no thread waits for it.
        let open = open;
        let parts = scope.spawn(|| file.together(&[&|| answered(tell.clone()), &last]));
        assert!(told.recv_timeout(Duration::from_millis(50)).is_err(), "the last part is not done yet");
        assert_eq!(file.seen(), [0; 0]);
        open.send(()).unwrap();
        assert_eq!(kinds(parts.join().unwrap()), [Ok(()); 3]);
    });
    assert_eq!(file.seen(), [0, 1, 2]);
}

#[test]
fn a_part_that_fails_is_undone_alone() {
    let file = File::new(64);
    let fails = || {
        file.write(|connection| {
            insert(connection, 1)?;
            insert(connection, 0)
        })
    };
    let outcomes = kinds(file.together(&[&fails, &|| file.mark(2)]));
    assert_eq!(outcomes, [Ok(()), Err(StoreErrorKind::Internal), Ok(())]);
    assert_eq!(file.seen(), [0, 2]);
    file.mark(3).unwrap();
}

#[test]
fn a_part_that_panics_is_undone_alone() {
    let file = File::new(64);
    let panics = || {
        file.write(|connection| {
            insert(connection, 1)?;
            panic!("on purpose")
        })
    };
    let outcomes = file.together(&[&panics, &|| file.mark(2)]);
    let [Ok(Ok(())), Err(_panic), Ok(Ok(()))] = outcomes.as_slice() else { panic!("{outcomes:?}") };
    assert_eq!(file.seen(), [0, 2]);
    file.mark(3).unwrap();
}

#[test]
fn statements_commit_with_the_others() {
    let file = File::new(64);
    let statement = |mark| file.state(move |connection| insert(connection, mark));
    assert_eq!(kinds(file.together(&[&|| statement(1), &|| file.mark(2), &|| statement(3)])), [Ok(()); 4]);
    assert_eq!(file.seen(), [0, 1, 2, 3]);
}

#[test]
fn whoever_has_the_connection_does_the_statements_of_others() {
    let file = File::new(64);
    let statement = |mark| {
        file.state(move |connection| {
            insert(connection, mark)?;
            Ok(thread::current().id())
        })
    };
    let workers = std::sync::Mutex::new(Vec::new());
    let note = |mark| {
        let worker = statement(mark)?;
        workers.lock().unwrap().push((worker, thread::current().id()));
        Ok(())
    };
    assert_eq!(kinds(file.together(&[&|| note(1), &|| note(2)])), [Ok(()); 3]);
    let workers = workers.into_inner().unwrap();
    assert_eq!(workers[0].0, workers[1].0, "both by the one who came first");
    assert!(workers.iter().all(|(worker, asked)| worker != asked));
}

#[test]
fn a_statement_that_fails_fails_everybody() {
    let file = File::new(64);
    let twice = || file.state(|connection| insert(connection, 0));
    let outcomes = kinds(file.together(&[&|| file.mark(1), &twice, &|| file.mark(2)]));
    let unavailable = Err(StoreErrorKind::Unavailable);
    assert_eq!(outcomes, [unavailable, unavailable, Err(StoreErrorKind::Internal), Ok(())]);
    assert_eq!(file.seen(), [2], "by a group of its own");
}

#[test]
fn a_statement_that_panics_fails_everybody() {
    let file = File::new(64);
    let panics = || file.state(|_| panic!("on purpose"));
    let outcomes = file.together(&[&panics]);
    let [Ok(Err(error)), Err(_panic)] = outcomes.as_slice() else { panic!("{outcomes:?}") };
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    assert_eq!(file.seen(), [0; 0]);
    file.mark(1).unwrap();
}

#[test]
fn a_first_part_that_fails_is_answered_at_once_and_one_that_panics_is_undone() {
    let file = File::new(64);
    file.mark(1).unwrap();
    assert_eq!(file.mark(1).unwrap_err().kind(), StoreErrorKind::Internal);
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        file.write(|connection| -> Result<(), StoreError> {
            insert(connection, 2)?;
            panic!("on purpose")
        })
    }));
    assert!(panicked.is_err());
    file.mark(3).unwrap();
    assert_eq!(file.seen(), [1, 3]);
}

#[test]
fn a_commit_that_fails_fails_everybody() {
    let file = File::new(64);
    let outcomes = kinds(file.together(&[&|| file.mark(1), &|| file.mark(101), &|| file.mark(2)]));
    assert_eq!(outcomes, [Err(StoreErrorKind::Internal); 4], "101 has no parent");
    assert_eq!(file.seen(), [0; 0]);
    file.mark(1).unwrap();
    assert_eq!(file.seen(), [1]);
}

#[test]
fn a_full_group_commits_and_the_next_one_begins() {
    let file = File::new(2);
    let outcomes = file.together(&[&|| file.mark(1), &|| file.mark(101), &|| file.mark(2), &|| file.mark(3)]);
    let (ok, failed) = (Ok(()), Err(StoreErrorKind::Internal));
    assert_eq!(kinds(outcomes), [ok, ok, failed, failed, ok], "by twos");
    assert_eq!(file.seen(), [0, 1, 3]);
}

#[test]
fn a_group_that_gathered_long_enough_takes_nobody_in() {
    let mut file = File::new(64);
    file.writers.longest_gathering = Duration::ZERO;
    let outcomes = kinds(file.together(&[&|| file.mark(101), &|| file.mark(1)]));
    assert_eq!(outcomes, [Ok(()), Err(StoreErrorKind::Internal), Ok(())], "each by itself");
    assert_eq!(file.seen(), [0, 1]);
}

#[test]
fn what_took_too_long_is_undone_alone() {
    let file = File::new(64);
    let begun = Instant::now().checked_sub(LONGEST_TRANSACTION + Duration::from_millis(1)).unwrap();
    let late = || {
        let connect = || Ok(file.connect());
        file.writers.write(begun, connect, |connection| insert(connection, 1))
    };
    let outcomes = kinds(file.together(&[&late, &|| file.mark(2)]));
    assert_eq!(outcomes, [Ok(()), Err(StoreErrorKind::Unavailable), Ok(())]);
    assert_eq!(file.seen(), [0, 2]);
}
