//! The rows of the audit chain, and the events they seal.

use std::collections::{HashMap, HashSet};

use diesel::prelude::*;
use portcullis_domain::ports::{StoreError, StoreErrorKind};
use portcullis_domain::time::UnixTime;
use uuid::Uuid;

use super::statements::checkpoint;
use crate::audit::{ChainHash, Link, SealableEvent};
use crate::db::connection::AnyConnection;
use crate::db::error::store_error;
use crate::db::schema::{audit_chain, security_events};
use crate::db::types::{DbId, DbTime, DbTransaction};

/// What a look at some events found.
pub(crate) struct UnsealedPage<P> {
    /// Those that are not in the chain, in the order of the walk.
    pub(crate) unsealed: Vec<Uuid>,
    /// Where to go on; `None` at the end.
    pub(crate) next: Option<P>,
}

/// A place in a walk by transactions: after this event of this transaction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recorded {
    pub(crate) transaction: u64,
    pub(crate) event: Uuid,
}

/// A row of the chain.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChainRow {
    pub(crate) link: Link,
    pub(crate) event: Uuid,
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

/// The rows at the chain's beginning whose events are from before a time.
pub(super) fn oldest_rows(
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
) -> Result<Vec<SealableEvent>, StoreError> {
    let ids: Vec<_> = ids.iter().copied().map(DbId).collect();
    let rows: Vec<EventRow> = security_events::table
        .filter(security_events::id.eq_any(ids))
        .select(EventRow::as_select())
        .load(connection)
        .map_err(store_error)?;
    Ok(rows.into_iter().map(SealableEvent::from).collect())
}

/// Two walks along two indexes: what both have is sealed.
pub(in crate::db) fn find_unsealed(
    connection: &mut AnyConnection,
    after: Uuid,
    most: u32,
) -> Result<UnsealedPage<Uuid>, StoreError> {
    let found: Vec<DbId> = security_events::table
        .filter(security_events::id.gt(DbId(after)))
        .order(security_events::id)
        .limit(most.into())
        .select(security_events::id)
        .load(connection)
        .map_err(store_error)?;
    let Some(&last) = found.last() else { return Ok(UnsealedPage { unsealed: Vec::new(), next: None }) };
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
    Ok(UnsealedPage { unsealed: found.into_iter().map(|DbId(id)| id).filter(is_unsealed).collect(), next })
}

/// A walk along the index of the transactions that recorded the events.
pub(in crate::db) fn find_unsealed_since(
    connection: &mut AnyConnection,
    after: Recorded,
    most: u32,
) -> Result<UnsealedPage<Recorded>, StoreError> {
    let transaction = DbTransaction(after.transaction);
    let is_after =
        security_events::recorded_xid.gt(transaction).or(security_events::id.gt(DbId(after.event)));
    let found: Vec<(DbTransaction, DbId)> = security_events::table
        .filter(security_events::recorded_xid.ge(transaction))
        .filter(is_after)
        .order((security_events::recorded_xid, security_events::id))
        .limit(most.into())
        .select((security_events::recorded_xid, security_events::id))
        .load(connection)
        .map_err(store_error)?;
    let Some(&(DbTransaction(transaction), DbId(event))) = found.last() else {
        return Ok(UnsealedPage { unsealed: Vec::new(), next: None });
    };
    let next = (found.len() == most as usize).then_some(Recorded { transaction, event });
    let ids = found.into_iter().map(|(_transaction, id)| id).collect::<Vec<_>>();
    let sealed: Vec<DbId> = audit_chain::table
        .filter(audit_chain::event_id.eq_any(ids.clone()))
        .select(audit_chain::event_id)
        .load(connection)
        .map_err(store_error)?;
    let sealed: HashSet<Uuid> = sealed.into_iter().map(|DbId(id)| id).collect();
    let unsealed = ids.into_iter().map(|DbId(id)| id).filter(|id| !sealed.contains(id)).collect();
    Ok(UnsealedPage { unsealed, next })
}

pub(super) fn link(seq: i64, hash: &[u8]) -> Result<Link, StoreError> {
    let hash = ChainHash::from_slice(hash).ok_or_else(|| corrupt(&format!("audit hash of seq {seq}")))?;
    Ok(Link { seq, hash })
}

pub(super) fn corrupt(what: &str) -> StoreError {
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

impl From<EventRow> for SealableEvent {
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
