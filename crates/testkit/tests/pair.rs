//! The pair of PostgreSQL servers keeps its promises.
#![expect(clippy::expect_used, reason = "in tests, and in their helpers, it fails the test")]

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use portcullis_testkit::postgres::{PostgresPair, ThrowawayPostgres};

#[test]
fn promoted_standby_has_every_commit_of_a_killed_primary() {
    let pair = PostgresPair::start();
    let name = pair.create_database();
    let primary = pair.primary();
    primary.execute(&name, "CREATE TABLE kept (n integer)");
    for number in 0..20 {
        primary.execute(&name, &format!("INSERT INTO kept VALUES ({number})"));
    }
    primary.kill();
    assert!(primary.try_execute(&name, "SELECT").is_err());
    pair.promote_standby();
    assert_eq!(value(pair.standby(), &name, "SELECT count(*) FROM kept"), "20");
    pair.standby().execute(&name, "INSERT INTO kept VALUES (20)");

    let (first, second) = (pair.primary().url(&name), pair.standby().url(&name));
    let (start, address) = first.split_at("postgres://portcullis@".len());
    let address = address.strip_suffix(&format!("/{name}")).expect("the URL ends with the name");
    assert_eq!(pair.url(&name), format!("{start}{address},{}", &second[start.len()..]));
}

#[test]
fn commit_waits_while_the_standby_is_frozen() {
    let pair = PostgresPair::start();
    let name = pair.create_database();
    pair.primary().execute(&name, "CREATE TABLE kept (n integer)");
    let freezes: [(Step<'_>, Step<'_>); 3] = [
        (&|| pair.standby().freeze(), &|| pair.standby().thaw()),
        (&|| pair.freeze_walreceiver(), &|| pair.thaw_walreceiver()),
        (&|| pair.freeze_walsender(), &|| pair.thaw_walsender()),
    ];
    for (number, (freeze, thaw)) in freezes.into_iter().enumerate() {
        freeze();
        thread::scope(|scope| {
            let (finished, finish) = mpsc::channel();
            let (pair, name) = (&pair, &name);
            scope.spawn(move || {
                pair.primary().execute(name, &format!("INSERT INTO kept VALUES ({number})"));
                finished.send(()).expect("the test waits");
            });
            let within = finish.recv_timeout(Duration::from_millis(300));
            assert_eq!(within, Err(RecvTimeoutError::Timeout), "case {number}");
            assert_eq!(
                value(pair.primary(), name, "SELECT count(*) FROM kept"),
                number.to_string(),
                "others do not see it before"
            );
            thaw();
            finish.recv_timeout(Duration::from_secs(30)).expect("the commit ends");
        });
    }
    assert_eq!(value(pair.primary(), &name, "SELECT count(*) FROM kept"), "3");
}

#[test]
fn asynchronous_standby_loses_what_was_not_sent() {
    let pair = PostgresPair::start_asynchronous();
    let name = pair.create_database();
    pair.primary().execute(&name, "CREATE TABLE kept (n integer); INSERT INTO kept VALUES (1)");
    pair.wait_until_replayed();
    pair.freeze_walsender();
    pair.primary().execute(&name, "INSERT INTO kept VALUES (2)");
    pair.primary().kill();
    pair.promote_standby();
    assert_eq!(value(pair.standby(), &name, "SELECT count(*) FROM kept"), "1");
    pair.primary().restart();
    assert_eq!(value(pair.primary(), &name, "SELECT count(*) FROM kept"), "2", "the old primary has it");
}

#[test]
fn frozen_server_answers_nothing_and_goes_on() {
    let server = ThrowawayPostgres::start();
    server.freeze();
    thread::scope(|scope| {
        let (answered, answer) = mpsc::channel();
        let server = &server;
        scope.spawn(move || answered.send(value(server, "postgres", "SELECT 7")));
        assert_eq!(answer.recv_timeout(Duration::from_millis(300)), Err(RecvTimeoutError::Timeout));
        server.thaw();
        assert_eq!(answer.recv_timeout(Duration::from_secs(30)).as_deref(), Ok("7"));
    });
    // A frozen server is removed like any other.
    server.freeze();
}

/// What a test does to a server.
type Step<'a> = &'a dyn Fn();

/// The single value that a query returns.
fn value(server: &ThrowawayPostgres, database: &str, sql: &str) -> String {
    let rows = server.execute(database, sql);
    rows[0][0].clone().expect("not NULL")
}
