//! What was signed about the audit chain: heads, checkpoints, hand-overs and adoptions.

use diesel::prelude::*;
use portcullis_domain::ports::StoreError;
use portcullis_domain::time::UnixTime;

use super::chain::{corrupt, link, tip};
use crate::audit::{AuditKey, Link, Old, PublicAuditKey, Statement, StatementKind, Unsigned};
use crate::db::connection::AnyConnection;
use crate::db::error::store_error;
use crate::db::schema::audit_heads;
use crate::db::types::DbTime;

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
pub(super) fn newest_signed(connection: &mut AnyConnection) -> Result<Option<(i64, UnixTime)>, StoreError> {
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
pub(super) fn unsigned(
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

pub(super) fn insert_statement(
    connection: &mut AnyConnection,
    statement: &Statement,
) -> Result<(), StoreError> {
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
