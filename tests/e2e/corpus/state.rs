//! What the database holds, to be compared.

use std::collections::BTreeMap;

use crate::database::{Database, Kind};

/// Reads all tables of a database, whatever they are: one that is new is watched at once.
pub(crate) struct Tables {
    query: String,
}

impl Tables {
    /// What only a case that says so may change.
    pub(crate) fn sensitive(database: &Database) -> Self {
        Self::with(database, |table| match table {
            // Sealing lags behind; `audit verify` sees to it in the end.
            "audit_chain" | "audit_heads" => None,
            // The rest of it are marks of the time, and who sweeps and seals.
            "deployment" => Some(row(database, &["key_check", "session_floor", "adoptions"])),
            // That it happened; the chain keeps what it was.
            EVENTS => Some("kind".to_owned()),
            _ => Some(row(database, &columns(database, table))),
        })
    }

    /// Everything.
    pub(crate) fn all(database: &Database) -> Self {
        Self::with(database, |table| Some(row(database, &columns(database, table))))
    }

    fn with(database: &Database, row_of: impl Fn(&str) -> Option<String>) -> Self {
        let names = match database.kind {
            Kind::Sqlite => "SELECT group_concat(name) FROM sqlite_master WHERE type = 'table'",
            Kind::Postgres { .. } => {
                "SELECT string_agg(tablename, ',') FROM pg_tables WHERE schemaname = 'public'"
            }
        };
        let names = database.text(names);
        assert!(names.split(',').count() >= 8, "{names}");
        let select = |table| Some(format!("SELECT '{table} ' || {} AS line FROM {table}", row_of(table)?));
        let lines = names.split(',').filter_map(select).collect::<Vec<_>>().join(" UNION ALL ");
        let query = match database.kind {
            Kind::Sqlite => format!("SELECT group_concat(line, char(10)) FROM ({lines})"),
            Kind::Postgres { .. } => format!("SELECT string_agg(line, chr(10)) FROM ({lines}) AS lines"),
        };
        Self { query }
    }

    /// A line for each row, which begins with the name of its table.
    pub(crate) fn lines(&self, database: &Database) -> String {
        database.text(&self.query)
    }

    pub(crate) fn read(&self, database: &Database) -> State {
        let mut rows = BTreeMap::new();
        for line in self.lines(database).lines() {
            *rows.entry(line.to_owned()).or_default() += 1;
        }
        State(rows)
    }
}

/// A row as one text that tells every column.
fn row<T: AsRef<str>>(database: &Database, columns: &[T]) -> String {
    let columns: Vec<_> = columns.iter().map(AsRef::as_ref).collect();
    match database.kind {
        Kind::Sqlite => columns.iter().map(|column| format!("quote({column})")).collect::<Vec<_>>().join(" || ',' || "),
        Kind::Postgres { .. } => format!("ROW({})::text", columns.join(", ")),
    }
}

fn columns(database: &Database, table: &str) -> Vec<String> {
    let names = match database.kind {
        Kind::Sqlite => format!("SELECT group_concat(name) FROM pragma_table_info('{table}')"),
        Kind::Postgres { .. } => format!(
            "SELECT string_agg(column_name, ',') FROM information_schema.columns
             WHERE table_schema = 'public' AND table_name = '{table}'"
        ),
    };
    database.text(&names).split(',').map(str::to_owned).collect()
}

/// How often each row is there, with the name of its table before it.
#[derive(Debug)]
pub(crate) struct State(BTreeMap<String, usize>);

impl State {
    /// The tables in which rows differ, but for the events.
    pub(crate) fn changed_since(&self, before: &Self) -> Vec<String> {
        let differ = |a: &Self, b: &Self| -> Vec<String> {
            a.0.iter().filter(|(row, count)| b.0.get(*row) != Some(count)).map(|(row, _)| table(row)).collect()
        };
        let mut tables = [differ(self, before), differ(before, self)].concat();
        tables.retain(|table| table != EVENTS);
        tables.sort();
        tables.dedup();
        tables
    }

    /// The events that happened, in alphabetical order. None ever disappears.
    pub(crate) fn events_since(&self, before: &Self) -> Vec<String> {
        let events = |state: &Self| -> BTreeMap<String, usize> {
            let events = state.0.iter().filter_map(|(row, count)| Some((row.strip_prefix(EVENTS)?.trim().to_owned(), *count)));
            events.collect()
        };
        let (before, after) = (events(before), events(self));
        assert!(before.keys().all(|kind| after.contains_key(kind)), "{before:?} became {after:?}");
        let new = after.into_iter().map(|(kind, count)| {
            let known = before.get(&kind).copied().unwrap_or_default();
            assert!(count >= known, "{kind}: {known} became {count}");
            vec![kind; count - known]
        });
        new.flatten().collect()
    }
}

const EVENTS: &str = "security_events";

fn table(row: &str) -> String {
    row.split(' ').next().unwrap().to_owned()
}
