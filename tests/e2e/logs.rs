//! No log line of any level contains a secret, password, token or hash, and no reader of the log stops the service.

use std::fs::OpenOptions;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::database::Database;
use crate::on_both_databases;
use crate::server::{PASSWORD, PATIENCE, SECRET, Server, TRACE, command, race, tail, wait, wait_until};

on_both_databases! {
    // ASVS 14.2.4 16.2.5
    fn no_line_holds_a_secret_at_any_level(database: &Database) {
        // RUST_LOG asks for what the HTTP stack would say of each request.
        let server = Server::start_with(database, TRACE);
        server.register("alice");
        let tokens = server.login("alice");
        let next = server.refresh(&tokens.refresh).tokens();
        server.get_as("/protected", &next.access);
        server.get_as("/me", &next.access);
        // Mistakes are logged too, and hold what was meant for another field.
        server.try_login(PASSWORD, PASSWORD);
        server.try_login("alice", "hunter2-Wrong!");
        server.post("/register", &json!({"username": "bob", "password": "hunter2-Wrong!", "hunter2-Wrong!": 1}));
        server.call("POST", "/login", &[("content-type", "application/json")], Some(r#"{"password":"hunter2-Wrong!"#));
        server.get(&format!("/protected/{}", next.access));
        server.get_as("/me", &format!("{}x", next.access));
        server.refresh(&tokens.refresh);
        server.refresh(&format!("{}x", next.refresh));
        database.import_user(1, "mallory", "hunter2-hash");
        server.try_login("mallory", "hunter2-Wrong!");
        server.logout(&next.refresh);
        let hash = database.text("SELECT password_hash FROM users WHERE canonical_name = 'alice'");

        let (_, log) = server.terminate();
        assert!(log.len() > 10, "{log:#?}");
        let secrets = [PASSWORD, SECRET, "hunter2", &tokens.access, &tokens.refresh, &next.access, &next.refresh, &hash];
        for secret in secrets.map(tail) {
            let leak = log.iter().find(|line| line.contains(secret));
            assert_eq!(leak, None, "{secret}");
        }
    }

    fn no_route_tells_what_it_was_told(database: &Database) {
        let server = Server::start_with(database, TRACE);
        let described = server.get("/openapi.json").json();
        let operations: Vec<_> = described["paths"]
            .as_object()
            .unwrap()
            .iter()
            .flat_map(|(path, methods)| methods.as_object().unwrap().keys().map(move |method| (path, method.to_uppercase())))
            .collect();
        assert!(operations.len() >= 19, "{operations:?}");
        let mut told = vec![SECRET.to_owned(), CANARY.to_owned(), NEW_CANARY.to_owned()];
        for (number, (path, method)) in operations.iter().enumerate() {
            let mut statuses = Vec::new();
            for attempt in 0..BODIES {
                let name = format!("user-{number}-{attempt}");
                assert_eq!(server.post("/register", &json!({"username": name, "password": CANARY})).status, 201);
                let first = server.try_login(&name, CANARY).tokens();
                let tokens = server.refresh(&first.refresh).tokens();
                let stored = format!("SELECT password_hash FROM users WHERE canonical_name = '{name}'");
                let own = [first.access, first.refresh, tokens.access.clone(), tokens.refresh.clone(), database.text(&stored)];
                told.extend(own.clone());

                let path = path.replace("{id}", &tokens.session).replace("{code}", "not_found").replace("{file}", "index.css");
                // The last ones go wrong: in the path, in the query, and in what is no JSON.
                let (path, body) = match attempt {
                    0 => (path, json!({"username": name, "password": CANARY}).to_string()),
                    1 => (path, json!({"username": format!("{name}-new"), "password": CANARY}).to_string()),
                    2 => (path, json!({"refresh_token": tokens.refresh}).to_string()),
                    3 => (path, json!({"current_password": CANARY, "new_password": NEW_CANARY}).to_string()),
                    4 => (path, json!({"current_password": CANARY}).to_string()),
                    5 => (path, json!({"username": CANARY, "password": name, "refresh_token": tokens.access, "surprise": CANARY}).to_string()),
                    6 => (format!("{path}/{}", tokens.refresh), format!(r#"{{"password":"{CANARY}","refresh_token":"{}"#, tokens.refresh)),
                    _ => (format!("{path}?scope={0}&limit={CANARY}&cursor={0}&{0}=1", tokens.refresh), String::new()),
                };
                let bearer = format!("Bearer {}", tokens.access);
                let cookie = format!("session={}", tokens.access);
                let mut headers = vec![("content-type", "application/json"), ("cookie", cookie.as_str())];
                // One token of each kind is one too many for a logout.
                if attempt != 2 {
                    headers.push(("authorization", bearer.as_str()));
                }
                let answer = server.call(method, &path, &headers, (method != "GET").then_some(body.as_str()));
                for secret in told[..3].iter().chain(&own).map(|secret| tail(secret)) {
                    let values = answer.headers.values().map(|value| String::from_utf8_lossy(value.as_bytes()));
                    let leaks = values.chain([answer.text.as_str().into()]).any(|text| text.contains(secret));
                    assert!(!leaks, "{method} {path} tells {secret}: {answer:?}");
                }
                statuses.push(answer.status);
                let given = serde_json::from_str::<Value>(&answer.text);
                if given.is_ok_and(|given| given["access_token"].is_string()) {
                    let given = answer.tokens();
                    told.extend([given.access, given.refresh]);
                }
            }
            let succeeds = statuses.iter().any(|status| *status < 300);
            assert!(succeeds, "add a body that {method} {path} accepts to this test, which got {statuses:?}");
            assert!(statuses.iter().all(|status| *status < 500), "{method} {path}: {statuses:?}");
        }
        let (_, log) = server.terminate();
        assert!(log.len() > operations.len() * BODIES, "{} lines", log.len());
        for secret in told.iter().map(|secret| tail(secret)) {
            let leak = log.iter().find(|line| line.contains(secret));
            assert_eq!(leak, None, "{secret}");
        }
    }

    // ASVS 16.2.4 16.4.1
    fn every_line_is_one_json_object_with_the_requests_id(database: &Database) {
        let server = Server::start(database);
        let id = "my-request.1_A";
        let answer = server.call(
            "POST",
            "/login",
            &[("x-request-id", id), ("content-type", "application/json"), ("user-agent", "evil\"agent\\")],
            Some(r#"{"username":"a","password":"b"}"#),
        );
        assert_eq!(answer.header("x-request-id"), Some(id));
        let (_, log) = server.terminate();
        let lines: Vec<Value> = log.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        let access = lines.iter().find(|line| line["target"] == "portcullis::access").unwrap();
        assert_eq!((&access["request_id"], &access["status"]), (&json!(id), &json!(401)), "{access}");
        assert!(lines.iter().all(|line| line["ts"].is_string() && line["level"].is_string() && line["msg"].is_string()));
    }
}

/// Passwords that the policy accepts.
const CANARY: &str = "Canary-7f3a-Old.1";
const NEW_CANARY: &str = "Canary-7f3a-New.2";

/// How many bodies each route gets, the right one among them.
const BODIES: usize = 8;

#[test]
fn people_get_text() {
    let database = Database::sqlite();
    let server = Server::start_with(&database, &[("LOG__FORMAT", "human")]);
    server.call("GET", "/health", &[("x-request-id", "mine")], None);
    let (_, log) = server.terminate();
    assert!(log.iter().all(|line| !line.starts_with('{') && line.contains("Z ")), "{log:#?}");
    assert!(log.iter().any(|line| line.contains("INFO") && line.contains("request_id=mine")), "{log:#?}");
}

#[test]
fn what_clients_get_wrong_is_no_error_of_the_service() {
    let database = Database::sqlite();
    let server = Server::start(&database);
    for rubbish in [
        "GET / HTTP/1.1\r\nx: \0\r\n\r\n",
        "\r\n\0\r\n\r\n",
        "POST /login HTTP/1.1\r\ncontent-length: x\r\n\r\n",
    ] {
        let answer = server.raw(rubbish.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 400 "), "{rubbish:?}: {answer:?}");
    }
    let (_, log) = server.terminate();
    assert!(!log.iter().any(|line| line.contains("\"level\":\"error\"")), "{log:#?}");
}

#[test]
fn unread_log_blocks_no_request_and_no_stop() {
    for settings in [&[][..], &[("LOG__FORMAT", "human")], TRACE] {
        let (_unread, stderr) = io::pipe().unwrap();
        let database = Database::sqlite();
        let server = Server::start_logging_to(&database, stderr, settings);
        serves(&server, FITS_NO_PIPE);
        server.wait_until_ready();
        assert_eq!(server.register("alice").status, 201);
        for n in 0..8 {
            assert_eq!(server.try_login(&format!("user{n}"), "wrong").status, 401);
        }
        stops_in_time(server);
    }
}

#[test]
fn log_that_is_full_before_the_start_blocks_nothing() {
    let (_unread, mut stderr) = io::pipe().unwrap();
    stderr.write_all(&vec![b'x'; PIPE_BYTES]).unwrap();
    // The second one makes the parser of RUST_LOG complain.
    for settings in [&[][..], &[("RUST_LOG", "info,portcullis=loud")]] {
        let stderr = stderr.try_clone().unwrap();
        let database = Database::sqlite();
        let server = Server::start_logging_to(&database, stderr, settings);
        serves(&server, 10);
        stops_in_time(server);
    }
    // Nor does it keep a setting that cannot hold from ending the start.
    let folder = tempfile::tempdir().unwrap();
    let mut command = command(folder.path());
    command.env("PORTCULLIS_LOG__LEVEL", "loud").stderr(stderr);
    let begun = Instant::now();
    assert_eq!(wait(&mut command.spawn().unwrap()).code(), Some(78));
    assert!(begun.elapsed() < STOP_TIME, "{:?}", begun.elapsed());
}

#[test]
fn number_of_dropped_lines_follows_a_stall() {
    let (unread, stderr) = io::pipe().unwrap();
    let database = Database::sqlite();
    let server = Server::start_logging_to(&database, stderr, &[]);
    serves(&server, FITS_NO_QUEUE);
    // Now it goes on, and the number follows without another request.
    let mut lines =
        BufReader::new(unread).lines().map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
    let mut is_access = 0;
    let report = loop {
        let line = lines.next().unwrap();
        is_access += usize::from(line["target"] == "portcullis::access");
        if line["dropped"].is_u64() {
            break line;
        }
    };
    assert_eq!(report["level"], "warn", "{report}");
    let dropped = usize::try_from(report["dropped"].as_u64().unwrap()).unwrap();
    assert!(dropped > 0 && is_access + dropped == FITS_NO_QUEUE, "{is_access} and {dropped}");

    server.get("/health");
    server.signal("TERM");
    let after: Vec<_> = lines.collect();
    assert!(after.iter().all(|line| line["dropped"].is_null()), "{after:#?}");
    assert_eq!(after.iter().filter(|line| line["target"] == "portcullis::access").count(), 1, "{after:#?}");
}

#[test]
fn nonblocking_log_loses_no_line_silently() {
    let (mut reader, stderr) = UnixStream::pair().unwrap();
    stderr.set_nonblocking(true).unwrap();
    let database = Database::sqlite();
    let server = Server::start_logging_to(&database, OwnedFd::from(stderr), &[]);
    // More than the socket takes at once, and less than the queue does.
    serves(&server, FITS_NO_QUEUE / 4);
    server.signal("TERM");
    let mut log = String::new();
    reader.read_to_string(&mut log).unwrap();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let is_access = |line: &&Value| line["target"] == "portcullis::access";
    assert_eq!(lines.iter().filter(is_access).count(), FITS_NO_QUEUE / 4);
    assert_eq!(lines.last().unwrap()["msg"], "stopped");
}

#[test]
fn reader_that_goes_away_stops_nothing() {
    let (reader, stderr) = io::pipe().unwrap();
    let database = Database::sqlite();
    let server = Server::start_logging_to(&database, stderr, &[]);
    drop(reader);
    serves(&server, FITS_NO_PIPE);
    stops_in_time(server);
}

#[test]
fn full_disk_of_the_log_stops_nothing() {
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let database = Database::sqlite();
    let server = Server::start_logging_to(&database, full, &[]);
    serves(&server, FITS_NO_PIPE);
    stops_in_time(server);
}

#[test]
fn size_limit_of_the_log_file_stops_nothing() {
    let database = Database::sqlite();
    let path = database.folder.path().join("log");
    let log = OpenOptions::new().create(true).append(true).open(&path).unwrap();
    // The next line reaches the limit, which the database is far from.
    log.set_len(LARGEST_FILE - 10).unwrap();
    let limit = format!("ulimit -f {} && exec \"$0\" 2>>log", LARGEST_FILE / 512);
    let (mut child, address) = start_by_shell(&database, &limit);
    ask(&mut TcpStream::connect(address).unwrap(), FITS_NO_PIPE);
    Command::new("kill").arg(child.id().to_string()).status().unwrap();
    assert!(wait(&mut child).success());
    assert_eq!(path.metadata().unwrap().len(), LARGEST_FILE);
}

#[test]
fn closed_standard_error_stops_nothing() {
    let database = Database::sqlite();
    let (mut child, address) = start_by_shell(&database, "exec \"$0\" 2>&- >&- <&-");
    ask(&mut TcpStream::connect(address).unwrap(), FITS_NO_PIPE);
    Command::new("kill").arg(child.id().to_string()).status().unwrap();
    assert!(wait(&mut child).success());
}

#[test]
fn second_stop_signal_ends_the_server_with_an_unread_log() {
    let (_unread, stderr) = io::pipe().unwrap();
    let database = Database::sqlite();
    let server = Server::start_logging_to(&database, stderr, &[]);
    serves(&server, FITS_NO_PIPE);
    // A body that never ends keeps the first signal waiting.
    let mut connection = TcpStream::connect(server.address).unwrap();
    let head =
        "POST /login HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 50\r\n\r\n{";
    connection.write_all(head.as_bytes()).unwrap();
    serves(&server, 1);
    server.signal("TERM");
    wait_until("no more connection is taken", || TcpStream::connect(server.address).is_err());
    let begun = Instant::now();
    server.signal("TERM");
    let (status, _) = server.ended();
    assert_eq!(status.code(), Some(1));
    assert!(begun.elapsed() < STOP_TIME, "{:?}", begun.elapsed());
}

#[test]
fn lines_of_many_threads_are_whole_and_none_is_lost() {
    let database = Database::sqlite();
    let server = Server::start(&database);
    race(8, |n| {
        for _ in 0..100 {
            server.get("/health");
        }
        assert_eq!(server.try_login(&format!("user{n}"), "wrong").status, 401);
    });
    let (_, log) = server.terminate();
    let lines: Vec<Value> = log.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let routes = |route: &str| lines.iter().filter(|line| line["route"] == route).count();
    assert_eq!((routes("/health"), routes("/login")), (800, 8));
}

/// Starts a server by a line of shell, in which it is `$0`.
fn start_by_shell(database: &Database, line: &str) -> (Child, SocketAddr) {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let bare = command(database.folder.path());
    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg(line).arg(bare.get_program()).current_dir(database.folder.path()).env_clear();
    shell.envs(bare.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell.env("PORTCULLIS_DATABASE__URL", database.url());
    shell.env("PORTCULLIS_SERVER__LISTEN", address.to_string());
    let child = shell.spawn().unwrap();
    wait_until("the server listens", || TcpStream::connect(address).is_ok());
    (child, address)
}

/// Asks `/health` so often, and expects to be answered each time.
fn serves(server: &Server, requests: usize) {
    ask(&mut TcpStream::connect(server.address).unwrap(), requests);
}

fn ask(connection: &mut TcpStream, requests: usize) {
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut sending = connection.try_clone().unwrap();
    let sender = thread::spawn(move || {
        for _ in 0..requests {
            sending.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        }
    });
    let answers = BufReader::new(connection).lines().map(|line| line.expect("the server answers in time"));
    assert_eq!(answers.filter(|line| line.contains("HTTP/1.1 200 ")).take(requests).count(), requests);
    sender.join().unwrap();
}

/// Stops the server, which must end in order without waiting for the reader of its log.
#[track_caller]
fn stops_in_time(server: Server) {
    let begun = Instant::now();
    let (status, _) = server.terminate();
    assert!(status.success(), "{status}");
    assert!(begun.elapsed() < STOP_TIME, "{:?}", begun.elapsed());
}

/// The capacity of a pipe of Linux.
const PIPE_BYTES: usize = 64 * 1024;

/// Requests whose lines no pipe holds: each has more than 150 bytes.
const FITS_NO_PIPE: usize = 500;

/// Requests whose lines neither a pipe nor the server's queue of 2 MiB holds.
const FITS_NO_QUEUE: usize = 16_000;

/// A multiple of the 512 bytes in which `ulimit -f` counts.
const LARGEST_FILE: u64 = 16 * 1024 * 1024;

/// A stop waits a second for the log; the rest is for a busy machine.
const STOP_TIME: Duration = Duration::from_secs(8);
