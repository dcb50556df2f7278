//! Starts that migrate: many at once, and starts that end in the middle.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use portcullis_testkit::postgres::ThrowawayPostgres;

use crate::database::{Database, Kind};
use crate::server::{Server, command, race, wait, wait_until};

/// Instances that start together.
const INSTANCES: usize = 5;

/// Starts instances together over a database that has the first `before` migrations: one migrates, the others wait for
/// it, and the schema is what one instance makes. Returns what is wrong.
pub(crate) fn together(database: &Database, before: usize, expected: &[String]) -> Vec<String> {
    apply(database, before);
    let servers = race(INSTANCES, |_| {
        let server = Server::start(database);
        server.wait_until_ready();
        server
    });
    let status = servers[0].register("alice").status;
    let logs: Vec<String> = servers.into_iter().flat_map(|server| server.terminate().1).collect();
    let lines = |text: &str| logs.iter().filter(|line| line.contains(text)).cloned().collect::<Vec<_>>();
    let migrated = lines("\"msg\":\"migrated the database\"").len();
    let errors = lines("\"level\":\"error\"");
    let pending = expected.len() - 1 - before;
    let violations = [
        (migrated != usize::from(pending > 0)).then(|| format!("{migrated} instances migrated")),
        (!errors.is_empty()).then(|| format!("errors: {errors:?}")),
        (status != 201).then(|| format!("a registration got {status}")),
        (schema(database) != expected[expected.len() - 1]).then(|| "the schema differs".to_owned()),
    ];
    violations.into_iter().flatten().map(|line| format!("{before} migrations before: {line}")).collect()
}

/// Ends a first start on PostgreSQL after the n-th statement that changes the schema, from 1 until a start has no n-th:
/// alternately `portcullis` is killed and PostgreSQL crashes. The database then has whole migrations, as many as its
/// table of versions says, and the next start completes them. Returns how many starts ended, and what is wrong.
pub(crate) fn interrupted(postgres: &'static ThrowawayPostgres, every: usize) -> (usize, Vec<String>) {
    let make = || Database::of(postgres, &postgres.create_database());
    let (expected, migrations) = (schemas(make), migrations(&make()));
    let (mut rounds, mut violations) = (0, Vec::new());
    for n in (1..).step_by(every) {
        let database = make();
        database.execute(&format!(
            "CREATE SCHEMA faults;
             GRANT USAGE ON SCHEMA faults TO PUBLIC;
             CREATE SEQUENCE faults.statements;
             GRANT USAGE ON SEQUENCE faults.statements TO PUBLIC;
             CREATE FUNCTION faults.linger() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN
               IF nextval('faults.statements') = {n} THEN PERFORM pg_sleep(600); END IF; END$$;
             CREATE EVENT TRIGGER linger ON ddl_command_end EXECUTE FUNCTION faults.linger()"
        ));
        // The trigger counts its own creation, depending on the version.
        database.execute("SELECT setval('faults.statements', 1, false)");
        let mut server = command(database.folder.path());
        server.env("PORTCULLIS_DATABASE__URL", database.url());
        let mut server = server.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let asleep = "FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'";
        let is_asleep = || database.number(&format!("SELECT count(*) {asleep}")) == 1;
        let last = &expected[expected.len() - 1];
        let mut was_interrupted = false;
        wait_until("the start is interrupted or migrates", || {
            was_interrupted = is_asleep();
            // The schema cannot be read while a statement that changes it is under way.
            was_interrupted || versions(&database) == migrations.len()
        });
        let crashes = rounds % 2 == 1 && was_interrupted;
        if crashes {
            postgres.crash();
        }
        server.kill().unwrap();
        wait(&mut server);
        if crashes {
            postgres.restart();
        }
        if !was_interrupted {
            break;
        }
        rounds += 1;
        // PostgreSQL would notice the end of its client when it has slept.
        let others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
        database.number(&format!("SELECT count(pg_terminate_backend(pid)) {others}"));
        wait_until("the statement has ended", || database.number(&format!("SELECT count(*) {others}")) == 0);
        // What builds an index beside the service is no transaction: the index may be there before its version.
        let (versions, found) = (versions(&database), schema(&database));
        let is_alone = migrations.get(versions).is_some_and(|next| !is_transaction(next));
        let next = expected.get(versions + 1).filter(|_| is_alone);
        if found != expected[versions] && Some(&found) != next {
            violations.push(format!("statement {n}: the schema is not that of {versions} migrations"));
        }
        database.execute("DROP EVENT TRIGGER linger");
        let server = Server::start(&database);
        server.wait_until_ready();
        if server.register("alice").status != 201 || schema(&database) != *last {
            violations.push(format!("statement {n}: the next start does not complete the migrations"));
        }
        server.kill();
    }
    (rounds, violations)
}

/// Returns the schemas after none, one, ... and all migrations.
pub(crate) fn schemas(make: impl Fn() -> Database) -> Vec<String> {
    let count = migrations(&make()).len();
    (0..=count)
        .map(|before| match before {
            // A SQLite file does not exist yet.
            0 => String::new(),
            _ => {
                let database = make();
                apply(&database, before);
                schema(&database)
            }
        })
        .collect()
}

/// Makes a database that an older version left: with the first migrations, as Diesel records them.
fn apply(database: &Database, first: usize) {
    if first == 0 {
        return;
    }
    database.script(
        "CREATE TABLE __diesel_schema_migrations (version VARCHAR(50) PRIMARY KEY NOT NULL,
         run_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP)",
    );
    for migration in &migrations(database)[..first] {
        let name = migration.file_name().unwrap().to_str().unwrap();
        let version: String = name.split('_').next().unwrap().chars().filter(char::is_ascii_digit).collect();
        let sql = fs::read_to_string(migration.join("up.sql")).unwrap();
        match is_transaction(migration) {
            true => database.script(&sql),
            // Alone in its migration, as the rules over migrations want.
            false => database.execute(&sql),
        }
        database.script(&format!("INSERT INTO __diesel_schema_migrations (version) VALUES ('{version}')"));
    }
}

fn is_transaction(migration: &Path) -> bool {
    let metadata = fs::read_to_string(migration.join("metadata.toml")).unwrap_or_default();
    !metadata.contains("run_in_transaction = false")
}

fn migrations(database: &Database) -> Vec<PathBuf> {
    let kind = if matches!(database.kind, Kind::Sqlite) { "sqlite" } else { "postgres" };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations").join(kind);
    let mut migrations: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    migrations.retain(|path| path.is_dir());
    migrations.sort();
    migrations
}

fn versions(database: &Database) -> usize {
    let is_there = "SELECT count(to_regclass('__diesel_schema_migrations'))";
    match database.number(is_there) {
        0 => 0,
        _ => usize::try_from(database.number("SELECT count(*) FROM __diesel_schema_migrations")).unwrap(),
    }
}

/// Describes the tables, columns, constraints, indexes, triggers and functions. Diesel's own table, which is there
/// before the first migration, is left out.
pub(super) fn schema(database: &Database) -> String {
    match database.kind {
        Kind::Sqlite => database.text(
            "SELECT coalesce(group_concat(sql, ';'), '') FROM (SELECT sql FROM sqlite_schema
              WHERE sql IS NOT NULL AND tbl_name <> '__diesel_schema_migrations' ORDER BY type, name)",
        ),
        Kind::Postgres { .. } => database.text(
            "SELECT coalesce(string_agg(item, E'\\n' ORDER BY item), '') FROM (
               SELECT concat_ws(' ', table_name, column_name, data_type, is_nullable, column_default)
                 FROM information_schema.columns WHERE table_schema = 'public'
               UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'
               UNION ALL SELECT conrelid::regclass || ' ' || pg_get_constraintdef(oid) FROM pg_constraint
                 WHERE connamespace = 'public'::regnamespace
               UNION ALL SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal
               UNION ALL SELECT pg_get_functiondef(oid) FROM pg_proc
                 WHERE pronamespace = 'public'::regnamespace AND prokind = 'f'
             ) AS items (item) WHERE item NOT LIKE '%__diesel_schema_migrations%'",
        ),
    }
}
