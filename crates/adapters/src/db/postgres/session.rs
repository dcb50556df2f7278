//! Connections to PostgreSQL, and what every session of one is set to.

use std::time::Duration;

use diesel::connection::SimpleConnection as _;
use diesel::sql_types::Text;
use diesel::{PgConnection, QueryableByName, RunQueryDsl as _};

use super::hosts::{SERVER_STATE, ServerState, Wanted, establish_one};
use crate::db::failure::DatabaseFailure;
use crate::db::url::{Pooler, PostgresUrl};

/// Connects and sets the session. Behind a pooler in transaction mode, what one client sets reaches the next one, so the role
/// brings the [settings](super::role).
pub(in crate::db) fn connect(
    url: &PostgresUrl,
    statement_timeout: Duration,
    wanted: Wanted,
) -> Result<PgConnection, DatabaseFailure> {
    url.hosts().find(wanted, |host| {
        let mut connection = establish_one(host, url.pooler())?;
        if url.pooler() == Pooler::None {
            connection.batch_execute(&postgres_session(statement_timeout))?;
        }
        let state = check_session(&mut connection)?;
        Ok((connection, state))
    })
}

/// Sets what the statements rely on, regardless of the settings of server, database, role and URL. `read committed`: each
/// race is decided by one statement, which sees what was committed before it. `synchronous_commit` is raised if the
/// server would acknowledge commits that a crash can lose; a stricter setting of the server (`remote_apply`) stays. The
/// setting `default_transaction_read_only` stays, since operators use it to make a database read-only.
///
/// A pooler in session mode without `server_reset_query` hands on the session of its last client, such as an earlier
/// instance or a command that only reads. The first statements undo what such a client leaves.
fn postgres_session(statement_timeout: Duration) -> String {
    format!(
        "DEALLOCATE ALL;
         SELECT pg_advisory_unlock_all();
         RESET default_transaction_read_only;
         SET default_transaction_isolation TO 'read committed';
         SET default_transaction_deferrable TO off;
         SET timezone TO 'UTC';
         SET datestyle TO 'ISO, MDY';
         SET intervalstyle TO 'postgres';
         SET bytea_output TO 'hex';
         SET standard_conforming_strings TO on;
         SET transform_null_equals TO off;
         SET statement_timeout TO {};
         SET lock_timeout TO {};
         SET idle_in_transaction_session_timeout TO {};
         SELECT set_config(name, '0', false) FROM unnest(ARRAY['idle_session_timeout', 'transaction_timeout']) AS name
          WHERE current_setting(name, true) IS NOT NULL;
         SELECT set_config('synchronous_commit', 'on', false)
          WHERE current_setting('synchronous_commit') IN ('off', 'local');",
        statement_timeout.as_millis(),
        LOCK_TIMEOUT.as_millis(),
        IDLE_IN_TRANSACTION_TIMEOUT.as_millis(),
    )
}

/// Checks what a session cannot set for itself: a role or database with `session_replication_role = replica` checks no
/// foreign key and runs no trigger. Returns what the server is, which one query asks too.
pub(in crate::db) fn check_session(connection: &mut PgConnection) -> Result<ServerState, DatabaseFailure> {
    #[derive(QueryableByName)]
    struct Session {
        #[diesel(sql_type = Text)]
        replication_role: String,
        #[diesel(embed)]
        server: ServerState,
    }
    let query = diesel::sql_query(format!(
        "SELECT current_setting('session_replication_role') AS replication_role, {SERVER_STATE}"
    ));
    let Session { replication_role, server } = query.get_result(connection)?;
    match replication_role.as_str() {
        "replica" => Err(DatabaseFailure::new(
            "session_replication_role is replica, so that the server checks no foreign keys; reset it for the role and \
             the database (ALTER ROLE .. RESET session_replication_role)",
        )),
        _ => Ok(server),
    }
}

/// How long PostgreSQL works on one statement.
pub(in crate::db) const STATEMENT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long it waits for a lock; shorter, so that the error names the lock.
pub(in crate::db) const LOCK_TIMEOUT: Duration = Duration::from_secs(3);

/// How long a transaction may stand idle, should its instance freeze in the middle.
pub(super) const IDLE_IN_TRANSACTION_TIMEOUT: Duration = Duration::from_secs(3);

/// How long a poll of session changes may take; shorter, since the next one comes soon.
pub(in crate::db) const WATCH_TIMEOUT: Duration = Duration::from_secs(4);

#[cfg(test)]
mod tests {
    use portcullis_testkit::postgres::{PgBouncer, ThrowawayPostgres};

    use super::*;
    use crate::db::DatabaseUrl;
    use crate::db::connection::AnyConnection;

    #[derive(Debug, PartialEq, QueryableByName)]
    struct Setting {
        #[diesel(sql_type = Text)]
        setting: String,
    }

    fn setting(connection: &mut AnyConnection, name: &str) -> String {
        let query = diesel::sql_query(format!("SELECT current_setting('{name}') AS setting"));
        query.get_result::<Setting>(connection).unwrap().setting
    }

    // ASVS 13.2.6
    #[test]
    fn a_postgres_connection_is_durable_and_its_waits_are_bounded() {
        let server = ThrowawayPostgres::shared();
        let url = server.create_database();
        let name = ThrowawayPostgres::database_name(&url);
        for (configured, expected) in
            [("off", "on"), ("local", "on"), ("on", "on"), ("remote_apply", "remote_apply")]
        {
            server.execute(&url, &format!("ALTER DATABASE {name} SET synchronous_commit TO {configured}"));
            let mut connection = AnyConnection::connect(&DatabaseUrl::parse(&url).unwrap()).unwrap();
            assert_eq!(setting(&mut connection, "synchronous_commit"), expected, "from {configured}");
            assert_eq!(setting(&mut connection, "statement_timeout"), "5s");
            assert_eq!(setting(&mut connection, "lock_timeout"), "3s");
            assert_eq!(setting(&mut connection, "idle_in_transaction_session_timeout"), "3s");
            assert_eq!(setting(&mut connection, "TimeZone"), "UTC");
        }
        let mut watch = AnyConnection::connect_to_watch(&DatabaseUrl::parse(&url).unwrap()).unwrap();
        assert_eq!(setting(&mut watch, "statement_timeout"), "4s");
        assert_eq!(setting(&mut watch, "TimeZone"), "UTC");
    }

    #[test]
    fn session_settings_of_a_database_are_overridden() {
        let server = ThrowawayPostgres::shared();
        let url = server.create_database();
        let name = ThrowawayPostgres::database_name(&url);
        let pinned = [
            ("default_transaction_isolation", "serializable", "read committed"),
            ("default_transaction_deferrable", "on", "off"),
            ("TimeZone", "'Asia/Kolkata'", "UTC"),
            ("DateStyle", "'SQL', 'DMY'", "ISO, MDY"),
            ("IntervalStyle", "iso_8601", "postgres"),
            ("bytea_output", "escape", "hex"),
            ("standard_conforming_strings", "off", "on"),
            ("transform_null_equals", "on", "off"),
            ("client_encoding", "LATIN1", "UTF8"),
            ("statement_timeout", "'77s'", "5s"),
            ("lock_timeout", "'77s'", "3s"),
            ("idle_in_transaction_session_timeout", "'77s'", "3s"),
            ("idle_session_timeout", "'77s'", "0"),
        ];
        for (setting, value, _) in pinned {
            server.execute(&url, &format!("ALTER DATABASE {name} SET {setting} TO {value}"));
        }
        let by_url = format!("{url}&options=-cdefault_transaction_isolation%3Dserializable");
        for url in [&url, &by_url] {
            let mut connection = AnyConnection::connect(&DatabaseUrl::parse(url).unwrap()).unwrap();
            for (name, _, expected) in pinned {
                assert_eq!(setting(&mut connection, name), expected, "{name}");
            }
            assert_eq!(setting(&mut connection, "transaction_isolation"), "read committed");
        }
    }

    #[test]
    fn session_state_of_the_last_pooler_client_is_undone() {
        let server = ThrowawayPostgres::shared();
        let bouncer = PgBouncer::start(server, "session\nserver_reset_query =", 1);
        let url = DatabaseUrl::parse(&bouncer.url(&server.create_database())).unwrap();
        let process = |connection: &mut AnyConnection| {
            let query = diesel::sql_query("SELECT pg_backend_pid()::text AS setting");
            query.get_result::<Setting>(connection).unwrap().setting
        };
        let mut last = AnyConnection::connect_read_only(&url).unwrap();
        let left = process(&mut last);
        let AnyConnection::Postgres(session) = &mut last else { unreachable!() };
        session.batch_execute("PREPARE __diesel_stmt_0 AS SELECT 1; SELECT pg_advisory_lock(1)").unwrap();
        drop(last);

        let mut next = AnyConnection::connect(&url).unwrap();
        assert_eq!(process(&mut next), left, "the pooler has one connection");
        assert_eq!(setting(&mut next, "default_transaction_read_only"), "off");
        let query = diesel::sql_query(
            "SELECT (SELECT count(*) FROM pg_prepared_statements WHERE name LIKE '__diesel%') || ' statements, ' ||
                    (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()) ||
                    ' locks' AS setting",
        );
        assert_eq!(query.get_result::<Setting>(&mut next).unwrap().setting, "0 statements, 0 locks");
    }

    #[test]
    fn a_session_without_foreign_keys_is_refused() {
        let server = ThrowawayPostgres::shared();
        let url = server.create_database();
        let name = ThrowawayPostgres::database_name(&url);
        server.execute(&url, &format!("ALTER DATABASE {name} SET session_replication_role TO replica"));
        let connected = AnyConnection::connect(&DatabaseUrl::parse(&url).unwrap());
        assert!(
            connected.is_err_and(|failure| failure.to_string().contains("RESET session_replication_role"))
        );
    }
}
