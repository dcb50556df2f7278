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
            // Sealing lags behind; `audit verify` checks the chain at the end.
            "audit_chain" | "audit_heads" => None,
            // The other columns hold times, and which instance purges and seals.
            "deployment" => Some(row(database, &["key_check", "session_floor", "adoptions"])),
            // Only that it happened; the chain protects the rest.
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
        State(self.lines(database))
    }
}

/// A row as one text that tells every column.
fn row<T: AsRef<str>>(database: &Database, columns: &[T]) -> String {
    let columns: Vec<_> = columns.iter().map(AsRef::as_ref).collect();
    match database.kind {
        Kind::Sqlite => {
            columns.iter().map(|column| format!("quote({column})")).collect::<Vec<_>>().join(" || ',' || ")
        }
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

/// The rows, a line for each, with the name of its table before it.
#[derive(Debug)]
pub(crate) struct State(String);

/// What a request has left behind, both in alphabetical order.
#[derive(Debug, Default)]
pub(crate) struct Traces {
    /// The tables in which rows differ, but for the events.
    pub(crate) tables: Vec<String>,
    /// The kinds of the events that were recorded.
    pub(crate) events: Vec<String>,
}

impl State {
    pub(crate) fn since(&self, before: &Self) -> Traces {
        // Nearly always.
        if self.0 == before.0 {
            return Traces::default();
        }
        let mut more: BTreeMap<&str, i64> = BTreeMap::new();
        for line in self.0.lines() {
            *more.entry(line).or_default() += 1;
        }
        for line in before.0.lines() {
            *more.entry(line).or_default() -= 1;
        }
        let mut traces = Traces::default();
        for (line, more) in more.into_iter().filter(|(_, more)| *more != 0) {
            let (table, row) = line.split_once(' ').unwrap();
            if table == EVENTS {
                let new = usize::try_from(more).expect("no event disappears");
                traces.events.extend(vec![row.to_owned(); new]);
            } else if !traces.tables.iter().any(|known| known == table) {
                traces.tables.push(table.to_owned());
            }
        }
        traces
    }
}

const EVENTS: &str = "security_events";
