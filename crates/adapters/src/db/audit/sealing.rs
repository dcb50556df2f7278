//! The sealer's transactions: events are sealed, the head is signed, and what is old is deleted. Who changes the chain has the
//! lock of the row of `deployment`: a sealer by taking its turn, who replaces the secret by moving the fingerprint.

use diesel::prelude::*;
use portcullis_domain::ports::StoreError;
use portcullis_domain::session::Cursor;
use portcullis_domain::time::UnixTime;
use uuid::Uuid;

use super::chain::{Recorded, UnsealedPage, events, find_unsealed, find_unsealed_since, oldest_rows, tip};
use super::statements::{insert_statement, newest_signed, unsigned};
use crate::audit::{AuditKeys, Statement, StatementKind};
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
    /// Where changes stand that later statements see; `None` on a standby.
    pub(crate) cursor: Option<Cursor>,
}

/// An instance takes its turn, or keeps it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SealTurn {
    pub(crate) instance: Uuid,
    pub(crate) now: UnixTime,
    pub(crate) until: UnixTime,
}

impl Database {
    pub(crate) fn seal_state(&self) -> Result<SealState, StoreError> {
        self.read(|connection| {
            let now = shared::now(connection);
            let position = shared::position(connection);
            let (holder, DbTime(until), DbTime(now), (timeline, next)): (Option<DbId>, _, _, _) =
                deployment::table
                    .select((deployment::sealer, deployment::sealer_until, now, position))
                    .first(connection)
                    .map_err(store_error)?;
            let holder = holder.map(|DbId(holder)| holder).filter(|_holder| until > now);
            Ok(SealState { now, holder, cursor: shared::cursor(timeline, next) })
        })
    }

    /// When the head was last signed.
    pub(crate) fn signed_at(&self) -> Result<Option<UnixTime>, StoreError> {
        Ok(self.read(newest_signed)?.map(|(_seq, at)| at))
    }

    /// Looks through at most `most` events after `after` for some that are not sealed.
    pub(crate) fn find_unsealed(&self, after: Uuid, most: u32) -> Result<UnsealedPage<Uuid>, StoreError> {
        self.read(|connection| find_unsealed(connection, after, most))
    }

    /// The same, in the order of the transactions that recorded the events.
    pub(crate) fn find_unsealed_since(
        &self,
        after: Recorded,
        most: u32,
    ) -> Result<UnsealedPage<Recorded>, StoreError> {
        self.read(|connection| find_unsealed_since(connection, after, most))
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
        // In this order: another instance may seal and sign between the two statements.
        let (signed, tip_before) =
            self.read(|connection| Ok((newest_signed(connection)?, tip(connection)?)))?;
        let signed = signed.map_or(0, |(seq, _at)| seq);
        if tip_before.seq < signed {
            log::error!(
                end = tip_before.seq, signed;
                "the audit chain is shorter than it was when it was signed: verify the audit log"
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

/// The statements that a checkpoint makes useless: those about deleted events, except the hand-overs of keys.
const SUPERSEDED: [StatementKind; 2] = [StatementKind::Head, StatementKind::Checkpoint];
