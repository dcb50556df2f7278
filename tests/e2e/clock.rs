//! What a clock that is wrong may do, and what it must not: give life to what expired.
//!
//! The database's clock is set, as every instance sees it: on PostgreSQL by a function that takes the place of the
//! server's own; the mark of the time that instances leave in the database stands for what happened before a restart.

use crate::database::{Database, Kind};
use crate::on_both_databases;
use crate::server::{PASSWORD, Server, Tokens, wait_until};

/// A PostgreSQL database whose clock can be set.
fn with_settable_clock() -> Database {
    let database = Database::postgres();
    let name = database.text("current_database()");
    for sql in [
        "CREATE SCHEMA fake",
        "CREATE TABLE fake.shift (by interval NOT NULL)",
        "INSERT INTO fake.shift VALUES ('0')",
        "CREATE FUNCTION fake.clock_timestamp() RETURNS timestamptz LANGUAGE sql
         AS 'SELECT pg_catalog.clock_timestamp() + (SELECT by FROM fake.shift)'",
        "GRANT USAGE ON SCHEMA fake TO public",
        "GRANT SELECT ON fake.shift TO public",
        &format!("ALTER DATABASE {name} SET search_path = public, fake, pg_catalog"),
    ] {
        database.execute(sql);
    }
    database
}

fn set_clock(database: &Database, by: &str) {
    database.execute(&format!("UPDATE fake.shift SET by = '{by}'"));
}

/// As if an instance had been here at that time.
fn set_mark(database: &Database, seconds_from_now: i64) {
    let now = match database.kind {
        Kind::Sqlite => format!("(unixepoch() + {seconds_from_now}) * 1000000"),
        Kind::Postgres { .. } => format!("now() + interval '{seconds_from_now} s'"),
    };
    database.execute(&format!("UPDATE deployment SET newest_mark = {now}"));
}

fn login_status(server: &Server) -> u16 {
    server.try_login("alice", PASSWORD).status
}

/// Tokens whose access token has expired, and its session has not.
fn expired(server: &Server) -> Tokens {
    let tokens = server.login("alice");
    wait_until("the access token expires", || server.get_as("/protected", &tokens.access).status == 401);
    tokens
}

const SHORT: (&str, &str) = ("TOKENS__ACCESS_LIFETIME", "1s");

#[test]
fn while_the_databases_clock_is_an_hour_off_nothing_is_given_out_and_nothing_revives() {
    let database = with_settable_clock();
    // Every login that succeeds while nothing has changed yet counts.
    let many = ("SESSIONS__MAX_PER_USER", "1000");
    let server = Server::start_with(&database, &[SHORT, many]);
    // Its tokens live long enough to be shown; both have the same keys.
    let other = Server::start_with(&database, &[many]);
    server.register("alice");
    let (old, live) = (expired(&server), other.login("alice"));
    for by in ["-90 s", "90 s", "-1 hour", "1 hour", "-30 days", "30 days"] {
        let keys = server.get("/.well-known/jwks.json").text;
        set_clock(&database, by);
        wait_until("nothing is given out", || login_status(&server) == 503 && login_status(&other) == 503);
        server.try_login("alice", PASSWORD).is_problem(503, "not_ready");
        server.refresh(&old.refresh).is_problem(503, "not_ready");
        wait_until("it says so", || server.get("/ready").json()["checks"]["clock"] == "failing");
        assert_eq!(server.get("/.well-known/jwks.json").text, keys, "no key of another time, {by}");
        server.get_as("/protected", &old.access).is_problem(401, "invalid_token");
        assert_eq!(other.get_as("/protected", &live.access).status, 200, "what lives goes on, {by}");

        set_clock(&database, "0");
        wait_until("it is well again", || login_status(&server) == 200 && login_status(&other) == 200);
        server.get_as("/protected", &old.access).is_problem(401, "invalid_token");
        assert_eq!(other.get_as("/protected", &live.access).status, 200, "{by}");
        wait_until("it says so", || server.get("/ready").status == 200);
    }
    assert_eq!(server.refresh(&old.refresh).status, 200, "the session was never over");
}

#[test]
fn after_a_restart_with_a_clock_set_back_nothing_revives() {
    let database = with_settable_clock();
    let server = Server::start_with(&database, &[SHORT]);
    server.register("alice");
    let old = expired(&server);
    server.kill();
    set_clock(&database, "-1 hour");

    let server = Server::start_with(&database, &[SHORT]);
    server.wait_for_line("ahead of the database's");
    // The mark is a few seconds old, and what expired after it gets no chance.
    server.get_as("/protected", &old.access).is_problem(401, "invalid_token");
    server.refresh(&old.refresh).is_problem(503, "not_ready");
    assert_eq!(login_status(&server), 503);

    set_clock(&database, "0");
    wait_until("it is well again", || login_status(&server) == 200);
    server.get_as("/protected", &old.access).is_problem(401, "invalid_token");
}

#[test]
fn after_a_restart_with_a_clock_set_forward_the_databases_time_holds() {
    let database = with_settable_clock();
    let server = Server::start(&database);
    server.register("alice");
    let old = server.login("alice");
    server.kill();
    set_clock(&database, "1 hour");

    let server = Server::start(&database);
    server.get_as("/protected", &old.access).is_problem(401, "invalid_token");
    assert_eq!(login_status(&server), 200, "there is nothing else to go by");
    // Put right while it runs: what expired meanwhile stays so.
    set_clock(&database, "0");
    wait_until("nothing is given out", || login_status(&server) == 503);
    server.get_as("/protected", &old.access).is_problem(401, "invalid_token");
}

on_both_databases! {
    fn a_mark_in_the_future_is_waited_for(database: &Database) {
        let server = Server::start(database);
        server.register("alice");
        let tokens = server.login("alice");
        server.kill();
        set_mark(database, 3_600);

        let server = Server::start(database);
        server.wait_for_line("ahead of the database's");
        assert_eq!(login_status(&server), 503);
        // An hour ahead, the token has expired.
        server.get_as("/protected", &tokens.access).is_problem(401, "invalid_token");
        assert_eq!(server.get("/health").status, 200);
        assert_eq!(server.get("/ready").status, 503);
        drop(server);

        set_mark(database, 0);
        let server = Server::start(database);
        assert_eq!(login_status(&server), 200);
        assert_eq!(server.get_as("/protected", &tokens.access).status, 200);
    }

    fn a_running_instance_leaves_the_mark(database: &Database) {
        let server = Server::start(database);
        let mark = match database.kind {
            Kind::Sqlite => "SELECT newest_mark / 1000000 - unixepoch() FROM deployment",
            Kind::Postgres { .. } => "SELECT extract(epoch FROM newest_mark - now())::bigint FROM deployment",
        };
        wait_until("the mark is left", || database.number(mark).abs() <= 2);
        drop(server);
    }
}
