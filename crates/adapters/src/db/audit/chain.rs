//! The audit chain in SQL: events are sealed, the head is signed, and what is old is deleted. Who changes the chain has
//! the lock of the row of `deployment`: a sealer by taking its turn, who replaces the secret by moving the fingerprint.

use std::collections::HashMap;

use diesel::prelude::*;
use portcullis_domain::ports::{StoreError, StoreErrorKind};
use portcullis_domain::time::UnixTime;
use uuid::Uuid;

use crate::audit::{
    AuditKey, AuditKeys, ChainHash, Link, Old, PublicAuditKey, Statement, StatementKind, StoredEvent,
    Unsigned,
};
use crate::db::connection::AnyConnection;
use crate::db::error::store_error;
use crate::db::schema::{audit_chain, audit_heads, deployment, security_events};
use crate::db::types::{DbId, DbTime};
use crate::db::{Database, deployment as shared};

/// What a sealer wants to know before each step.
pub(crate) struct SealState {
    /// The database's time.
    pub(crate) now: UnixTime,
    /// Whose turn it is; `None` where it is free.
    pub(crate) holder: Option<Uuid>,
}

/// An instance takes its turn, or keeps it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SealTurn {
    pub(crate) instance: Uuid,
    pub(crate) now: UnixTime,
    pub(crate) until: UnixTime,
}

/// What a look at some events found.
pub(crate) struct Look {
    /// Those that are not in the chain, oldest first.
    pub(crate) unsealed: Vec<Uuid>,
    /// Where to go on; `None` at the end.
    pub(crate) next: Option<Uuid>,
}

/// A row of the chain.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChainRow {
    pub(crate) link: Link,
    pub(crate) event: Uuid,
}

impl Database {
    pub(crate) fn seal_state(&self) -> Result<SealState, StoreError> {
        self.read(|connection| {
            let now = shared::now(connection);
            let (holder, DbTime(until), DbTime(now)): (Option<DbId>, DbTime, DbTime) = deployment::table
                .select((deployment::sealer, deployment::sealer_until, now))
                .first(connection)
                .map_err(store_error)?;
            let holder = holder.map(|DbId(holder)| holder).filter(|_holder| until > now);
            Ok(SealState { now, holder })
        })
    }

    /// When the head was last signed.
    pub(crate) fn signed_at(&self) -> Result<Option<UnixTime>, StoreError> {
        Ok(self.read(newest_signed)?.map(|(_seq, at)| at))
    }

    /// Looks through at most `most` events after `after` for some that are not sealed.
    pub(crate) fn look_for_unsealed(&self, after: Uuid, most: u32) -> Result<Look, StoreError> {
        self.read(|connection| look_for_unsealed(connection, after, most))
    }

    /// Appends events to the chain. Says whether it was this instance's turn.
    pub(crate) fn seal(&self, turn: SealTurn, ids: &[Uuid]) -> Result<bool, StoreError> {
        let mut found = self.read(|connection| events(connection, ids))?;
        found.sort_by_key(|event| event.id);
        self.transaction(|connection| {
            if !take_turn(connection, turn)? {
                return Ok(false);
            }
            let mut link = tip(connection)?;
            let mut rows = Vec::with_capacity(found.len());
            for event in &found {
                link = link.next(event);
                rows.push((
                    audit_chain::seq.eq(link.seq),
                    audit_chain::event_id.eq(DbId(event.id)),
                    audit_chain::hash.eq(link.hash.as_bytes().to_vec()),
                ));
            }
            let into = diesel::insert_into(audit_chain::table);
            match connection {
                AnyConnection::Postgres(connection) => into.values(rows).execute(connection),
                AnyConnection::Sqlite(connection) => into.values(rows).execute(connection),
            }
            .map_err(store_error)?;
            Ok(true)
        })
    }

    /// Signs the head, if the chain has grown since that was done last, it is this instance's turn, and its secret is the
    /// database's.
    pub(crate) fn sign_head(
        &self,
        turn: SealTurn,
        keys: &AuditKeys,
    ) -> Result<Option<Statement>, StoreError> {
        let (tip_before, signed) =
            self.read(|connection| Ok((tip(connection)?, newest_signed(connection)?)))?;
        let signed = signed.map_or(0, |(seq, _at)| seq);
        if tip_before.seq < signed {
            log::error!(
                end = tip_before.seq, signed;
                "the audit chain is shorter than it was when it was signed: see `portcullis audit verify`"
            );
        }
        if tip_before.seq <= signed {
            return Ok(None);
        }
        self.transaction(|connection| {
            if !(take_turn(connection, turn)? && is_in_charge(connection, keys)?) {
                return Ok(None);
            }
            let link = tip(connection)?;
            let unsigned = unsigned(connection, StatementKind::Head, link, turn.now, &keys.current)?;
            let statement = unsigned.sign(&keys.current);
            insert_statement(connection, &statement)?;
            Ok(Some(statement))
        })
    }

    /// Frees the turn, if it is this instance's.
    pub(crate) fn leave_seal_turn(&self, instance: Uuid) -> Result<(), StoreError> {
        let ours = deployment::table.filter(deployment::sealer.eq(DbId(instance)));
        self.statement(move |connection| {
            diesel::update(ours)
                .set((
                    deployment::sealer.eq(None::<DbId>),
                    deployment::sealer_until.eq(DbTime(UnixTime::EPOCH)),
                ))
                .execute(connection)
                .map_err(store_error)?;
            Ok(())
        })
    }

    /// Deletes sealed events from before a time, the oldest first and at most `most`, and leaves a checkpoint. Says how
    /// many were deleted: none unless this instance's secret is the database's. An event that is missing keeps all after
    /// it. Whose turn it is does not matter: others change the other end.
    pub(crate) fn trim_audit(
        &self,
        keys: &AuditKeys,
        now: UnixTime,
        before: UnixTime,
        most: u32,
    ) -> Result<usize, StoreError> {
        if self.read(|connection| oldest_rows(connection, before, 1))?.is_empty() {
            return Ok(0);
        }
        self.transaction(|connection| {
            lock(connection)?;
            if !is_in_charge(connection, keys)? {
                return Ok(0);
            }
            let rows = oldest_rows(connection, before, most)?;
            let Some(last) = rows.last() else { return Ok(0) };
            let unsigned = unsigned(connection, StatementKind::Checkpoint, last.link, now, &keys.current)?;
            insert_statement(connection, &unsigned.sign(&keys.current))?;
            let seq = last.link.seq;
            let superseded = audit_heads::table
                .filter(audit_heads::seq.le(seq))
                .filter(audit_heads::number.lt(unsigned.number))
                .filter(audit_heads::kind.eq_any(SUPERSEDED.map(StatementKind::name)));
            diesel::delete(superseded).execute(connection).map_err(store_error)?;
            diesel::delete(audit_chain::table.filter(audit_chain::seq.le(seq)))
                .execute(connection)
                .map_err(store_error)?;
            let events = rows.iter().map(|row| DbId(row.event));
            diesel::delete(security_events::table.filter(security_events::id.eq_any(events)))
                .execute(connection)
                .map_err(store_error)
        })
    }
}

/// What a checkpoint makes useless: the statements about what was deleted, but for those that vouch for keys.
const SUPERSEDED: [StatementKind; 2] = [StatementKind::Head, StatementKind::Checkpoint];

/// Leaves a statement that a new secret's key came in the place of the old one's. The caller has moved the fingerprint.
pub(in crate::db) fn hand_over(
    connection: &mut AnyConnection,
    new: &AuditKey,
    old: &AuditKey,
    at: UnixTime,
) -> Result<(), StoreError> {
    let link = tip(connection)?;
    let unsigned = unsigned(connection, StatementKind::HandOver, link, at, new)?;
    insert_statement(connection, &unsigned.hand_over(new, old))
}

/// Leaves a statement that a secret was adopted. The caller has moved the fingerprint.
pub(in crate::db) fn adoption(
    connection: &mut AnyConnection,
    key: &AuditKey,
    at: UnixTime,
) -> Result<(), StoreError> {
    let link = tip(connection)?;
    let unsigned = unsigned(connection, StatementKind::Adoption, link, at, key)?;
    insert_statement(connection, &unsigned.sign(key))
}

fn take_turn(connection: &mut AnyConnection, turn: SealTurn) -> Result<bool, StoreError> {
    let instance = DbId(turn.instance);
    let is_free = deployment::sealer_until.le(DbTime(turn.now));
    let is_ours = deployment::sealer.eq(instance).or(is_free.nullable());
    let taken = diesel::update(deployment::table.filter(is_ours))
        .set((deployment::sealer.eq(instance), deployment::sealer_until.eq(DbTime(turn.until))))
        .execute(connection)
        .map_err(store_error)?;
    Ok(taken == 1)
}

/// Locks the row as taking a turn does.
fn lock(connection: &mut AnyConnection) -> Result<(), StoreError> {
    diesel::update(deployment::table)
        .set(deployment::sealer_until.eq(deployment::sealer_until))
        .execute(connection)
        .map_err(store_error)?;
    Ok(())
}

/// Whether the database's secret is the instance's own, not only one that it accepts: its key signs then.
fn is_in_charge(connection: &mut AnyConnection, keys: &AuditKeys) -> Result<bool, StoreError> {
    let fingerprint: Option<Vec<u8>> =
        deployment::table.select(deployment::key_check).first(connection).map_err(store_error)?;
    Ok(fingerprint.as_deref() == Some(keys.fingerprint.as_bytes()))
}

/// The end of the chain; where all of it was deleted, the checkpoint that says so.
pub(in crate::db) fn tip(connection: &mut AnyConnection) -> Result<Link, StoreError> {
    let last: Option<(i64, Vec<u8>)> = audit_chain::table
        .filter(audit_chain::seq.gt(0))
        .order(audit_chain::seq.desc())
        .select((audit_chain::seq, audit_chain::hash))
        .first(connection)
        .optional()
        .map_err(store_error)?;
    match last {
        Some((seq, hash)) => link(seq, &hash),
        None => Ok(checkpoint(connection)?.unwrap_or_else(Link::genesis)),
    }
}

/// The newest checkpoint.
pub(in crate::db) fn checkpoint(connection: &mut AnyConnection) -> Result<Option<Link>, StoreError> {
    let newest: Option<(i64, Vec<u8>)> = audit_heads::table
        .filter(audit_heads::kind.eq(StatementKind::Checkpoint.name()))
        .order(audit_heads::number.desc())
        .select((audit_heads::seq, audit_heads::hash))
        .first(connection)
        .optional()
        .map_err(store_error)?;
    newest.map(|(seq, hash)| link(seq, &hash)).transpose()
}

/// The newest place that was signed as the end of the chain, and when.
fn newest_signed(connection: &mut AnyConnection) -> Result<Option<(i64, UnixTime)>, StoreError> {
    let newest: Option<(i64, DbTime)> = audit_heads::table
        .filter(audit_heads::number.gt(0))
        .filter(audit_heads::kind.ne(StatementKind::Checkpoint.name()))
        .order(audit_heads::number.desc())
        .select((audit_heads::seq, audit_heads::at))
        .first(connection)
        .optional()
        .map_err(store_error)?;
    Ok(newest.map(|(seq, DbTime(at))| (seq, at)))
}

/// The next statement.
fn unsigned(
    connection: &mut AnyConnection,
    kind: StatementKind,
    link: Link,
    at: UnixTime,
    key: &AuditKey,
) -> Result<Unsigned, StoreError> {
    let newest: Option<i64> = audit_heads::table
        .filter(audit_heads::number.gt(0))
        .order(audit_heads::number.desc())
        .select(audit_heads::number)
        .first(connection)
        .optional()
        .map_err(store_error)?;
    Ok(Unsigned { number: newest.unwrap_or(0) + 1, kind, link, at, key: key.public() })
}

fn insert_statement(connection: &mut AnyConnection, statement: &Statement) -> Result<(), StoreError> {
    let unsigned = &statement.unsigned;
    let row = (
        audit_heads::number.eq(unsigned.number),
        audit_heads::kind.eq(unsigned.kind.name()),
        audit_heads::seq.eq(unsigned.link.seq),
        audit_heads::hash.eq(unsigned.link.hash.as_bytes().as_slice()),
        audit_heads::at.eq(DbTime(unsigned.at)),
        audit_heads::public_key.eq(unsigned.key.as_bytes().as_slice()),
        audit_heads::signature.eq(statement.signature.as_slice()),
        audit_heads::old_public_key.eq(statement.old.as_ref().map(|old| old.key.as_bytes().as_slice())),
        audit_heads::old_signature.eq(statement.old.as_ref().map(|old| old.signature.as_slice())),
    );
    diesel::insert_into(audit_heads::table).values(row).execute(connection).map_err(store_error)?;
    Ok(())
}

/// The rows at the chain's beginning whose events are from before a time.
fn oldest_rows(
    connection: &mut AnyConnection,
    before: UnixTime,
    most: u32,
) -> Result<Vec<ChainRow>, StoreError> {
    let mut rows = chain(connection, 0, most)?;
    let ids: Vec<_> = rows.iter().map(|row| DbId(row.event)).collect();
    let times: Vec<(DbId, DbTime)> = security_events::table
        .filter(security_events::id.eq_any(ids))
        .select((security_events::id, security_events::at))
        .load(connection)
        .map_err(store_error)?;
    let times: HashMap<Uuid, UnixTime> = times.into_iter().map(|(DbId(id), DbTime(at))| (id, at)).collect();
    let is_old = |row: &ChainRow| times.get(&row.event).is_some_and(|at| *at < before);
    let old = rows.iter().position(|row| !is_old(row)).unwrap_or(rows.len());
    rows.truncate(old);
    Ok(rows)
}

/// The rows of the chain after a place.
pub(in crate::db) fn chain(
    connection: &mut AnyConnection,
    after: i64,
    most: u32,
) -> Result<Vec<ChainRow>, StoreError> {
    let rows: Vec<(i64, DbId, Vec<u8>)> = audit_chain::table
        .filter(audit_chain::seq.gt(after))
        .order(audit_chain::seq)
        .limit(most.into())
        .select((audit_chain::seq, audit_chain::event_id, audit_chain::hash))
        .load(connection)
        .map_err(store_error)?;
    rows.into_iter().map(|(seq, DbId(event), hash)| Ok(ChainRow { link: link(seq, &hash)?, event })).collect()
}

/// Events, in no order. Those that are not there are left out.
pub(in crate::db) fn events(
    connection: &mut AnyConnection,
    ids: &[Uuid],
) -> Result<Vec<StoredEvent>, StoreError> {
    let ids: Vec<_> = ids.iter().copied().map(DbId).collect();
    let rows: Vec<EventRow> = security_events::table
        .filter(security_events::id.eq_any(ids))
        .select(EventRow::as_select())
        .load(connection)
        .map_err(store_error)?;
    Ok(rows.into_iter().map(StoredEvent::from).collect())
}

/// Two walks along two indexes: what both have is sealed.
pub(in crate::db) fn look_for_unsealed(
    connection: &mut AnyConnection,
    after: Uuid,
    most: u32,
) -> Result<Look, StoreError> {
    let found: Vec<DbId> = security_events::table
        .filter(security_events::id.gt(DbId(after)))
        .order(security_events::id)
        .limit(most.into())
        .select(security_events::id)
        .load(connection)
        .map_err(store_error)?;
    let Some(&last) = found.last() else { return Ok(Look { unsealed: Vec::new(), next: None }) };
    let sealed: Vec<DbId> = audit_chain::table
        .filter(audit_chain::event_id.gt(DbId(after)))
        .filter(audit_chain::event_id.le(last))
        .order(audit_chain::event_id)
        .select(audit_chain::event_id)
        .load(connection)
        .map_err(store_error)?;
    let next = (found.len() == most as usize).then_some(last.0);
    let mut sealed = sealed.into_iter().map(|DbId(id)| id).peekable();
    let is_unsealed = |id: &Uuid| {
        while sealed.next_if(|sealed| sealed < id).is_some() {}
        sealed.next_if_eq(id).is_none()
    };
    Ok(Look { unsealed: found.into_iter().map(|DbId(id)| id).filter(is_unsealed).collect(), next })
}

/// Statements from before a number, the newest first.
pub(in crate::db) fn statements(
    connection: &mut AnyConnection,
    before: i64,
    most: u32,
) -> Result<Vec<Statement>, StoreError> {
    let rows: Vec<StatementRow> = audit_heads::table
        .filter(audit_heads::number.lt(before))
        .order(audit_heads::number.desc())
        .limit(most.into())
        .select(StatementRow::as_select())
        .load(connection)
        .map_err(store_error)?;
    rows.into_iter().map(Statement::try_from).collect()
}

fn link(seq: i64, hash: &[u8]) -> Result<Link, StoreError> {
    let hash = ChainHash::from_slice(hash).ok_or_else(|| corrupt(&format!("audit hash of seq {seq}")))?;
    Ok(Link { seq, hash })
}

fn corrupt(what: &str) -> StoreError {
    StoreError::new(StoreErrorKind::Corrupt, format!("the {what} does not parse"))
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = security_events)]
struct EventRow {
    id: DbId,
    at: DbTime,
    kind: String,
    detail: Option<String>,
    user_id: Option<DbId>,
    session_id: Option<DbId>,
    address: Option<String>,
    agent: Option<String>,
}

impl From<EventRow> for StoredEvent {
    fn from(row: EventRow) -> Self {
        Self {
            id: row.id.0,
            at: row.at.0,
            kind: row.kind,
            detail: row.detail,
            user: row.user_id.map(|DbId(id)| id),
            session: row.session_id.map(|DbId(id)| id),
            address: row.address,
            agent: row.agent,
        }
    }
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = audit_heads)]
struct StatementRow {
    number: i64,
    kind: String,
    seq: i64,
    hash: Vec<u8>,
    at: DbTime,
    public_key: Vec<u8>,
    signature: Vec<u8>,
    old_public_key: Option<Vec<u8>>,
    old_signature: Option<Vec<u8>>,
}

impl TryFrom<StatementRow> for Statement {
    type Error = StoreError;

    fn try_from(row: StatementRow) -> Result<Self, StoreError> {
        let corrupt = || corrupt(&format!("audit statement {}", row.number));
        let key = |bytes: &[u8]| PublicAuditKey::from_slice(bytes).ok_or_else(corrupt);
        let old = match (&row.old_public_key, row.old_signature) {
            (Some(old), Some(signature)) => Some(Old { key: key(old)?, signature }),
            (None, None) => None,
            _ => return Err(corrupt()),
        };
        let unsigned = Unsigned {
            number: row.number,
            kind: StatementKind::named(&row.kind).ok_or_else(corrupt)?,
            link: link(row.seq, &row.hash)?,
            at: row.at.0,
            key: key(&row.public_key)?,
        };
        Ok(Self { unsigned, signature: row.signature, old })
    }
}
