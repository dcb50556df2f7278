//! A primary that dies and a standby that takes its place, while instances run.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use portcullis_testkit::postgres::{BlackHole, PostgresPair, ThrowawayPostgres};

use crate::database::{Database, Kind};
use crate::server::{Answer, PASSWORD, Server, Tokens, race, run, wait_until};

/// with a synchronous standby nothing acknowledged is lost, and no token is refused.
#[test]
fn instances_follow_a_promoted_standby_without_a_restart() {
    follow_a_promotion(|_pair, _port| None);
}

/// the address of the dead primary swallows packets, as that of a machine without power does.
#[test]
fn instances_follow_a_promotion_past_a_black_hole() {
    follow_a_promotion(|_pair, port| Some(BlackHole::on_port(port).unwrap()));
}

/// Kills the primary under load, promotes the standby, and lets `in_its_place` put something on the primary's port.
fn follow_a_promotion(in_its_place: impl Fn(&PostgresPair, u16) -> Option<BlackHole> + Sync) {
    let pair = PostgresPair::start();
    let name = pair.create_database();
    let database = of_pair(&pair, &name);
    let instances = [(); 2].map(|()| Server::start(&database));
    instances.iter().for_each(Server::wait_until_ready);

    let done = AtomicUsize::new(0);
    let is_over = AtomicBool::new(false);
    let clients = race(CLIENTS + 1, |n| {
        if n < CLIENTS {
            return Some(load(&instances, n, &done, &is_over));
        }
        let busy = || {
            let before = done.load(Ordering::SeqCst);
            wait_until("requests succeed", || done.load(Ordering::SeqCst) > before + 40);
        };
        busy();
        let killed = Instant::now();
        pair.primary().kill();
        let hole = in_its_place(&pair, port_of(pair.primary(), &name));
        pair.promote_standby();
        let promoted = killed.elapsed();
        for (n, instance) in instances.iter().enumerate() {
            instance.wait_until_ready();
            wait_until("changes succeed", || instance.register(&format!("after-{n}")).status != 503);
        }
        let served = killed.elapsed();
        assert!(served < LONGEST_FAILOVER, "{served:?}, promoted after {promoted:?}");
        busy();
        is_over.store(true, Ordering::SeqCst);
        drop(hole);
        None
    });
    let standby = pair.standby();
    let count = |sql: &str| standby.execute(&name, sql)[0][0].clone().unwrap();
    let mut names = 0;
    for client in clients.into_iter().flatten() {
        for registered in &client.registered {
            let found = count(&format!("SELECT count(*) FROM users WHERE canonical_name = '{registered}'"));
            assert_eq!(found, "1", "{registered} was acknowledged");
        }
        names += client.registered.len();
        let tokens = client.tokens.expect("a client logged in");
        assert_eq!(instances[0].refresh(&tokens.refresh).status, 200, "the session goes on");
        assert_eq!(instances[1].get_as("/me", &tokens.access).status, 200);
    }
    assert!(names > 20, "{names}");
    for instance in instances {
        let (status, log) = instance.terminate();
        assert!(status.success() && !log.iter().any(|line| line.contains("panicked")), "{log:#?}");
    }
}

/// What was acknowledged to a client.
struct Client {
    registered: Vec<String>,
    tokens: Option<Tokens>,
}

/// Registers users and refreshes a session, over the instances by turns, until the test is over.
fn load(instances: &[Server; 2], n: usize, done: &AtomicUsize, is_over: &AtomicBool) -> Client {
    let succeeds = |answer: Answer, fine: u16| {
        assert!(answer.status == fine || answer.status == 503, "{answer:?}");
        (answer.status == fine).then(|| {
            done.fetch_add(1, Ordering::SeqCst);
            answer
        })
    };
    let mut client = Client { registered: Vec::new(), tokens: None };
    for m in 0.. {
        if is_over.load(Ordering::SeqCst) {
            break;
        }
        let instance = &instances[m % 2];
        let name = format!("user-{n}-{m}");
        if succeeds(instance.register(&name), 201).is_some() {
            client.registered.push(name);
        }
        let tokens = match (&client.tokens, client.registered.last()) {
            // Whatever became of a refresh that got 503, it can be repeated.
            (Some(tokens), _) => succeeds(instance.refresh(&tokens.refresh), 200),
            (None, Some(name)) => succeeds(instance.try_login(name, PASSWORD), 200),
            (None, None) => None,
        };
        client.tokens = tokens.map(|answer| answer.tokens()).or(client.tokens);
    }
    client
}

/// The old primary comes back with its data and accepts changes, as one does that no cluster manager stops.
#[test]
fn an_old_primary_that_comes_back_gets_no_request() {
    let pair = PostgresPair::start();
    let name = pair.create_database();
    let database = of_pair(&pair, &name);
    let running = Server::start(&database);
    running.wait_until_ready();
    assert_eq!(running.register("before").status, 201);
    let tokens = running.login("before");
    pair.primary().kill();
    pair.promote_standby();
    wait_until("changes succeed", || running.register("after").status != 503);
    // It would acknowledge changes.
    pair.primary().restart();
    pair.primary().execute("postgres", "ALTER SYSTEM SET synchronous_standby_names = ''");
    pair.primary().execute("postgres", "SELECT pg_reload_conf()");

    let started_later = Server::start(&database);
    started_later.wait_until_ready();
    started_later.wait_for_line("an old primary still runs");
    assert_eq!(started_later.refresh(&tokens.refresh).status, 200);
    assert_eq!(running.try_login("after", PASSWORD).status, 200);
    let settings = [("DATABASE_URL", &*database.url())];
    let command = run(database.folder.path(), &settings, &["user", "disable", "after"]);
    assert!(command.status.success(), "{command:?}");
    let users =
        |server: &ThrowawayPostgres| server.execute(&name, "SELECT count(*) FROM users")[0][0].clone();
    assert_eq!((users(pair.primary()).as_deref(), users(pair.standby()).as_deref()), (Some("1"), Some("2")));
}

#[test]
fn a_url_that_wants_a_standby_aborts_startup() {
    let folder = Database::sqlite().folder;
    for wanted in ["standby", "read-only", "prefer-standby"] {
        let url = format!("postgres://127.0.0.1:1,127.0.0.1:2/x?target_session_attrs={wanted}");
        let output = run(folder.path(), &[("DATABASE_URL", &url)], &[]);
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(78), "{wanted}: {text}");
        for words in ["database.url", "target_session_attrs", "primary"] {
            assert!(text.contains(words), "{wanted}: {text}");
        }
    }
}

fn of_pair(pair: &PostgresPair, name: &str) -> Database {
    let kind = Kind::Postgres { server: ThrowawayPostgres::shared(), url: pair.url(name) };
    Database { folder: Database::sqlite().folder, kind }
}

fn port_of(server: &ThrowawayPostgres, name: &str) -> u16 {
    server.url(name).rsplit_once(':').unwrap().1.split_once('/').unwrap().0.parse().unwrap()
}

/// Clients that ask one thing after the other.
const CLIENTS: usize = 6;

/// From the end of the primary until every instance is ready and accepts changes.
const LONGEST_FAILOVER: Duration = Duration::from_secs(15);
