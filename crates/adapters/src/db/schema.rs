//! The tables as the queries see them, with the SQL types that both databases have natively.

pub(super) mod sql_types {
    /// `uuid` on PostgreSQL, a 16-byte `BLOB` on SQLite.
    #[derive(Clone, Copy, Debug, Default, diesel::query_builder::QueryId, diesel::sql_types::SqlType)]
    #[diesel(postgres_type(oid = 2950, array_oid = 2951))]
    #[diesel(sqlite_type(name = "Binary"))]
    pub struct Id;

    /// `timestamptz` on PostgreSQL, `INTEGER` microseconds since 1970 on SQLite.
    #[derive(Clone, Copy, Debug, Default, diesel::query_builder::QueryId, diesel::sql_types::SqlType)]
    #[diesel(postgres_type(oid = 1184, array_oid = 1185))]
    #[diesel(sqlite_type(name = "Long"))]
    pub struct Moment;

    /// `xid8`, a transaction's number, on PostgreSQL; `INTEGER` on SQLite.
    #[derive(Clone, Copy, Debug, Default, diesel::query_builder::QueryId, diesel::sql_types::SqlType)]
    #[diesel(postgres_type(oid = 5069, array_oid = 271))]
    #[diesel(sqlite_type(name = "Long"))]
    pub struct Transaction;
}

diesel::table! {
    use diesel::sql_types::{BigInt, Nullable, Text};
    use super::sql_types::{Id, Moment};

    users (id) {
        id -> Id,
        username -> Text,
        canonical_name -> Text,
        password_hash -> Text,
        credential_version -> BigInt,
        disabled_at -> Nullable<Moment>,
        created_at -> Moment,
    }
}

diesel::table! {
    use diesel::sql_types::{BigInt, Nullable, Text};
    use super::sql_types::{Id, Moment, Transaction};

    sessions (id) {
        id -> Id,
        user_id -> Id,
        generation -> BigInt,
        opened_at -> Moment,
        rotated_at -> Moment,
        expires_at -> Moment,
        absolute_expires_at -> Moment,
        ended_at -> Nullable<Moment>,
        address -> Nullable<Text>,
        agent -> Nullable<Text>,
        ended_xid -> Nullable<Transaction>,
    }
}

diesel::table! {
    use diesel::sql_types::{BigInt, Binary, Nullable};
    use super::sql_types::{Id, Moment};

    attempt_counters (pseudonym) {
        pseudonym -> Binary,
        user_id -> Nullable<Id>,
        attempts -> BigInt,
        next_at -> Moment,
        known_until -> Nullable<Moment>,
    }
}

diesel::table! {
    use diesel::sql_types::{Nullable, Text};
    use super::sql_types::{Id, Moment, Transaction};

    security_events (id) {
        id -> Id,
        at -> Moment,
        kind -> Text,
        detail -> Nullable<Text>,
        user_id -> Nullable<Id>,
        session_id -> Nullable<Id>,
        address -> Nullable<Text>,
        agent -> Nullable<Text>,
        recorded_xid -> Transaction,
    }
}

diesel::table! {
    use diesel::sql_types::{BigInt, Binary, Integer, Nullable, Text};
    use super::sql_types::{Id, Moment};

    deployment (id) {
        id -> Integer,
        key_check -> Nullable<Binary>,
        session_floor -> Moment,
        newest_mark -> Moment,
        sweeper -> Nullable<Id>,
        sweeper_until -> Moment,
        adoptions -> BigInt,
        sealer -> Nullable<Id>,
        sealer_until -> Moment,
        home -> Nullable<Binary>,
        moved_at -> Nullable<Moment>,
        oldest_binary -> Text,
    }
}

diesel::table! {
    use diesel::sql_types::{BigInt, Binary};
    use super::sql_types::Id;

    audit_chain (seq) {
        seq -> BigInt,
        event_id -> Id,
        hash -> Binary,
    }
}

diesel::table! {
    use diesel::sql_types::{BigInt, Binary, Nullable, Text};
    use super::sql_types::Moment;

    audit_heads (number) {
        number -> BigInt,
        kind -> Text,
        seq -> BigInt,
        hash -> Binary,
        at -> Moment,
        public_key -> Binary,
        signature -> Binary,
        old_public_key -> Nullable<Binary>,
        old_signature -> Nullable<Binary>,
    }
}

diesel::table! {
    use diesel::sql_types::{Binary, Bool};

    known_secrets (key_check) {
        key_check -> Binary,
        refused -> Bool,
    }
}

diesel::table! {
    use diesel::sql_types::Text;

    /// Diesel's own: the migrations that were applied.
    __diesel_schema_migrations (version) {
        version -> Text,
    }
}

/// The names of the service's tables, in order. Tests compare hand-written lists of tables with them.
#[cfg(test)]
pub(super) fn tables() -> Vec<&'static str> {
    let heads =
        include_str!("schema.rs").lines().filter_map(|line| line.strip_prefix("    ")?.strip_suffix(") {"));
    let names = heads.filter_map(|head| head.split_once(" (")).map(|(name, _key)| name);
    names.filter(|name| !name.contains(' ')).collect()
}

diesel::allow_tables_to_appear_in_same_query!(users, sessions, security_events, deployment);
diesel::allow_tables_to_appear_in_same_query!(audit_chain, security_events);
