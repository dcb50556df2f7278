use std::collections::HashMap;

use portcullis_domain::ports::StoreError;
use portcullis_domain::time::UnixTime;
use uuid::Uuid;

use super::{AuditKeys, Fault, Finding, Link, PublicAuditKey, SealableEvent, Statement, StatementKind};
use crate::db::{AuditReader, ChainRow, DatabaseUrl, PrepareError};

/// An audit log in which nothing is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The place of the first event that is still there.
    pub first: i64,
    /// The end of the chain.
    pub end: Link,
    /// How many events are not sealed yet.
    pub unsealed: u64,
    /// The newest signed head, and when it was signed.
    pub head: Option<(Link, UnixTime)>,
    /// Where a secret was adopted last: what was signed before that proves nothing.
    pub adopted_at: Option<i64>,
    /// Whether the head that was kept elsewhere is of a place that was deleted since, as it was old.
    pub is_kept_head_older: bool,
}

/// The audit log was not found to be good.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// It was tampered with, or damaged.
    #[error("{0}")]
    Bad(Finding),
    /// There is none, or it could not be reached.
    #[error(transparent)]
    Unreachable(#[from] PrepareError),
    /// It could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<Finding> for AuditError {
    fn from(finding: Finding) -> Self {
        Self::Bad(finding)
    }
}

/// Verifies the audit log in a database from its newest checkpoint on, with the `keys` of the secrets at hand, and holds
/// it against a head that was `kept` elsewhere. Connects, and only reads. `progress` is told the place that was come to,
/// and that of the end as it was at the start.
///
/// The log grows meanwhile, which is fine, and old rows may be deleted, which is noticed.
///
/// # Errors
/// [`AuditError`], which names the first place where something is wrong.
pub fn verify(
    database: &DatabaseUrl,
    keys: &AuditKeys,
    kept: Option<Link>,
    mut progress: impl FnMut(i64, i64),
) -> Result<Verified, AuditError> {
    let (source, known) = (&mut AuditReader::connect(database)?, &keys.public());
    let mut tries = TRIES;
    loop {
        tries -= 1;
        let statements = Statements::read(source, known)?;
        let checkpoint = statements.checkpoint;
        match statements.hold(source, kept, &mut progress) {
            Err(AuditError::Bad(_))
                if tries > 0 && source.checkpoint()? != checkpoint.map(|link| link.seq) => {}
            result => return result,
        }
    }
}

/// What was signed, judged.
struct Statements {
    /// What the chain must have in some places.
    claims: Vec<Claim>,
    checkpoint: Option<Link>,
    head: Option<(Link, UnixTime)>,
    adopted_at: Option<i64>,
}

/// Somebody vouched for a place.
struct Claim {
    link: Link,
    /// The number of the statement; `None` for what was kept elsewhere.
    number: Option<i64>,
    /// What is wrong with the statement itself.
    fault: Option<Fault>,
}

impl Statements {
    /// Reads them from the newest on. That one must be signed with the key of a secret at hand; a hand-over vouches
    /// for the key before it, an adoption for none.
    fn read(source: &mut AuditReader, known: &[PublicAuditKey]) -> Result<Self, StoreError> {
        let mut read = Self { claims: Vec::new(), checkpoint: None, head: None, adopted_at: None };
        let mut trust = Trust::AnyOf(known);
        let mut before = i64::MAX;
        loop {
            let statements = source.statements(before, BATCH)?;
            let Some(last) = statements.last() else { return Ok(read) };
            before = last.unsigned.number;
            for statement in &statements {
                read.take_in(statement, &mut trust);
            }
        }
    }

    fn take_in(&mut self, statement: &Statement, trust: &mut Trust<'_>) {
        let unsigned = &statement.unsigned;
        let (number, link) = (unsigned.number, unsigned.link);
        let fault = match (&trust, statement.is_signed(), trust.covers(unsigned.key)) {
            (Trust::Nobody, ..) | (_, true, true) => None,
            (_, _, false) => Some(Fault::UntrustedKey { number }),
            (_, false, true) => Some(Fault::BadSignature { number }),
        };
        match (&trust, &fault, unsigned.kind, &statement.old) {
            (Trust::Nobody, ..) => {}
            (_, None, StatementKind::Adoption, _) => {
                self.adopted_at = Some(link.seq);
                *trust = Trust::Nobody;
            }
            // Where only its signature is faulty, that is told, and need not be told again of all before it.
            (_, None | Some(Fault::BadSignature { .. }), StatementKind::HandOver, Some(old))
                if trust.covers(unsigned.key) =>
            {
                *trust = Trust::Only(old.key);
            }
            (_, None, ..) => *trust = Trust::Only(unsigned.key),
            (_, Some(_), ..) => {}
        }
        self.claims.push(Claim { link, number: Some(number), fault });
        match unsigned.kind {
            StatementKind::Head => {
                self.head.get_or_insert((link, unsigned.at));
            }
            StatementKind::Checkpoint => {
                self.checkpoint.get_or_insert(link);
            }
            StatementKind::HandOver | StatementKind::Adoption => {}
        }
    }

    /// Walks the chain and holds it against the events and the claims.
    fn hold(
        mut self,
        source: &mut AuditReader,
        kept: Option<Link>,
        progress: &mut dyn FnMut(i64, i64),
    ) -> Result<Verified, AuditError> {
        self.claims.extend(kept.map(|link| Claim { link, number: None, fault: None }));
        // The latest last, to be taken from the end; in one place in the order in which they were made.
        self.claims.sort_by_key(|claim| std::cmp::Reverse((claim.link.seq, claim.number)));
        let start = self.checkpoint.unwrap_or_else(Link::genesis);
        self.check_claims_at(start, start.seq)?;
        let upto = source.end()?;
        let mut walk = Walk { at: start, last: None };
        loop {
            let rows = source.chain(walk.at.seq, BATCH)?;
            if rows.is_empty() {
                break;
            }
            let events = events_of(source, &rows)?;
            for row in &rows {
                walk.step(source, row, events.get(&row.event))?;
                self.check_claims_at(walk.at, start.seq)?;
            }
            progress(walk.at.seq, upto.max(walk.at.seq));
        }
        if let Some(claim) = self.claims.pop() {
            let fault = claim.fault.unwrap_or(Fault::Truncated { end: walk.at.seq });
            let seq = if claim.fault.is_some() { claim.link.seq } else { walk.at.seq + 1 };
            return Err(Finding { seq, event: None, fault }.into());
        }
        Ok(Verified {
            first: start.seq + 1,
            end: walk.at,
            unsealed: count_unsealed(source)?,
            head: self.head,
            adopted_at: self.adopted_at,
            is_kept_head_older: kept.is_some_and(|kept| kept.seq < start.seq),
        })
    }

    /// Holds the place that the walk has come to against what was said of it. What was said of places before the start
    /// can only be looked at for its signature.
    fn check_claims_at(&mut self, at: Link, start: i64) -> Result<(), Finding> {
        while let Some(claim) = self.claims.pop_if(|claim| claim.link.seq <= at.seq) {
            let differs = claim.link.seq == at.seq && claim.link.hash != at.hash;
            let fault = claim.fault.or(match claim.number {
                _ if !differs => None,
                Some(number) => Some(Fault::Rewritten { number }),
                None => Some(Fault::NotAsKept),
            });
            debug_assert!(claim.link.seq == at.seq || claim.link.seq < start, "the walk leaves out nothing");
            if let Some(fault) = fault {
                return Err(Finding { seq: claim.link.seq, event: None, fault });
            }
        }
        Ok(())
    }
}

/// Whose signature proves something, going back in time.
enum Trust<'a> {
    AnyOf(&'a [PublicAuditKey]),
    Only(PublicAuditKey),
    Nobody,
}

impl Trust<'_> {
    fn covers(&self, key: PublicAuditKey) -> bool {
        match self {
            Self::AnyOf(known) => known.contains(&key),
            Self::Only(only) => *only == key,
            Self::Nobody => false,
        }
    }
}

/// How far the chain was found to be good.
struct Walk {
    at: Link,
    /// The link before, and the event of this one.
    last: Option<(Link, Uuid)>,
}

impl Walk {
    fn step(
        &mut self,
        source: &mut AuditReader,
        row: &ChainRow,
        event: Option<&SealableEvent>,
    ) -> Result<(), AuditError> {
        let seq = self.at.seq + 1;
        if row.link.seq != seq {
            return Err(Finding { seq, event: None, fault: Fault::RowDeleted }.into());
        }
        let Some(event) = event else {
            let event = Some(row.event);
            return Err(Finding { seq, event, fault: Fault::EventDeleted }.into());
        };
        let next = self.at.next(event);
        if next != row.link {
            return Err(self.explain(source, row, event)?.into());
        }
        self.last = Some((self.at, row.event));
        self.at = next;
        Ok(())
    }

    /// Finds out how the row came to have a hash that is not that of its event, from the rows around it.
    fn explain(
        &self,
        source: &mut AuditReader,
        row: &ChainRow,
        event: &SealableEvent,
    ) -> Result<Finding, StoreError> {
        let found = |fault| Finding { seq: row.link.seq, event: Some(row.event), fault };
        if let Some((before, inserted)) = self.last
            && before.next(event).hash == row.link.hash
        {
            // This one was sealed in the place before, where another one stands now.
            return Ok(Finding { seq: self.at.seq, event: Some(inserted), fault: Fault::Inserted });
        }
        if let Some(other) = self.find_exchanged(source, row, event)? {
            return Ok(found(Fault::Reordered { other }));
        }
        let rows = source.chain(row.link.seq, 1)?;
        let events = events_of(source, &rows)?;
        let Some((next, next_event)) = rows.first().and_then(|next| Some((next, events.get(&next.event)?)))
        else {
            return Ok(found(Fault::Edited));
        };
        let is_sealed_upon = |link: Link| link.next(next_event).hash == next.link.hash;
        let cut_out = |count: &i64| is_sealed_upon(Link { seq: row.link.seq + count, hash: row.link.hash });
        Ok(found(if is_sealed_upon(row.link) {
            Fault::Edited
        } else if is_sealed_upon(self.at.next(event)) {
            Fault::HashChanged
        } else if is_sealed_upon(self.at) {
            Fault::Inserted
        } else if let Some(count) = (1..=MOST_CUT_OUT).find(cut_out) {
            Fault::RowsCutOut { count }
        } else {
            Fault::HashChanged
        }))
    }

    /// Looks for the place with which `row` was exchanged, as a whole or only its event.
    fn find_exchanged(
        &self,
        source: &mut AuditReader,
        row: &ChainRow,
        event: &SealableEvent,
    ) -> Result<Option<i64>, StoreError> {
        let mut before = row.link;
        while before.seq < row.link.seq + FARTHEST_EXCHANGE {
            let rows = source.chain(before.seq, BATCH)?;
            if rows.is_empty() {
                break;
            }
            let events = events_of(source, &rows)?;
            for other in &rows {
                let seq = other.link.seq;
                let is_its_event =
                    events.get(&other.event).is_some_and(|event| self.at.next(event).hash == row.link.hash);
                let is_its_place = [before.hash, other.link.hash]
                    .into_iter()
                    .any(|hash| Link { seq: seq - 1, hash }.next(event).hash == row.link.hash);
                if is_its_event || is_its_place {
                    return Ok(Some(seq));
                }
                before = other.link;
            }
        }
        Ok(None)
    }
}

fn events_of(
    source: &mut AuditReader,
    rows: &[ChainRow],
) -> Result<HashMap<Uuid, SealableEvent>, StoreError> {
    let ids: Vec<_> = rows.iter().map(|row| row.event).collect();
    Ok(source.events(&ids)?.into_iter().map(|event| (event.id, event)).collect())
}

fn count_unsealed(source: &mut AuditReader) -> Result<u64, StoreError> {
    let (mut count, mut after) = (0, Some(Uuid::nil()));
    while let Some(from) = after {
        let page = source.unsealed(from, BATCH)?;
        count += page.unsealed.len() as u64;
        after = page.next;
    }
    Ok(count)
}

/// How many rows are read at a time.
const BATCH: u32 = 1_000;

/// How often to begin anew because old rows were deleted meanwhile.
const TRIES: u32 = 3;

/// How many rows are tried to tell whether some were cut out and the rest numbered anew.
const MOST_CUT_OUT: i64 = 10_000;

/// How far apart exchanged rows are looked for: beyond that they are called edited, and no less wrong.
const FARTHEST_EXCHANGE: i64 = 100_000;
