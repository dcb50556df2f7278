//! What the database has of the subjects of a history.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Action, Operation};
use crate::database::{Database, Kind};
use crate::server::run;

/// The state after the recovery.
#[derive(Clone, Debug)]
pub(crate) struct Observed {
    /// By name.
    pub users: BTreeMap<String, UserRow>,
    /// By id.
    pub sessions: BTreeMap<String, SessionRow>,
    /// How many events there are, by kind and by the user's name or the session's id.
    pub events: BTreeMap<(String, String), u32>,
    /// Whether the audit chain verifies, or why it does not.
    pub chain: Result<(), String>,
}

/// A row of `users`.
#[derive(Clone, Debug)]
pub(crate) struct UserRow {
    pub password_changes: u32,
    /// How many sessions it has, ended ones included.
    pub sessions: u32,
}

/// A row of `sessions`.
#[derive(Clone, Debug)]
pub(crate) struct SessionRow {
    pub generation: u32,
    pub is_ended: bool,
}

impl Observed {
    /// Reads the rows of the users whose names begin with `prefix`, and of the sessions in the history. `ids` has the
    /// ids of deleted users, whose names only their events' readers know. `chain` is the outcome of [`verify_chain`].
    ///
    /// [`verify_chain`]: Self::verify_chain
    pub(crate) fn read(
        database: &Database,
        prefix: &str,
        ids: &BTreeMap<String, String>,
        history: &[Operation],
        chain: Result<(), String>,
    ) -> Self {
        let ended = "CASE WHEN ended_at IS NULL THEN 0 ELSE 1 END";
        let users = database.rows(
            &["id", "canonical_name", "credential_version"],
            &format!("FROM users WHERE canonical_name LIKE '{prefix}%'"),
        );
        let mut names: BTreeMap<String, String> =
            ids.iter().map(|(name, id)| (id.clone(), name.clone())).collect();
        names.extend(users.iter().map(|row| (text(&row[0]), text(&row[1]))));
        let of_sessions: BTreeSet<&str> = subjects_of_sessions(history);
        let among = |column: &str, ids: &mut dyn Iterator<Item = &str>| {
            let ids: Vec<String> = ids.map(|id| database.id(id)).collect();
            if ids.is_empty() { "1 = 0".to_owned() } else { format!("{column} IN ({})", ids.join(", ")) }
        };
        let of_users = among("user_id", &mut names.keys().map(String::as_str));
        let listed = among("id", &mut of_sessions.iter().copied());
        let sessions = database.rows(
            &["id", "user_id", "generation", ended],
            &format!("FROM sessions WHERE {of_users} OR {listed}"),
        );
        let events = database
            .rows(&["kind", "user_id", "session_id"], &format!("FROM security_events WHERE {of_users}"));

        let opened = |user: &Value| sessions.iter().filter(|row| row[1] == *user).count();
        let user = |row: &Vec<Value>| UserRow {
            // A new user has the version 1.
            password_changes: number(&row[2]).saturating_sub(1),
            sessions: u32::try_from(opened(&row[0])).unwrap(),
        };
        let mut counts = BTreeMap::new();
        for event in &events {
            let kind = text(&event[0]);
            let subject = match kind.as_str() {
                "logged_out" => text(&event[2]),
                _ => names[&text(&event[1])].clone(),
            };
            *counts.entry((kind, subject)).or_default() += 1;
        }
        Self {
            users: users.iter().map(|row| (text(&row[1]), user(row))).collect(),
            sessions: sessions
                .iter()
                .map(|row| {
                    let session = SessionRow { generation: number(&row[2]), is_ended: number(&row[3]) == 1 };
                    (text(&row[0]), session)
                })
                .collect(),
            events: counts,
            chain,
        }
    }

    /// Runs `portcullis audit verify`.
    pub(crate) fn verify_chain(database: &Database) -> Result<(), String> {
        let url = database.url();
        let output = run(database.folder.path(), &[("DATABASE__URL", &url)], &["audit", "verify"]);
        match output.status.success() {
            true => Ok(()),
            false => Err(format!("{output:?}")),
        }
    }

    pub(super) fn events_of(&self, kind: &str, subject: &str) -> u32 {
        self.events.get(&(kind.to_owned(), subject.to_owned())).copied().unwrap_or(0)
    }
}

fn subjects_of_sessions(history: &[Operation]) -> BTreeSet<&str> {
    let session = |operation: &'_ Operation| match &operation.action {
        Action::Login(_)
        | Action::Register
        | Action::ChangePassword(_)
        | Action::Delete
        | Action::Consume => false,
        Action::Refresh { .. } | Action::Logout | Action::EndWithUser | Action::Authenticate => true,
    };
    history
        .iter()
        .filter(|operation| session(operation))
        .map(|operation| operation.subject.as_str())
        .collect()
}

impl Database {
    /// Returns rows, an id as its text in hexadecimal with hyphens.
    fn rows(&self, columns: &[&str], rest: &str) -> Vec<Vec<Value>> {
        let is_id = |column: &str| column == "id" || column.ends_with("_id");
        let select = |column: &&str| match (&self.kind, is_id(column)) {
            (Kind::Sqlite, true) => format!("lower(hex({column}))"),
            _ => (*column).to_owned(),
        };
        let columns: Vec<String> = columns.iter().map(select).collect();
        let columns = columns.join(", ");
        let sql = match &self.kind {
            Kind::Sqlite => format!("SELECT json_group_array(json_array({columns})) {rest}"),
            Kind::Postgres { .. } => {
                format!("SELECT coalesce(json_agg(json_build_array({columns})), '[]') {rest}")
            }
        };
        let rows: Vec<Vec<Value>> = serde_json::from_str(&self.text(&sql)).unwrap();
        let with_hyphens = |value: Value| match value.as_str() {
            Some(hex) if hex.len() == 32 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
                let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
                Value::from(parts.join("-"))
            }
            _ => value,
        };
        rows.into_iter().map(|row| row.into_iter().map(with_hyphens).collect()).collect()
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn number(value: &Value) -> u32 {
    u32::try_from(value.as_u64().unwrap()).unwrap()
}
