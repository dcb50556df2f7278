//! The schema that the migrations make, as text in `tests/schema`, so that a change of it shows in review; and what an
//! end in the middle of a migration leaves of it.

use std::path::{Path, PathBuf};
use std::{env, fs};

use diesel::sql_types::Text;
use diesel::{Connection, QueryableByName, RunQueryDsl, SqliteConnection};
use portcullis_adapters::db::{DatabaseUrl, MigrationStatus, Migrations, PrepareError};
use portcullis_testkit::postgres::ThrowawayPostgres;

#[derive(QueryableByName)]
struct Line {
    #[diesel(sql_type = Text)]
    line: String,
}

/// Names, types and definitions as PostgreSQL writes them, in an order that no server version changes. (It writes `NOT NULL`
/// as constraints since version 18.)
const POSTGRES_SCHEMA: &str = r#"
    WITH relations AS (
        SELECT oid, relname, reloptions FROM pg_class
         WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
    ), columns AS (
        SELECT attrelid AS oid, attnum AS number,
               format('    %s %s', attname, format_type(atttypid, atttypmod))
               || CASE WHEN attnotnull THEN ' NOT NULL' ELSE '' END
               || coalesce(' DEFAULT ' || pg_get_expr(adbin, adrelid), '') AS definition
          FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
         WHERE attnum > 0 AND NOT attisdropped
    ), constraints AS (
        SELECT conrelid AS oid, conname AS name, format('    CONSTRAINT %s %s', conname, pg_get_constraintdef(oid)) AS definition
          FROM pg_constraint WHERE contype <> 'n'
    ), lines AS (
        SELECT 1 AS part, relname AS name,
               format(E'CREATE TABLE %s (\n%s\n)%s;\n', relname, concat_ws(E',\n',
                   (SELECT string_agg(definition, E',\n' ORDER BY number) FROM columns WHERE columns.oid = relations.oid),
                   (SELECT string_agg(definition, E',\n' ORDER BY name COLLATE "C")
                      FROM constraints WHERE constraints.oid = relations.oid)),
                   ' WITH (' || array_to_string(reloptions, ', ') || ')') AS line
          FROM relations
        UNION ALL
        SELECT 2, relname, pg_get_indexdef(indexrelid) || ';' || CASE WHEN indisvalid THEN '' ELSE ' -- INVALID' END
          FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
         WHERE indrelid IN (SELECT oid FROM relations)
           AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)
        UNION ALL
        SELECT 3, proname, E'\n' || rtrim(pg_get_functiondef(oid), E'\n') || E';\n'
          FROM pg_proc WHERE pronamespace = 'public'::regnamespace
        UNION ALL
        SELECT 4, tgname, pg_get_triggerdef(oid) || ';'
          FROM pg_trigger WHERE tgrelid IN (SELECT oid FROM relations) AND NOT tgisinternal
    )
    SELECT line FROM lines ORDER BY part, name COLLATE "C""#;

fn schema_of_postgres(server: &ThrowawayPostgres, url: &str) -> String {
    // Defaults are shown as times of the session's zone.
    server.execute(
        url,
        &format!("ALTER DATABASE {} SET timezone TO 'UTC'", ThrowawayPostgres::database_name(url)),
    );
    let rows = server.execute(url, POSTGRES_SCHEMA);
    rows.into_iter().map(|mut row| row.remove(0).unwrap() + "\n").collect()
}

/// SQLite stores the text of its statements.
fn schema_of_sqlite(path: &Path) -> String {
    let mut connection = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    let query = "SELECT sql || ';' AS line FROM sqlite_schema WHERE sql IS NOT NULL
                  ORDER BY type <> 'table', type, name";
    let lines: Vec<Line> = diesel::sql_query(query).load(&mut connection).unwrap();
    lines.into_iter().map(|row| row.line + "\n\n").collect()
}

/// Compares a schema with its file, or writes the file if the variable `UPDATE` is set.
fn compare(name: &str, schema: &str) {
    let path = root().join("tests/schema").join(name);
    let head = "-- The schema that migrations/ makes. After a change of it, run\n\
                -- UPDATE=1 cargo test -p portcullis-adapters --test contract schema_is_the_reviewed_one\n\n";
    let expected = format!("{head}{}\n", schema.trim_end());
    if env::var_os("UPDATE").is_some() {
        fs::write(&path, &expected).unwrap();
    }
    let reviewed = fs::read_to_string(&path).unwrap_or_default();
    assert!(reviewed == expected, "{} differs from what migrations/ makes:\n{expected}", path.display());
}

#[test]
fn postgres_schema_is_the_reviewed_one() {
    let server = ThrowawayPostgres::shared();
    let url = server.create_database();
    migrate(&url).unwrap();
    compare("postgres.sql", &schema_of_postgres(server, &url));
}

#[test]
fn sqlite_schema_is_the_reviewed_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.db");
    Migrations::of(&DatabaseUrl::Sqlite(path.clone())).run().unwrap();
    compare("sqlite.sql", &schema_of_sqlite(&path));
}

/// Ends the session after the statement of this number, as a crash does.
fn crash_after(server: &ThrowawayPostgres, url: &str, number: usize) {
    for sql in [
        "CREATE SCHEMA crash".to_owned(),
        "CREATE SEQUENCE crash.statements".to_owned(),
        "GRANT USAGE ON SCHEMA crash TO public; GRANT USAGE ON SEQUENCE crash.statements TO public".to_owned(),
        format!(
            "CREATE FUNCTION crash.count() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN
               IF nextval('crash.statements') = {number} THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF;
             END$$"
        ),
        "CREATE EVENT TRIGGER crash ON ddl_command_end EXECUTE FUNCTION crash.count()".to_owned(),
    ] {
        server.execute(url, &sql);
    }
}

/// R-14.
#[test]
fn crash_after_any_statement_leaves_whole_migrations() {
    let server = ThrowawayPostgres::shared();
    let expected = {
        let url = server.create_database();
        migrate(&url).unwrap();
        schema_of_postgres(server, &url)
    };
    let mut schemas = vec![String::new()];
    let mut crashes = 0;
    loop {
        let url = server.create_database();
        crash_after(server, &url, crashes + 1);
        let outcome = migrate(&url);
        server.execute(&url, "DROP EVENT TRIGGER crash");
        if outcome.is_ok() {
            break;
        }
        crashes += 1;
        let schema = schema_of_postgres(server, &url);
        let applied = applied(&url);
        // Diesel's own table comes before the first migration.
        let without_indexes = without_concurrent_indexes(&schema);
        match schemas.get(applied) {
            Some(seen) if applied > 0 => {
                assert_eq!(without_indexes, *seen, "after statement {crashes}: part of a migration stayed");
            }
            _ if applied > 0 => schemas.push(without_indexes),
            _ => assert!(!schema.contains("users"), "after statement {crashes}: {schema}"),
        }
        migrate(&url).unwrap();
        assert_eq!(schema_of_postgres(server, &url), expected, "after statement {crashes}");
    }
    assert!(crashes > 20 && schemas.len() > 4, "{crashes} crashes in {} migrations", schemas.len());
}

/// An index may stay whose migration is not recorded: the migration is repeated and finds it.
fn without_concurrent_indexes(schema: &str) -> String {
    let built = ["CREATE INDEX sessions_ended_xid ", "CREATE INDEX security_events_recorded_xid "];
    schema
        .lines()
        .filter(|line| !built.iter().any(|index| line.starts_with(index)))
        .collect::<Vec<_>>()
        .join("\n")
}

fn migrate(url: &str) -> Result<(), PrepareError> {
    Migrations::of(&DatabaseUrl::parse(url).unwrap()).run()
}

fn applied(url: &str) -> usize {
    let states = Migrations::of(&DatabaseUrl::parse(url).unwrap()).states().unwrap();
    let applied = states.iter().filter(|state| state.status == MigrationStatus::Applied).count();
    assert!(states[..applied].iter().all(|state| state.status == MigrationStatus::Applied), "{states:?}");
    applied
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
