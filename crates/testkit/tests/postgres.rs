//! The throwaway PostgreSQL server keeps its promises.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "in tests, and in their helpers, it fails the test"
)]

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, io, thread};

use portcullis_testkit::postgres::ThrowawayPostgres;

#[test]
fn every_database_is_empty_and_apart() {
    let server = ThrowawayPostgres::shared();
    let (one, other) = (server.create_database(), server.create_database());
    server.execute(&one, "CREATE TABLE here (n integer); INSERT INTO here VALUES (7), (NULL)");
    assert_eq!(server.execute(&one, "SELECT n FROM here"), [[Some("7".to_owned())], [None]]);
    assert_eq!(value(server, &other, "SELECT to_regclass('here') IS NULL"), "t");
}

#[test]
fn a_database_belongs_to_the_user_of_its_url_who_is_no_superuser() {
    let server = ThrowawayPostgres::shared();
    let url = server.create_database();
    assert!(url.ends_with("&user=portcullis"), "{url}");
    let owner = "SELECT rolname || ' ' || rolsuper FROM pg_database d JOIN pg_roles r ON r.oid = d.datdba \
                 WHERE datname = current_database()";
    assert_eq!(value(server, &url, owner), "portcullis false");
}

#[test]
fn a_durable_server_syncs_and_is_reached_over_tcp() {
    // Makes sure that there is a PostgreSQL on the machine.
    ThrowawayPostgres::shared();
    let server = ThrowawayPostgres::start_durable().unwrap();
    let url = server.create_database();
    let address = url.strip_prefix("postgres://portcullis@").unwrap().strip_suffix("/test_1").unwrap();
    TcpStream::connect(address).unwrap();
    let durable = "SELECT current_setting('fsync') || current_setting('synchronous_commit')";
    assert_eq!(value(&server, &url, durable), "onon");
}

#[test]
fn nothing_listens_on_a_port() {
    let server = ThrowawayPostgres::shared();
    assert_eq!(value(server, "postgres", "SHOW listen_addresses"), "");
}

#[test]
#[should_panic(expected = "ERROR 42703: column \"nonsense\" does not exist")]
fn refused_sql_fails_the_test_with_the_servers_words() {
    ThrowawayPostgres::shared().execute("postgres", "SELECT nonsense");
}

#[test]
fn a_server_comes_back_on_the_same_url_with_its_data() {
    let server = ThrowawayPostgres::start();
    let url = server.create_database();
    let socket = Path::new(&directory(&url)).join(".s.PGSQL.5432");
    server.execute(&url, "CREATE TABLE kept (n integer)");
    for (number, stop) in [ThrowawayPostgres::stop, ThrowawayPostgres::crash].into_iter().enumerate() {
        server.execute(&url, &format!("INSERT INTO kept VALUES ({number})"));
        stop(&server);
        assert!(!socket.exists());
        server.restart();
    }
    assert_eq!(value(&server, &url, "SELECT count(*) FROM kept"), "2");
}

#[test]
#[should_panic(expected = "could not access file \"no_such_library\"")]
fn a_server_that_does_not_start_fails_the_test_with_its_log() {
    let server = ThrowawayPostgres::start();
    server.execute("postgres", "ALTER SYSTEM SET shared_preload_libraries = 'no_such_library'");
    server.stop();
    server.restart();
}

#[test]
fn a_dropped_server_leaves_nothing() {
    let server = ThrowawayPostgres::start();
    let directory = directory(&server.create_database());
    let process = process(&server);
    assert!(is_running(&process) && Path::new(&directory).exists());
    drop(server);
    assert!(!is_running(&process) && !Path::new(&directory).exists());
}

/// The test runs itself as the owner of a server, and kills that.
#[test]
fn a_server_whose_owner_is_killed_leaves_nothing() {
    const OWNER: &str = "PORTCULLIS_TEST_POSTGRES_OWNER";
    if env::var_os(OWNER).is_some() {
        let server = ThrowawayPostgres::start();
        println!("\nowns {} {}", directory(&server.create_database()), process(&server));
        // Until the end of the input, which never comes: the owner is killed before.
        io::copy(&mut io::stdin(), &mut io::sink()).unwrap();
        return;
    }
    let mut owner = Command::new(env::current_exe().unwrap())
        .args(["--exact", "a_server_whose_owner_is_killed_leaves_nothing", "--nocapture"])
        .env(OWNER, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let said = BufReader::new(owner.stdout.take().unwrap())
        .lines()
        .find_map(|line| line.unwrap().strip_prefix("owns ").map(str::to_owned));
    let said = said.expect("the owner said what it owns");
    let (directory, process) = said.split_once(' ').unwrap();
    assert!(is_running(process) && Path::new(directory).exists());

    owner.kill().unwrap();
    owner.wait().unwrap();
    let deadline = Instant::now() + Duration::from_mins(1);
    while is_running(process) || Path::new(directory).exists() {
        assert!(Instant::now() < deadline, "{directory} or process {process} is still there");
        thread::sleep(Duration::from_millis(10));
    }
}

/// The single value that a query returns.
fn value(server: &ThrowawayPostgres, database: &str, sql: &str) -> String {
    let rows = server.execute(database, sql);
    rows[0][0].clone().expect("not NULL")
}

/// The directory that a database's URL names.
fn directory(url: &str) -> String {
    let host = url.split("host=").nth(1).unwrap().split('&').next().unwrap();
    host.replace("%2F", "/")
}

/// The id of the server's process.
fn process(server: &ThrowawayPostgres) -> String {
    let file = value(server, "postgres", "SELECT pg_read_file('postmaster.pid')");
    file.lines().next().unwrap().to_owned()
}

/// Whether a process runs: one that has ended, but whose parent has not noticed, has no command line.
fn is_running(process: &str) -> bool {
    fs::read(format!("/proc/{process}/cmdline")).is_ok_and(|line| !line.is_empty())
}
