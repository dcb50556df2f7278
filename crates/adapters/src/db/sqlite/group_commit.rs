//! Writes to SQLite that wait at the same time commit together.
//!
//! A commit waits for the disk, and no longer for many changes than for one. So whoever comes first begins a
//! transaction, does its part and hands the connection on to the next in the queue; who finds nobody there, or the
//! group full, commits for all. A part of several statements is done on its own thread, and after the first it is a
//! savepoint: one that fails or panics is undone alone. A part of one statement does without, for that is as much work
//! again; should it fail after all, everybody fails. And it is done by whoever has the connection, for to wake up a
//! thread takes longer than such a statement: who asked is woken once, when all is committed.
//!
//! Nobody is answered before the COMMIT returned, and where that fails, everybody fails. That goes for errors too: "this
//! name is taken" may rest on a user whom another part of the same transaction made.

use std::any::Any;
use std::error::Error as StdError;
use std::num::NonZeroU32;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use portcullis_domain::ports::StoreError;

use super::writer_queue::{Asleep, Entered, WriterQueue};
use crate::db::connection::AnyConnection;
use crate::db::error::{SharedFailure, concerns_one_request, store_error, unavailable};
use crate::db::transaction::in_time;

/// Where the writers of this process to one SQLite file take turns and commit together. They share one connection,
/// whose cache nobody else makes stale.
#[derive(Debug)]
pub(in crate::db) struct GroupCommit {
    queue: WriterQueue<Left, Statement>,
    most_parts: NonZeroU32,
    longest_gathering: Duration,
}

/// What one writer leaves to the next.
enum Left {
    Idle(AnyConnection),
    Open(Group),
}

/// A part of one statement, which whoever has the connection does.
type Statement = Box<dyn FnOnce(&mut Group) + Send>;

type Turn<'a> = super::writer_queue::Turn<'a, Left, Statement>;

/// How long a write to SQLite waits for the writes before it in this process.
const WRITER_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a group takes parts in; the one that is done then is the last. Nobody waits much longer for others than for
/// the disk.
const LONGEST_GATHERING: Duration = Duration::from_millis(5);

impl GroupCommit {
    /// Commits together at most `most_parts` writes.
    pub(in crate::db) fn new(most_parts: NonZeroU32) -> Self {
        Self { queue: WriterQueue::new(WRITER_TIMEOUT), most_parts, longest_gathering: LONGEST_GATHERING }
    }

    /// Does `work`, of any number of statements, as a part of a transaction, and returns when that was committed. `begun`
    /// is when the call began that this is a part of. `connect` makes the connection where there is none.
    pub(in crate::db) fn write<T, E: StdError + From<StoreError> + 'static>(
        &self,
        begun: Instant,
        connect: impl FnOnce() -> Result<AnyConnection, StoreError>,
        work: impl FnOnce(&mut AnyConnection) -> Result<T, E>,
    ) -> Result<T, E> {
        let Some(Entered::Turn(turn, left, _)) = self.queue.enter(None) else {
            return Err(too_many_wait().into());
        };
        let connection = match left {
            Some(Left::Open(mut group)) => {
                let outcome = Arc::clone(&group.outcome.0);
                let part = group.take_in(begun, work);
                self.go_on(turn, group);
                return part.answer(&outcome);
            }
            Some(Left::Idle(connection)) => connection,
            None => connect()?,
        };
        self.lead(turn, connection, begun, work)
    }

    /// Does `work`, which is one statement that no client can make fail, on whatever thread; as [`GroupCommit::write`]
    /// otherwise.
    pub(in crate::db) fn statement<T: Send + 'static, E: StdError + From<StoreError> + Send + 'static>(
        &self,
        begun: Instant,
        connect: impl FnOnce() -> Result<AnyConnection, StoreError>,
        work: impl FnOnce(&mut AnyConnection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E> {
        let (tell, told) = sync_channel(1);
        let statement: Statement = Box::new(move |group| {
            let part = group.take_in_statement(begun, work);
            // Who asked waits for it.
            let _received = tell.send((part, Arc::clone(&group.outcome.0)));
        });
        match self.queue.enter(Some(statement)) {
            Some(Entered::Turn(turn, left, Some(statement))) => {
                let mut group = match left {
                    Some(Left::Open(group)) => group,
                    Some(Left::Idle(connection)) => Group::begin(connection)?,
                    None => Group::begin(connect()?)?,
                };
                statement(&mut group);
                self.go_on(turn, group);
            }
            Some(Entered::Taken) => {}
            _ => return Err(too_many_wait().into()),
        }
        let (part, outcome) = told.recv().map_err(|_dropped| given_up())?;
        part.answer(&outcome)
    }

    /// Begins a group with the first part. One that fails is the whole transaction, and is answered at once.
    fn lead<T, E: StdError + From<StoreError> + 'static>(
        &self,
        turn: Turn<'_>,
        connection: AnyConnection,
        begun: Instant,
        work: impl FnOnce(&mut AnyConnection) -> Result<T, E>,
    ) -> Result<T, E> {
        // After an error here the connection is closed, before the turn passes on. So it is where `work` panics.
        let mut group = Group::begin(connection)?;
        match work(&mut group.connection).and_then(|value| in_time(begun, value)) {
            Ok(value) => {
                group.parts += 1;
                group.earliest = group.earliest.min(begun);
                let outcome = Arc::clone(&group.outcome.0);
                self.go_on(turn, group);
                committed(&outcome)?;
                Ok(value)
            }
            Err(error) => {
                // Another connection may succeed, for example if the file was not writable when this one was opened.
                if group.connection.rollback().is_ok() && concerns_one_request(&error) {
                    turn.leave(Left::Idle(group.connection));
                }
                Err(error)
            }
        }
    }

    /// Does what the next ones left in line, then hands the group on, or ends it and hands the connection on.
    fn go_on(&self, turn: Turn<'_>, mut group: Group) {
        while self.has_room(&group)
            && let Some((statement, asleep)) = turn.take_job()
        {
            statement(&mut group);
            group.asleep.push(asleep);
        }
        let (turn, group) = match self.has_room(&group) {
            true => match turn.hand_over(group, Left::Open) {
                Ok(()) => return,
                Err(both) => both,
            },
            false => (turn, group),
        };
        let (connection, asleep) = group.end();
        match connection {
            Some(connection) => turn.leave(Left::Idle(connection)),
            None => drop(turn),
        }
        // The next one is at work already.
        drop(asleep);
    }

    fn has_room(&self, group: &Group) -> bool {
        group.failure.is_none()
            && group.parts < self.most_parts.get()
            && group.gathers_since.elapsed() < self.longest_gathering
    }
}

/// What became of one part.
enum Part<T, E> {
    /// It is answered so when its group is committed.
    Done(Result<T, E>),
    /// It failed and took the transaction with it: this is its own error.
    Broken(E),
    Panicked(Box<dyn Any + Send>),
}

impl<T, E: StdError + From<StoreError> + 'static> Part<T, E> {
    /// Waits until the group is committed, if that matters, and answers.
    fn answer(self, outcome: &OnceLock<Result<(), SharedFailure>>) -> Result<T, E> {
        match self {
            Self::Done(result) => committed(outcome).map_err(E::from).and(result),
            Self::Broken(error) => Err(error),
            Self::Panicked(panic) => resume_unwind(panic),
        }
    }
}

/// A transaction that goes from hand to hand.
struct Group {
    connection: AnyConnection,
    gathers_since: Instant,
    parts: u32,
    /// When the earliest of the calls began whose parts these are.
    earliest: Instant,
    /// Why there is no transaction any more that could be committed.
    failure: Option<SharedFailure>,
    /// A panic may have left the connection in any state, or a part failed that might succeed over another connection.
    /// The group still uses the connection to finish; then it is closed.
    is_suspect: bool,
    outcome: Outcome,
    /// Whose statements were done for them. (Behind the outcome, so that it is told before they are woken.)
    asleep: Vec<Asleep>,
}

impl Group {
    /// A transaction without parts.
    fn begin(mut connection: AnyConnection) -> Result<Self, StoreError> {
        connection.begin().map_err(store_error)?;
        let now = Instant::now();
        Ok(Self {
            connection,
            gathers_since: now,
            parts: 0,
            earliest: now,
            failure: None,
            is_suspect: false,
            outcome: Outcome::default(),
            asleep: Vec::new(),
        })
    }

    /// Does a part in a savepoint of its own, so that the others stay whatever becomes of it.
    fn take_in<T, E: StdError + From<StoreError> + 'static>(
        &mut self,
        begun: Instant,
        work: impl FnOnce(&mut AnyConnection) -> Result<T, E>,
    ) -> Part<T, E> {
        self.parts += 1;
        if let Err(error) = self.connection.savepoint() {
            return Part::Broken(self.fail(error).into());
        }
        match catch_unwind(AssertUnwindSafe(|| work(&mut self.connection))) {
            Ok(result) => match result.and_then(|value| in_time(begun, value)) {
                Ok(value) => self.keep(begun, value),
                Err(error) => self.undo(error),
            },
            Err(panic) => {
                self.is_suspect = true;
                if let Err(error) = self.connection.rollback() {
                    self.fail(error);
                }
                Part::Panicked(panic)
            }
        }
    }

    /// Does a part of one statement. Where it fails, nobody knows what it left, and the group fails with it.
    fn take_in_statement<T, E: StdError + From<StoreError> + 'static>(
        &mut self,
        begun: Instant,
        work: impl FnOnce(&mut AnyConnection) -> Result<T, E>,
    ) -> Part<T, E> {
        self.parts += 1;
        let failed = || Some(unavailable("a write of the same transaction failed").into());
        match catch_unwind(AssertUnwindSafe(|| work(&mut self.connection))) {
            Ok(result) => match result.and_then(|value| in_time(begun, value)) {
                Ok(value) => {
                    self.earliest = self.earliest.min(begun);
                    Part::Done(Ok(value))
                }
                Err(error) => {
                    self.failure = failed();
                    Part::Broken(error)
                }
            },
            Err(panic) => {
                self.failure = failed();
                Part::Panicked(panic)
            }
        }
    }

    fn keep<T, E: StdError + From<StoreError> + 'static>(&mut self, begun: Instant, value: T) -> Part<T, E> {
        self.earliest = self.earliest.min(begun);
        match self.connection.commit() {
            Ok(()) => Part::Done(Ok(value)),
            Err(error) => Part::Broken(self.fail(error).into()),
        }
    }

    fn undo<T, E: StdError + 'static>(&mut self, error: E) -> Part<T, E> {
        self.is_suspect |= !concerns_one_request(&error);
        match self.connection.rollback() {
            Ok(()) => Part::Done(Err(error)),
            // There is no savepoint any more: after some errors, a full disk's for one, SQLite undoes everything. The
            // part's own error says why; it is never one that rests on what others wrote, for those leave the savepoint.
            Err(rollback) => {
                self.fail(rollback);
                Part::Broken(error)
            }
        }
    }

    fn fail(&mut self, error: diesel::result::Error) -> StoreError {
        let error = SharedFailure::from(store_error(error));
        self.failure = Some(error.clone());
        error.into()
    }

    /// Ends the transaction and tells everybody whose part was in it. Gives the connection back where it is sound; it is
    /// closed otherwise, which undoes what is open. Who sleeps is still to be woken.
    fn end(mut self) -> (Option<AnyConnection>, Vec<Asleep>) {
        let ended = match self.failure.take() {
            Some(failure) => Err(failure),
            None => in_time(self.earliest, ())
                .and_then(|()| self.connection.commit().map_err(store_error))
                .map_err(SharedFailure::from),
        };
        let is_sound = ended.is_ok() && !self.is_suspect;
        self.outcome.tell(ended);
        (is_sound.then_some(self.connection), self.asleep)
    }
}

/// What becomes of a group, for everybody who has a part in it.
#[derive(Default)]
struct Outcome(Arc<OnceLock<Result<(), SharedFailure>>>);

impl Outcome {
    fn tell(&self, ended: Result<(), SharedFailure>) {
        self.0.get_or_init(|| ended);
    }
}

/// Whatever happens, nobody waits for ever.
impl Drop for Outcome {
    fn drop(&mut self) {
        self.0.get_or_init(|| Err(given_up().into()));
    }
}

fn given_up() -> StoreError {
    unavailable("the transaction was given up")
}

fn too_many_wait() -> StoreError {
    unavailable("too many writes wait for the database")
}

/// Waits until the group is committed.
fn committed(outcome: &OnceLock<Result<(), SharedFailure>>) -> Result<(), StoreError> {
    outcome.wait().clone().map_err(StoreError::from)
}

#[cfg(test)]
mod tests;
