//! The tables that a copy consists of, and their rows in the types of either database.
//!
//! The numbers of transactions are left out: they mean nothing in another database, which assigns its own. So are the
//! turns of instances, and the home.

use diesel::pg::PgConnection;
use diesel::prelude::*;
use portcullis_domain::time::UnixTime;

use super::digest::{Contents, Encode as _, Fields, TableDigest};
use crate::db::connection::AnyConnection;
use crate::db::schema::{
    attempt_counters, audit_chain, audit_heads, deployment, known_secrets, security_events, sessions, users,
};
use crate::db::types::{DbId, DbTime};

/// A table of many rows.
pub(super) trait Table {
    /// Its name.
    const NAME: &'static str;

    /// Returns how many rows there are.
    fn count(connection: &mut AnyConnection) -> QueryResult<i64>;

    /// Deletes every row.
    fn clear(connection: &mut AnyConnection) -> QueryResult<()>;

    /// Copies every row, in the order of the keys, and returns what was read. `copied` receives the size of each batch.
    fn copy(
        from: &mut AnyConnection,
        to: &mut AnyConnection,
        copied: &mut dyn FnMut(usize),
    ) -> Result<Contents, Side<diesel::result::Error>>;

    /// Reads every row, in the order of the keys.
    fn contents(connection: &mut AnyConnection, read: &mut dyn FnMut(usize)) -> QueryResult<Contents>;
}

/// The database at which something failed.
#[derive(Debug)]
pub(super) enum Side<E> {
    From(E),
    To(E),
}

macro_rules! tables {
    ($($row:ident of $table:ident by $key:ident { $($column:ident: $type:ty,)* })*) => {$(
        #[derive(Insertable, Queryable, Selectable)]
        #[diesel(table_name = $table, treat_none_as_default_value = false)]
        pub(super) struct $row { $($column: $type,)* }

        impl $row {
            fn page(connection: &mut AnyConnection, after: Option<&Self>) -> QueryResult<Vec<Self>> {
                let rows = $table::table.order($table::$key).limit(BATCH).select(Self::as_select());
                match after {
                    Some(last) => rows.filter($table::$key.gt(&last.$key)).load(connection),
                    None => rows.load(connection),
                }
            }

            fn pages<E>(
                connection: &mut AnyConnection,
                mut each: impl FnMut(&[Self]) -> Result<(), E>,
            ) -> Result<QueryResult<Contents>, E> {
                let mut digest = TableDigest::new();
                let mut last = None;
                loop {
                    let mut page = match Self::page(connection, last.as_ref()) {
                        Ok(page) => page,
                        Err(error) => return Ok(Err(error)),
                    };
                    for row in &page {
                        digest.row(|fields| row.encode(fields));
                    }
                    each(&page)?;
                    match page.pop() {
                        Some(row) => last = Some(row),
                        None => return Ok(Ok(digest.finish())),
                    }
                }
            }

            fn encode(&self, fields: &mut Fields<'_>) {
                $(self.$column.encode(fields);)*
            }
        }

        impl Table for $row {
            const NAME: &'static str = stringify!($table);

            fn count(connection: &mut AnyConnection) -> QueryResult<i64> {
                $table::table.count().get_result(connection)
            }

            fn clear(connection: &mut AnyConnection) -> QueryResult<()> {
                diesel::delete($table::table).execute(connection)?;
                Ok(())
            }

            fn copy(
                from: &mut AnyConnection,
                to: &mut AnyConnection,
                copied: &mut dyn FnMut(usize),
            ) -> Result<Contents, Side<diesel::result::Error>> {
                Self::pages(from, |page| {
                    if page.is_empty() {
                        return Ok(());
                    }
                    let inserted = match to {
                        AnyConnection::Postgres(to) => {
                            diesel::copy_from($table::table).from_insertable(page).execute(to)
                        }
                        AnyConnection::Sqlite(to) => {
                            diesel::insert_into($table::table).values(page).execute(to)
                        }
                    };
                    copied(inserted.map_err(Side::To)?);
                    Ok(())
                })?
                .map_err(Side::From)
            }

            fn contents(
                connection: &mut AnyConnection,
                read: &mut dyn FnMut(usize),
            ) -> QueryResult<Contents> {
                let pages = Self::pages(connection, |page| Ok::<_, diesel::result::Error>(read(page.len())));
                pages?
            }
        }
    )*};
}

tables! {
    User of users by id {
        id: DbId,
        username: String,
        canonical_name: String,
        password_hash: String,
        credential_version: i64,
        disabled_at: Option<DbTime>,
        created_at: DbTime,
    }
    Session of sessions by id {
        id: DbId,
        user_id: DbId,
        generation: i64,
        opened_at: DbTime,
        rotated_at: DbTime,
        expires_at: DbTime,
        absolute_expires_at: DbTime,
        ended_at: Option<DbTime>,
        address: Option<String>,
        agent: Option<String>,
    }
    AttemptCounter of attempt_counters by pseudonym {
        pseudonym: Vec<u8>,
        user_id: Option<DbId>,
        attempts: i64,
        next_at: DbTime,
        known_until: Option<DbTime>,
    }
    SecurityEvent of security_events by id {
        id: DbId,
        at: DbTime,
        kind: String,
        detail: Option<String>,
        user_id: Option<DbId>,
        session_id: Option<DbId>,
        address: Option<String>,
        agent: Option<String>,
    }
    ChainLink of audit_chain by seq {
        seq: i64,
        event_id: DbId,
        hash: Vec<u8>,
    }
    AuditHead of audit_heads by number {
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
    KnownSecret of known_secrets by key_check {
        key_check: Vec<u8>,
        refused: bool,
    }
}

/// What all instances share, except what belongs to the database itself.
#[derive(AsChangeset, Queryable, Selectable)]
#[diesel(table_name = deployment, treat_none_as_null = true)]
pub(super) struct Shared {
    key_check: Option<Vec<u8>>,
    session_floor: DbTime,
    newest_mark: DbTime,
    adoptions: i64,
}

impl Default for Shared {
    /// The row as the migrations create it.
    fn default() -> Self {
        let epoch = DbTime(UnixTime::EPOCH);
        Self { key_check: None, session_floor: epoch, newest_mark: epoch, adoptions: 0 }
    }
}

impl Shared {
    pub(super) fn read(connection: &mut AnyConnection) -> QueryResult<Self> {
        deployment::table.select(Self::as_select()).first(connection)
    }

    pub(super) fn store(&self, connection: &mut AnyConnection) -> QueryResult<()> {
        diesel::update(deployment::table).set(self).execute(connection)?;
        Ok(())
    }

    /// Whether an instance used the database with a secret.
    pub(super) fn is_used(&self) -> bool {
        self.key_check.is_some()
    }

    pub(super) fn contents(&self) -> Contents {
        let mut digest = TableDigest::new();
        digest.row(|fields| {
            fields.add(&self.key_check);
            fields.add(&self.session_floor);
            fields.add(&self.newest_mark);
            fields.add(&self.adoptions);
        });
        digest.finish()
    }
}

/// Keeps others from writing to a PostgreSQL database until the end of the transaction. They may read. SQLite's
/// transaction does so anyway.
pub(super) fn lock(connection: &mut PgConnection) -> QueryResult<()> {
    let tables = "users, sessions, attempt_counters, security_events, audit_chain, audit_heads, known_secrets, deployment";
    diesel::sql_query(format!("LOCK TABLE {tables} IN EXCLUSIVE MODE")).execute(connection)?;
    Ok(())
}

/// How many rows are copied at once: SQLite takes 32,766 values a statement.
const BATCH: i64 = 2_000;
