//! Recognises the statements that migrations consist of. Anything else is [`Kind::Unknown`].

use super::sql::{Statement, Word};

/// What a statement, or one part of an `ALTER TABLE`, does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Action {
    pub(super) kind: Kind,
    /// The table that it is about.
    pub(super) table: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    CreateTable,
    DropTable,
    CreateIndex {
        concurrently: bool,
        if_not_exists: bool,
    },
    DropIndex {
        concurrently: bool,
    },
    AddColumn(NewColumn),
    DropColumn,
    Rename,
    ChangeType,
    SetNotNull,
    /// `SET DEFAULT`, `DROP DEFAULT` or `DROP NOT NULL`.
    RelaxColumn,
    AddConstraint {
        not_valid: bool,
        foreign: bool,
    },
    ValidateConstraint,
    DropConstraint,
    CreateFunction,
    DropFunction,
    CreateTrigger,
    DropTrigger,
    ChangeRows,
    /// Names the newest migration that a binary must know from now on.
    RaiseGuard(String),
    Unknown,
}

/// The properties of an added column that decide about the work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is one clause of SQL")]
pub(super) struct NewColumn {
    pub(super) not_null: bool,
    pub(super) has_default: bool,
    /// The default, or a generated value, may differ from row to row.
    pub(super) is_computed: bool,
    pub(super) is_checked: bool,
    pub(super) is_unique: bool,
    pub(super) has_reference: bool,
}

/// Returns what a statement does, part by part.
pub(super) fn actions(statement: &Statement) -> Vec<Action> {
    let mut words = Words(&statement.words);
    let action = match words.keyword() {
        Some("create") => create(words),
        Some("drop") => drop(words),
        Some("alter") if words.eat(&["table"]) => return alter_table(words),
        Some("insert") if words.eat(&["into"]) => change_rows(words),
        Some("delete") if words.eat(&["from"]) => change_rows(words),
        Some("update") if words.eat(&["deployment", "set", "oldest_binary"]) => raise_guard(words),
        Some("update") => change_rows(words),
        _ => None,
    };
    vec![action.unwrap_or(Action { kind: Kind::Unknown, table: None })]
}

/// Returns the name of the index that a statement builds concurrently.
pub(super) fn concurrent_index(statement: &Statement) -> Option<String> {
    let mut words = Words(&statement.words);
    if !words.eat(&["create"]) {
        return None;
    }
    words.eat(&["unique"]);
    if !words.eat(&["index", "concurrently"]) {
        return None;
    }
    words.eat(&["if", "not", "exists"]);
    words.qualified_name()
}

fn create(mut words: Words<'_>) -> Option<Action> {
    words.eat(&["or", "replace"]);
    let _is_special = ["unlogged", "temp", "temporary"].iter().any(|kind| words.eat(&[kind]));
    if words.eat(&["table"]) {
        words.eat(&["if", "not", "exists"]);
        let table = words.qualified_name()?;
        // A table that copies another one, or that depends on others, is left to the reader.
        let depends =
            words.contains(&["references"]) || words.contains(&["as"]) || words.contains(&["inherits"]);
        return (!depends).then_some(Action { kind: Kind::CreateTable, table: Some(table) });
    }
    let is_unique = words.eat(&["unique"]);
    if words.eat(&["index"]) {
        let concurrently = words.eat(&["concurrently"]);
        let if_not_exists = words.eat(&["if", "not", "exists"]);
        return words.table_after_on(Kind::CreateIndex { concurrently, if_not_exists });
    }
    if is_unique {
        return None;
    }
    if words.eat(&["function"]) {
        return Some(Action { kind: Kind::CreateFunction, table: None });
    }
    words.eat(&["trigger"]).then(|| words.table_after_on(Kind::CreateTrigger))?
}

fn drop(mut words: Words<'_>) -> Option<Action> {
    let kind = match words.keyword()? {
        "table" => Kind::DropTable,
        "index" => Kind::DropIndex { concurrently: words.eat(&["concurrently"]) },
        "function" => return Some(Action { kind: Kind::DropFunction, table: None }),
        // SQLite's names no table.
        "trigger" => {
            return words
                .table_after_on(Kind::DropTrigger)
                .or(Some(Action { kind: Kind::DropTrigger, table: None }));
        }
        _ => return None,
    };
    words.eat(&["if", "exists"]);
    let name = words.qualified_name()?;
    // The statement names the index, not its table.
    Some(Action { table: (kind == Kind::DropTable).then_some(name), kind })
}

fn change_rows(mut words: Words<'_>) -> Option<Action> {
    words.eat(&["only"]);
    Some(Action { kind: Kind::ChangeRows, table: Some(words.qualified_name()?) })
}

/// Recognises the rest of `UPDATE deployment SET oldest_binary = '..'`.
fn raise_guard(words: Words<'_>) -> Option<Action> {
    match words.0 {
        [Word::Sign('='), Word::Text(version)] => {
            Some(Action { kind: Kind::RaiseGuard(version.clone()), table: Some("deployment".to_owned()) })
        }
        _ => None,
    }
}

fn alter_table(mut words: Words<'_>) -> Vec<Action> {
    words.eat(&["if", "exists"]);
    words.eat(&["only"]);
    let table = words.qualified_name();
    let parts = words.split_at_commas();
    let kinds = parts.into_iter().map(|part| if table.is_some() { alteration(part) } else { Kind::Unknown });
    kinds.map(|kind| Action { kind, table: table.clone() }).collect()
}

fn alteration(mut words: Words<'_>) -> Kind {
    match words.keyword() {
        Some("add") => add(words),
        Some("drop") if words.eat(&["constraint"]) => Kind::DropConstraint,
        Some("drop") => Kind::DropColumn,
        Some("rename") => Kind::Rename,
        Some("validate") if words.eat(&["constraint"]) => Kind::ValidateConstraint,
        Some("alter") => {
            words.eat(&["column"]);
            words.qualified_name();
            match () {
                () if words.eat(&["type"]) || words.eat(&["set", "data", "type"]) => Kind::ChangeType,
                () if words.eat(&["set", "not", "null"]) => Kind::SetNotNull,
                () if words.eat(&["set", "default"])
                    || words.eat(&["drop", "default"])
                    || words.eat(&["drop", "not", "null"]) =>
                {
                    Kind::RelaxColumn
                }
                () => Kind::Unknown,
            }
        }
        _ => Kind::Unknown,
    }
}

fn add(mut words: Words<'_>) -> Kind {
    let is_constraint = words.eat(&["constraint"])
        || words.0.first().and_then(Word::name).is_some_and(|first| CONSTRAINTS.contains(&first));
    if is_constraint {
        let not_valid = words.contains(&["not", "valid"]);
        return Kind::AddConstraint { not_valid, foreign: words.contains(&["foreign", "key"]) };
    }
    words.eat(&["column"]);
    words.eat(&["if", "not", "exists"]);
    words.qualified_name();
    let default = words.after("default");
    let is_serial = words.0.iter().filter_map(Word::name).any(|name| name.ends_with("serial"));
    Kind::AddColumn(NewColumn {
        not_null: words.contains(&["not", "null"]),
        has_default: default.is_some() || is_serial || words.contains(&["generated"]),
        is_computed: default.is_some_and(|default| !default.is_constant())
            || is_serial
            || words.contains(&["generated"]),
        is_checked: words.contains(&["check"]),
        is_unique: words.contains(&["unique"]) || words.contains(&["primary", "key"]),
        has_reference: words.contains(&["references"]),
    })
}

/// The words with which a constraint of a table begins.
const CONSTRAINTS: [&str; 5] = ["check", "exclude", "foreign", "primary", "unique"];

/// Functions whose value is the same for all rows that a statement touches.
const STABLE: [&str; 4] = ["current_timestamp", "now", "pg_current_xact_id", "transaction_timestamp"];

/// Types before a literal.
const LITERALS: [&str; 6] = ["x", "e", "date", "interval", "timestamptz", "uuid"];

/// The rest of a statement.
#[derive(Clone, Copy)]
struct Words<'a>(&'a [Word]);

impl<'a> Words<'a> {
    fn keyword(&mut self) -> Option<&'a str> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        first.name()
    }

    /// Takes these names, if they come next.
    fn eat(&mut self, names: &[&str]) -> bool {
        let is_next = begins_with(self.0, names);
        if is_next {
            self.0 = &self.0[names.len()..];
        }
        is_next
    }

    /// Takes a name, without the schema before it.
    fn qualified_name(&mut self) -> Option<String> {
        let mut name = self.keyword()?;
        while let [Word::Sign('.'), Word::Name(next), rest @ ..] = self.0 {
            (name, self.0) = (next, rest);
        }
        Some(name.to_owned())
    }

    fn contains(&self, names: &[&str]) -> bool {
        (0..self.0.len()).any(|at| begins_with(&self.0[at..], names))
    }

    fn after(&self, name: &str) -> Option<Self> {
        let at = self.0.iter().position(|word| word.is(name))?;
        Some(Self(&self.0[at + 1..]))
    }

    fn table_after_on(mut self, kind: Kind) -> Option<Action> {
        self = self.after("on")?;
        self.eat(&["only"]);
        Some(Action { kind, table: Some(self.qualified_name()?) })
    }

    /// Whether an expression has one value for all rows.
    fn is_constant(&self) -> bool {
        match self.0 {
            [Word::Text(_) | Word::Number(_), ..] | [Word::Sign('-'), Word::Number(_), ..] => true,
            [Word::Name(kind), Word::Text(_), ..] => LITERALS.contains(&kind.as_str()),
            [Word::Name(name), ..] => {
                ["true", "false", "null"].contains(&name.as_str()) || STABLE.contains(&name.as_str())
            }
            _ => false,
        }
    }

    /// Splits at the commas that no parentheses enclose.
    fn split_at_commas(self) -> Vec<Self> {
        let mut depth = 0_i32;
        let parts = self.0.split(|word| {
            match word {
                Word::Sign('(') => depth += 1,
                Word::Sign(')') => depth -= 1,
                _ => {}
            }
            depth == 0 && *word == Word::Sign(',')
        });
        parts.map(Words).collect()
    }
}

fn begins_with(words: &[Word], names: &[&str]) -> bool {
    names.len() <= words.len() && names.iter().zip(words).all(|(name, word)| word.is(name))
}

#[cfg(test)]
mod tests {
    use super::super::sql::statements;
    use super::*;

    fn kinds(sql: &str) -> Vec<(Kind, Option<String>)> {
        let statement = statements(sql).remove(0);
        actions(&statement).into_iter().map(|action| (action.kind, action.table)).collect()
    }

    fn kind(sql: &str) -> Kind {
        let mut kinds = kinds(sql);
        assert_eq!(kinds.len(), 1, "{sql}");
        kinds.remove(0).0
    }

    #[test]
    fn statements_name_their_table() {
        for sql in [
            "CREATE TABLE IF NOT EXISTS public.users (id int)",
            "CREATE UNIQUE INDEX users_name ON users (name)",
            "ALTER TABLE ONLY users ADD COLUMN a int",
            "INSERT INTO users (id) VALUES (1)",
            "UPDATE users SET a = 1",
            "DELETE FROM users",
            "DROP TABLE IF EXISTS users",
            "CREATE TRIGGER t BEFORE UPDATE OF a ON users FOR EACH ROW EXECUTE FUNCTION f()",
            "DROP TRIGGER t ON users",
            "ALTER TABLE \"users\" RENAME COLUMN a TO b",
        ] {
            let parts = kinds(sql);
            assert!(parts.iter().all(|(_, table)| table.as_deref() == Some("users")), "{sql}: {parts:?}");
            assert!(parts.iter().all(|(kind, _)| *kind != Kind::Unknown), "{sql}: {parts:?}");
        }
    }

    #[test]
    fn clauses_of_a_column_are_told_apart() {
        let column = |clauses: &str| match kind(&format!("ALTER TABLE a ADD COLUMN b {clauses}")) {
            Kind::AddColumn(column) => column,
            other => panic!("{clauses}: {other:?}"),
        };
        assert_eq!(column("text"), NewColumn::default());
        assert_eq!(column("text NOT NULL"), NewColumn { not_null: true, ..NewColumn::default() });
        let constant = NewColumn { not_null: true, has_default: true, ..NewColumn::default() };
        for clauses in [
            "bytea NOT NULL DEFAULT ''",
            "int NOT NULL DEFAULT -1",
            "BLOB DEFAULT x'' NOT NULL",
            "bool NOT NULL DEFAULT false",
        ] {
            assert_eq!(column(clauses), constant, "{clauses}");
        }
        assert_eq!(column("xid8 NOT NULL DEFAULT pg_current_xact_id()"), constant);
        for clauses in
            ["uuid DEFAULT gen_random_uuid()", "bigserial", "int GENERATED ALWAYS AS (a * 2) STORED"]
        {
            assert!(column(clauses).is_computed, "{clauses}");
        }
        assert!(column("BLOB CHECK (length(b) = 16)").is_checked);
        assert!(column("uuid REFERENCES c").has_reference);
        assert!(column("uuid UNIQUE").is_unique);
    }

    #[test]
    fn parts_of_one_alteration_are_told_apart() {
        assert_eq!(
            kinds(
                "ALTER TABLE a ADD b numeric(3, 2), ALTER c TYPE bigint, DROP d, ALTER COLUMN e SET NOT NULL"
            )
            .into_iter()
            .map(|(kind, _)| kind)
            .collect::<Vec<_>>(),
            [Kind::AddColumn(NewColumn::default()), Kind::ChangeType, Kind::DropColumn, Kind::SetNotNull]
        );
    }

    #[test]
    fn unfamiliar_statements_are_unknown() {
        for sql in [
            "VACUUM FULL users",
            "CREATE TABLE a AS SELECT * FROM b",
            "CREATE TABLE a (b uuid REFERENCES c)",
            "ALTER TABLE a CLUSTER ON b",
            "ALTER TYPE a ADD VALUE 'b'",
            "REINDEX TABLE a",
            "SELECT 1",
            "UPDATE deployment SET oldest_binary = now()",
        ] {
            assert_eq!(kind(sql), Kind::Unknown, "{sql}");
        }
    }

    #[test]
    fn concurrent_indexes_are_named() {
        let index = |sql: &str| concurrent_index(&statements(sql)[0]);
        let named = Some("b".to_owned());
        assert_eq!(index("CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS b ON c (d)"), named);
        assert_eq!(index("CREATE INDEX CONCURRENTLY b ON c (d)"), named);
        assert_eq!(index("CREATE INDEX b ON c (d)"), None);
        assert_eq!(index("DROP INDEX CONCURRENTLY b"), None);
    }

    #[test]
    fn the_guard_is_raised_by_one_form_only() {
        let sql = "UPDATE deployment SET oldest_binary = '20270101000000'";
        assert_eq!(kind(sql), Kind::RaiseGuard("20270101000000".to_owned()));
        assert_eq!(kind("UPDATE deployment SET home = ''"), Kind::ChangeRows);
    }
}
