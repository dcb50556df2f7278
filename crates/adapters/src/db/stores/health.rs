use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection as _;
use portcullis_domain::ports::{StoreError, StoreHealth, StoreStatus};

use crate::db::connection::AnyConnection;
use crate::db::error::{store_error, unavailable};
use crate::db::postgres::pooler;
use crate::db::write_record::Evidence;
use crate::db::{Access, Database, DatabaseUrl, deployment};

impl StoreHealth for Database {
    fn check(&self) -> Result<StoreStatus, StoreError> {
        let shared = self.read(|connection| deployment::read_shared(connection).map_err(store_error))?;
        // The stores open when every migration of this build is applied, and stay open.
        Ok(StoreStatus { migrated: true, time: Some(shared.time) })
    }

    fn check_writes(&self) -> Result<(), StoreError> {
        self.may_be_used()?;
        self.check_file()?;
        match self.writes.evidence() {
            // Reported before the probe, which may be held up too.
            Evidence::Stuck(age) => Err(stuck(age)),
            Evidence::StillStuck(age) => self.probe(age),
            Evidence::Proven => Ok(()),
            Evidence::Nothing => {
                let process = self.transaction(|connection| {
                    run(connection, DRY_RUN)?;
                    server_process(connection)
                })?;
                self.compare_process(process)
            }
            Evidence::Failed(failures) => {
                let process = self.rehearse()?;
                self.writes.refute(failures);
                self.compare_process(process)
            }
        }
    }

    fn oldest_write(&self) -> Option<Duration> {
        self.writes.oldest()
    }
}

impl Database {
    /// Looks whether changes are committed again, after one has been under way for too long. The connection is a new one: it
    /// leads to the server that accepts changes now, and takes nothing from the pool. If its commit is held up too, this
    /// waits like the changes before it; readiness has failed by then. While changes to SQLite hang, the file is locked, so
    /// that their own end is the first sign.
    fn probe(&self, age: Duration) -> Result<(), StoreError> {
        let begun = Instant::now();
        if let DatabaseUrl::Sqlite(_) = self.url {
            return Err(stuck(age));
        }
        let mut connection = AnyConnection::connect(&self.url).map_err(unavailable)?;
        connection.begin().map_err(store_error)?;
        run(&mut connection, POSTGRES_TRACE)?;
        connection.commit().map_err(store_error)?;
        self.freshness.replace_opened_before(begun);
        self.writes.disregard_begun_before(begun);
        Ok(())
    }

    /// Makes every kind of change and undoes it, then inserts and deletes a row in a transaction that commits. If that
    /// succeeds, the changes of requests succeed too. If it fails, every connection of the pool is replaced, because the
    /// URL may lead to another server by now. Returns the server process that made the changes.
    fn rehearse(&self) -> Result<i32, StoreError> {
        let begun = Instant::now();
        let rehearsed = self.transaction(|connection| {
            connection.savepoint().map_err(store_error)?;
            let rehearsal = match connection {
                AnyConnection::Postgres(_) => POSTGRES_REHEARSAL,
                AnyConnection::Sqlite(_) => SQLITE_REHEARSAL,
            };
            let rehearsed = run(connection, rehearsal);
            connection.rollback().map_err(store_error)?;
            rehearsed?;
            run(
                connection,
                match connection {
                    AnyConnection::Postgres(_) => POSTGRES_TRACE,
                    AnyConnection::Sqlite(_) => SQLITE_TRACE,
                },
            )?;
            server_process(connection)
        });
        match rehearsed {
            // Older connections may lead to a server, or have a session, that still refuses changes.
            Ok(_) => self.freshness.replace_opened_before(begun),
            Err(_) => {
                self.freshness.replace_opened_before(Instant::now());
                self.look_for_pooler();
            }
        }
        rehearsed
    }

    /// Looks for a pooler if a connection of the pool has the same server process as the watch: an operator may have put a
    /// pooler in front of the database after the start.
    fn compare_process(&self, process: i32) -> Result<(), StoreError> {
        if self.watch.process() == Some(process) {
            self.look_for_pooler();
        }
        self.may_be_used()
    }

    /// Closes the stores if a pooler mixes up sessions.
    fn look_for_pooler(&self) {
        if pooler::stands_before(&self.url).unwrap_or(false) {
            *self.access_mut() = Access::Pooled;
        }
    }
}

fn stuck(age: Duration) -> StoreError {
    unavailable(format!("a change has not finished after {} seconds", age.as_secs()))
}

fn server_process(connection: &mut AnyConnection) -> Result<i32, StoreError> {
    Ok(deployment::read_shared(connection).map_err(store_error)?.process)
}

fn run(connection: &mut AnyConnection, sql: &str) -> Result<(), StoreError> {
    let ran = match connection {
        AnyConnection::Postgres(connection) => connection.batch_execute(sql),
        AnyConnection::Sqlite(connection) => connection.batch_execute(sql),
    };
    ran.map_err(store_error)
}

/// Statements that change no row and yet fail if the server is a standby, the session may only read, a right is missing or
/// a table is locked.
const DRY_RUN: &str = "
    INSERT INTO users SELECT * FROM users WHERE 1 = 0;
    UPDATE users SET password_hash = password_hash WHERE 1 = 0;
    INSERT INTO sessions SELECT * FROM sessions WHERE 1 = 0;
    UPDATE sessions SET ended_at = ended_at WHERE 1 = 0;
    INSERT INTO attempt_counters SELECT * FROM attempt_counters WHERE 1 = 0;
    UPDATE attempt_counters SET attempts = attempts WHERE 1 = 0;
    DELETE FROM attempt_counters WHERE 1 = 0;
    INSERT INTO security_events SELECT * FROM security_events WHERE 1 = 0;
    UPDATE deployment SET sweeper_until = sweeper_until WHERE 1 = 0;
";

/// The changes of a registration, a login and a refresh. The events fill two pages, so that a full disk is detected;
/// their ids are the last of all, so that they touch one page of the index. No user can have the name, which has a space.
const POSTGRES_REHEARSAL: &str = "
    INSERT INTO users (id, username, canonical_name, password_hash, credential_version, created_at)
    SELECT id, 'a rehearsal', id::text || ' ', '', 1, 'epoch' FROM gen_random_uuid() AS id;
    INSERT INTO sessions (id, user_id, generation, opened_at, rotated_at, expires_at, absolute_expires_at)
    SELECT id, id, 0, 'epoch', 'epoch', 'epoch', 'epoch' FROM gen_random_uuid() AS id;
    INSERT INTO attempt_counters (pseudonym, attempts, next_at) VALUES (decode(repeat('00', 32), 'hex'), 0, 'epoch');
    INSERT INTO security_events (id, at, kind, agent)
    SELECT ('ffffffff-ffff-ffff-ffff-' || substr(replace(gen_random_uuid()::text, '-', ''), 1, 12))::uuid,
           'epoch', 'rehearsal', repeat('x', 1000)
      FROM generate_series(1, 16);
";

/// Inserts and deletes a row in one transaction, so that the commit writes a change. No account has this key.
const POSTGRES_TRACE: &str = "
    INSERT INTO attempt_counters (pseudonym, attempts, next_at) VALUES (decode(repeat('00', 32), 'hex'), 0, 'epoch');
    DELETE FROM attempt_counters WHERE pseudonym = decode(repeat('00', 32), 'hex');
";

/// The same for SQLite. The pages stay marked as changed when the rows are undone, so that the commit writes as many as a
/// login does.
const SQLITE_REHEARSAL: &str = "
    INSERT INTO users (id, username, canonical_name, password_hash, credential_version, created_at)
    VALUES (zeroblob(16), 'a rehearsal', 'a rehearsal', '', 1, 0);
    INSERT INTO sessions (id, user_id, generation, opened_at, rotated_at, expires_at, absolute_expires_at)
    VALUES (zeroblob(16), zeroblob(16), 0, 0, 0, 0, 0);
    INSERT INTO attempt_counters (pseudonym, attempts, next_at) VALUES (zeroblob(32), 0, 0);
    INSERT INTO security_events (id, at, kind) VALUES (zeroblob(16), 0, 'rehearsal');
";

const SQLITE_TRACE: &str = "
    INSERT INTO attempt_counters (pseudonym, attempts, next_at) VALUES (zeroblob(32), 0, 0);
    DELETE FROM attempt_counters WHERE pseudonym = zeroblob(32);
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::schema;

    /// The tables that no request changes.
    const UNCHANGED: [&str; 4] =
        ["__diesel_schema_migrations", "audit_chain", "audit_heads", "known_secrets"];

    #[test]
    fn dry_run_covers_every_table_that_requests_change() {
        for table in schema::tables() {
            let changes =
                ["INSERT INTO ", "UPDATE ", "DELETE FROM "].map(|change| format!("{change}{table} "));
            let is_covered = changes.iter().any(|change| DRY_RUN.contains(change));
            assert_ne!(is_covered, UNCHANGED.contains(&table), "add {table} to DRY_RUN or to UNCHANGED");
        }
    }
}
