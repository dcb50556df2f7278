use std::sync::Arc;
use std::time::{Duration, Instant};

use base16ct::lower;
use portcullis_domain::ports::StoreError;
use portcullis_domain::session::Cursor;
use portcullis_domain::time::UnixTime;
use uuid::Uuid;

use super::{AuditKeys, Link, Statement};
use crate::db::{Database, Recorded, SealTurn};

/// Seals events into the audit chain step by step, signs its head, and deletes what is old. Every instance has one; one
/// at a time works.
///
/// Events commit in another order than that of their ids, and a transaction may take any time to commit. So the first walk
/// goes over all events by their ids, and each later one over those of the transactions that may have been unfinished when
/// the walk before it began. Beside them an endless round looks at all events, a few at a time: a database that was restored
/// under a running instance may have unsealed events that no later walk reaches.
#[derive(Debug)]
pub struct Sealer {
    database: Arc<Database>,
    keys: Arc<AuditKeys>,
    instance: Uuid,
    /// How long sealed events are kept; `None` for ever.
    retention: Option<Duration>,
    /// The walk to the newest event.
    walk: Option<Walk>,
    /// Where the next walk begins; `None` if it goes over all events.
    from: Option<Cursor>,
    /// Where the round has come to.
    round: Uuid,
    /// When to look whether the head is to be signed.
    signs_at: Instant,
    /// When to look for what is old.
    trims_at: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Walk {
    /// Where changes stood when it began.
    next: Cursor,
    /// Where it has come to.
    after: Place,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    /// In all events.
    All(Uuid),
    /// In those of the transactions from a cursor on.
    Since(Recorded),
}

impl Place {
    /// The beginning of a walk. A cursor of before a failover, or of before the database was restored, leads nowhere.
    fn first(from: Option<Cursor>, next: Cursor) -> Self {
        match from.filter(|from| from.can_continue_to(Some(next))) {
            // No event has the nil id.
            Some(from) => Self::Since(Recorded { transaction: from.position(), event: Uuid::nil() }),
            None => Self::All(Uuid::nil()),
        }
    }
}

impl Sealer {
    /// How long to wait after a step that came to the newest event.
    pub const PAUSE: Duration = Duration::from_secs(1);

    /// How often the head is signed, if the chain has grown.
    pub const SIGN_EVERY: Duration = Duration::from_mins(5);

    /// For how long after an instance has sealed, signed or deleted something nobody else does.
    pub const TURN: Duration = Duration::from_secs(15);

    /// A sealer of the instance with this name of its own.
    pub fn new(
        database: Arc<Database>,
        keys: Arc<AuditKeys>,
        instance: Uuid,
        retention: Option<Duration>,
    ) -> Self {
        Self {
            database,
            keys,
            instance,
            retention,
            walk: None,
            from: None,
            round: Uuid::nil(),
            signs_at: Instant::now(),
            trims_at: Instant::now(),
        }
    }

    /// Makes the next step, and says how long to wait before the one after.
    ///
    /// # Errors
    /// [`StoreError`]: what was not done is done by a later step.
    pub fn step(&mut self) -> Result<Duration, StoreError> {
        let state = self.database.seal_state()?;
        let turn = self.turn(state.now);
        let is_others_turn = state.holder.is_some_and(|holder| holder != self.instance);
        // Without a cursor it is a standby, which takes no changes.
        let Some(next) = state.cursor.filter(|_| !is_others_turn) else {
            self.walk = None;
            return Ok(Self::PAUSE);
        };
        let walk = self.walk.unwrap_or(Walk { next, after: Place::first(self.from, next) });
        // If a step fails, the walk starts over.
        self.walk = None;
        if let Some(after) = self.seal_after(turn, walk.after)? {
            self.walk = Some(Walk { after, ..walk });
            return Ok(Duration::ZERO);
        }
        self.from = Some(walk.next);
        self.round = match self.seal_after(turn, Place::All(self.round))? {
            Some(Place::All(round)) => round,
            _ => Uuid::nil(),
        };
        self.sign_where_due(turn)?;
        Ok(if self.trim(state.now)? { Self::PAUSE } else { Duration::ZERO })
    }

    /// Seals what came last and signs the head, unless there is much to do, and leaves the turn to others.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn close(mut self) -> Result<(), StoreError> {
        for _ in 0..LAST_STEPS {
            if self.step()? == Self::PAUSE {
                break;
            }
        }
        let state = self.database.seal_state()?;
        if state.holder.is_none_or(|holder| holder == self.instance) {
            self.sign(self.turn(state.now))?;
            self.database.leave_seal_turn(self.instance)?;
        }
        Ok(())
    }

    /// Deletes all sealed events that are too old, whosever turn it is, and says how many those were: where the instances
    /// that run may not.
    ///
    /// # Errors
    /// [`StoreError`]; what was deleted until then stays deleted.
    pub fn trim_all(&self) -> Result<usize, StoreError> {
        let Some(retention) = self.retention else { return Ok(0) };
        let now = self.database.seal_state()?.now;
        let mut sum = 0;
        loop {
            let deleted = self.database.trim_audit(&self.keys, now, now - retention, TRIM)?;
            sum += deleted;
            if deleted < TRIM as usize {
                return Ok(sum);
            }
        }
    }

    /// Seals what is not sealed among the events after `after`, and returns where to go on.
    fn seal_after(&self, turn: SealTurn, after: Place) -> Result<Option<Place>, StoreError> {
        let (unsealed, next) = match after {
            Place::All(after) => {
                let page = self.database.find_unsealed(after, PAGE)?;
                (page.unsealed, page.next.map(Place::All))
            }
            Place::Since(after) => {
                let page = self.database.find_unsealed_since(after, PAGE)?;
                (page.unsealed, page.next.map(Place::Since))
            }
        };
        for ids in unsealed.chunks(SEAL) {
            if !self.database.seal(turn, ids)? {
                break;
            }
        }
        Ok(next)
    }

    fn sign_where_due(&mut self, turn: SealTurn) -> Result<(), StoreError> {
        if Instant::now() < self.signs_at {
            return Ok(());
        }
        if self.database.signed_at()?.is_none_or(|at| turn.now >= at + Self::SIGN_EVERY) {
            self.sign(turn)?;
        }
        self.signs_at = Instant::now() + CHECK_HEAD_EVERY;
        Ok(())
    }

    fn sign(&self, turn: SealTurn) -> Result<(), StoreError> {
        if let Some(statement) = self.database.sign_head(turn, &self.keys)? {
            tell(&statement);
        }
        Ok(())
    }

    /// Deletes some of what is old, and says whether that was all.
    fn trim(&mut self, now: UnixTime) -> Result<bool, StoreError> {
        let Some(retention) = self.retention else { return Ok(true) };
        if Instant::now() < self.trims_at {
            return Ok(true);
        }
        let deleted = self.database.trim_audit(&self.keys, now, now - retention, TRIM)?;
        let is_done = deleted < TRIM as usize;
        if is_done {
            self.trims_at = Instant::now() + TRIM_EVERY;
        }
        Ok(is_done)
    }

    fn turn(&self, now: UnixTime) -> SealTurn {
        SealTurn { instance: self.instance, now, until: now + Self::TURN }
    }
}

/// Says it where others can keep it.
fn tell(statement: &Statement) {
    let Link { seq, hash } = statement.unsigned.link;
    let key = statement.unsigned.key;
    let signature = lower::encode_string(&statement.signature);
    log::info!(seq, hash:%, key:%, signature:%; "audit head");
}

/// How many events one look goes through.
const PAGE: u32 = 2_000;

/// How many events are sealed in one transaction: so few that nobody waits for it to write.
const SEAL: usize = 250;

/// How many steps a sealer makes that closes: a fraction of a second's worth.
const LAST_STEPS: u32 = 10;

/// How many events are deleted in one transaction.
const TRIM: u32 = 250;

/// How often to look whether the head is to be signed: whoever signed it last.
const CHECK_HEAD_EVERY: Duration = Duration::from_secs(10);

/// How often to look for events that are too old.
const TRIM_EVERY: Duration = Duration::from_mins(1);
