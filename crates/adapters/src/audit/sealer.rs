use std::sync::Arc;
use std::time::{Duration, Instant};

use base16ct::lower;
use portcullis_domain::ports::StoreError;
use portcullis_domain::time::UnixTime;
use uuid::Uuid;

use super::{AuditKeys, Link, Statement};
use crate::db::{Database, SealTurn};

/// Seals events into the audit chain step by step, signs its head, and deletes what is old. Every instance has one; one
/// at a time works.
///
/// Events commit in another order than that of their ids, and a clock may have been off when an id was made. So each
/// walk to the newest event begins a safe overlap before the walk before it did, the first one with the oldest event, and
/// beside it an endless round looks at all events, a few at a time.
#[derive(Debug)]
pub struct Sealer {
    database: Arc<Database>,
    keys: Arc<AuditKeys>,
    instance: Uuid,
    /// How long sealed events are kept; `None` for ever.
    retention: Option<Duration>,
    /// Where the walk to the newest event began, and has come to.
    walk: Option<Walk>,
    /// Where the next walk begins.
    from: Uuid,
    /// Where the round has come to.
    round: Uuid,
    /// When to look whether the head is to be signed.
    signs_at: Instant,
    /// When to look for what is old.
    trims_at: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Walk {
    begun: UnixTime,
    after: Uuid,
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
            from: Uuid::nil(),
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
        if state.holder.is_some_and(|holder| holder != self.instance) {
            self.walk = None;
            return Ok(Self::PAUSE);
        }
        let walk = self.walk.unwrap_or(Walk { begun: state.now, after: self.from });
        // Where something fails, the walk begins anew.
        self.walk = None;
        if let Some(after) = self.seal_after(turn, walk.after)? {
            self.walk = Some(Walk { after, ..walk });
            return Ok(Duration::ZERO);
        }
        self.from = first_id_at(walk.begun - OVERLAP);
        self.round = self.seal_after(turn, self.round)?.unwrap_or_default();
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

    /// Seals what is not sealed among the events after `after`, and says where to go on.
    fn seal_after(&self, turn: SealTurn, after: Uuid) -> Result<Option<Uuid>, StoreError> {
        let page = self.database.find_unsealed(after, PAGE)?;
        for ids in page.unsealed.chunks(SEAL) {
            if !self.database.seal(turn, ids)? {
                break;
            }
        }
        Ok(page.next)
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

/// The first id that can be made at a time.
fn first_id_at(time: UnixTime) -> Uuid {
    let millis = u128::try_from(time.as_micros().div_euclid(1_000)).unwrap_or(0);
    Uuid::from_u128(millis << 80)
}

/// How far each walk goes back beyond the beginning of the one before: for longer than a transaction takes to commit
/// after its event's id was made, by a clock that is behind as far as a clock may be.
pub(crate) const OVERLAP: Duration = Duration::from_mins(2);

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_begin_with_their_time() {
        let first = first_id_at(UnixTime::from_micros(1_800_000_000_123_456));
        assert_eq!(first.to_string(), "01a3185c-507b-0000-0000-000000000000");
        assert_eq!(first_id_at(UnixTime::from_micros(-1)), Uuid::nil());
    }
}
