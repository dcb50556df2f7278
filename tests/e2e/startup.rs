//! Starting: together, too early, and with settings that cannot hold.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use portcullis_testkit::postgres::ThrowawayPostgres;

use crate::database::{Database, Kind};
use crate::on_both_databases;
use crate::server::{PASSWORD, PATIENCE, Server, command, race, run, wait, wait_until};

on_both_databases! {
    fn instances_started_together_on_an_empty_database_all_come_up(database: &Database) {
        let instances = match database.kind {
            Kind::Postgres { .. } => 5,
            Kind::Sqlite => 2,
        };
        let servers = race(instances, |_| Server::start(database));
        assert_eq!(servers[0].register("alice").status, 201);
        for server in &servers {
            assert_eq!(server.get("/ready").status, 200);
            // The same keys, without a word between them.
            assert_eq!(server.get("/.well-known/jwks.json").json(), servers[0].get("/.well-known/jwks.json").json());
            let tokens = server.login("alice");
            assert!(servers.iter().all(|other| other.get_as("/protected", &tokens.access).status == 200));
        }
    }

    fn another_secret_than_the_databases_refuses_to_start(database: &Database) {
        Server::start(database).terminate();
        let other = "pcs_Hx4dHBsaGRgXFhUUExIREA8ODQwLCgkIBwYFBAMCAQA";
        let settings = [("DATABASE__URL", database.url()), ("SECRET", other.to_owned())];
        let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let line = refuses(database, &settings);
        assert!(line.starts_with("portcullis: secret: the database ") && line.contains("another secret"), "{line}");
        assert!(line.contains("accepted_secrets") && line.contains("`portcullis secret adopt`"), "{line}");

        // While the secret is being replaced both are known, and then the new one alone.
        let accepting = [("SECRET", other), ("ACCEPTED_SECRETS", crate::server::SECRET)];
        Server::start_with(database, &accepting).terminate();
        Server::start_with(database, &[("SECRET", other)]).terminate();
    }

    fn a_stop_finishes_what_runs_and_sends_away_what_waits(database: &Database) {
        // One hash at a time, each long enough to stop in the middle, and room for three use cases on the pool's threads.
        let settings = [("HASHING__BCRYPT_COST", "13"), ("HASHING__THREADS", "1"), ("HASHING__QUEUE", "8")];
        let server = Server::start_with(database, &settings);
        let statuses = race(7, |n| match n {
            6 => {
                // The first is through, so the others hash or wait.
                server.wait_for_line(r#""status":201"#);
                server.signal("TERM");
                0
            }
            _ => server.register(&format!("user{n}")).status,
        });
        let count = |status: u16| statuses.iter().filter(|s| **s == status).count();
        assert_eq!(count(201) + count(503), 6, "{statuses:?}");
        let (status, log) = server.ended();
        assert!(status.success(), "{status} {log:#?}");
        assert!(log.last().is_some_and(|line| line.contains(r#""msg":"stopped""#)), "{log:#?}");
        assert_eq!(database.number("SELECT count(*) FROM users"), i64::try_from(count(201)).unwrap());
    }

    fn every_signal_that_asks_to_stop_is_an_orderly_stop(database: &Database) {
        for signal in ["TERM", "INT", "QUIT", "HUP"] {
            let server = Server::start(database);
            server.signal(signal);
            let (status, log) = server.ended();
            assert!(status.success(), "{signal}: {status} {log:#?}");
            assert!(log.last().is_some_and(|line| line.contains(r#""msg":"stopped""#)), "{signal}: {log:#?}");
        }
    }

    /// R-10.
    fn whoever_is_told_twice_to_stop_ends_at_once(database: &Database) {
        let settings = [("HASHING__BCRYPT_COST", "13"), ("HASHING__THREADS", "1"), ("HASHING__QUEUE", "8")];
        let server = Server::start_with(database, &settings);
        let answers = race(5, |n| {
            if n == 4 {
                // The first is through, so the next one hashes.
                server.wait_for_line(r#""status":201"#);
                server.signal("TERM");
                server.wait_for_line("stopping");
                server.signal("TERM");
                return String::new();
            }
            let body = format!(r#"{{"username":"user{n}","password":"{PASSWORD}"}}"#);
            let head = "POST /register HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json";
            server.raw(format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).as_bytes())
        });
        let told = Instant::now();
        let (status, log) = server.ended();
        assert_eq!(status.code(), Some(1), "{log:#?}");
        assert!(told.elapsed() < Duration::from_secs(5) && log.iter().any(|line| line.contains("second stop signal")), "{log:#?}");
        let acknowledged = answers.iter().filter(|answer| answer.starts_with("HTTP/1.1 201")).count();
        let users = database.number("SELECT count(*) FROM users");
        assert!(users >= i64::try_from(acknowledged).unwrap(), "{answers:?}");
        assert_eq!(database.number("SELECT count(*) FROM security_events"), users, "each with its event or not at all");
    }
}

/// R-09.
#[test]
fn draining_server_answers_and_closes_connections() {
    let database = Database::sqlite();
    let server = Server::start_with(&database, &[("SERVER__DRAIN_DELAY", "3s")]);
    server.wait_until_ready();
    let ask = |connection: &mut TcpStream| {
        connection.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        let mut answer = [0; 4_096];
        let length = connection.read(&mut answer).unwrap();
        String::from_utf8_lossy(&answer[..length]).to_lowercase()
    };
    let [mut busy, mut idle] = [(); 2].map(|()| {
        let mut connection = TcpStream::connect(server.address).unwrap();
        connection.set_read_timeout(Some(PATIENCE)).unwrap();
        let answer = ask(&mut connection);
        assert!(answer.starts_with("http/1.1 200") && !answer.contains("connection: close"), "{answer}");
        connection
    });
    let told = Instant::now();
    server.signal("TERM");
    wait_until("it is unready", || server.get("/ready").status == 503);
    assert!(told.elapsed() < Duration::from_secs(1), "{:?}", told.elapsed());
    assert_eq!(server.get("/ready").json()["checks"]["draining"], "failing");
    let answer = ask(&mut busy);
    assert!(answer.starts_with("http/1.1 200") && answer.contains("connection: close"), "{answer}");
    assert_eq!(busy.read(&mut [0; 1]).unwrap(), 0, "it closes");
    assert_eq!(server.register("alice").status, 201);
    assert!(told.elapsed() < Duration::from_secs(2), "the delay is not over: {:?}", told.elapsed());
    // An idle connection closes with the delay, and none is accepted after it.
    assert_eq!(idle.read(&mut [0; 1]).unwrap(), 0);
    assert!(told.elapsed() >= Duration::from_secs(3), "{:?}", told.elapsed());
    assert!(TcpStream::connect(server.address).is_err());
    let (status, log) = server.ended();
    assert!(status.success() && told.elapsed() < Duration::from_secs(6), "{status} {log:#?}");
}

/// R-10.
#[test]
fn second_signal_ends_a_drain_at_once() {
    let database = Database::sqlite();
    let server = Server::start_with(&database, &[("SERVER__DRAIN_DELAY", "1m")]);
    server.signal("INT");
    server.wait_for_line("draining");
    server.signal("TERM");
    let told = Instant::now();
    let (status, log) = server.ended();
    assert_eq!(status.code(), Some(1), "{log:#?}");
    assert!(told.elapsed() < Duration::from_secs(5), "{:?}", told.elapsed());
}

/// R-09, R-10. After a drain, waiting registrations have half of the shutdown timeout before the rest gets a 503.
#[test]
fn stop_after_a_drain_resets_no_request() {
    let database = Database::sqlite();
    let settings = [
        ("HASHING__BCRYPT_COST", "13"),
        ("HASHING__THREADS", "1"),
        ("HASHING__QUEUE", "16"),
        ("SERVER__DRAIN_DELAY", "1s"),
        ("SERVER__SHUTDOWN_TIMEOUT", "4s"),
    ];
    let server = Server::start_with(&database, &settings);
    let statuses = race(17, |n| match n {
        16 => {
            server.wait_for_line(r#""status":201"#);
            server.signal("TERM");
            0
        }
        _ => server.register(&format!("user{n}")).status,
    });
    let count = |status: u16| statuses.iter().filter(|s| **s == status).count();
    assert_eq!(count(201) + count(503), 16, "{statuses:?}");
    assert!(count(201) > 2, "the drain lets some more through: {statuses:?}");
    let (status, log) = server.ended();
    assert!(status.success(), "{status} {log:#?}");
    assert_eq!(database.number("SELECT count(*) FROM users"), i64::try_from(count(201)).unwrap());
}

/// R-10, R-14. Each migration is one transaction, so an instance that ends in the middle of one has applied those before it.
#[test]
fn whoever_ends_in_the_middle_of_a_migration_leaves_those_before_it() {
    let database = Database::postgres();
    let Kind::Postgres { server: postgres, url } = &database.kind else { unreachable!() };
    let versions = || match database.number("SELECT count(to_regclass('__diesel_schema_migrations'))") {
        0 => 0,
        _ => database.number("SELECT count(*) FROM __diesel_schema_migrations"),
    };
    let asleep = "FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'";
    let migrations = first_tables();
    for (n, table) in migrations.iter().enumerate() {
        let Some(table) = table else { continue };
        for sql in [
            format!(
                "CREATE OR REPLACE FUNCTION linger() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN
                   IF EXISTS (SELECT FROM pg_event_trigger_ddl_commands() WHERE object_identity = 'public.{table}')
                   THEN PERFORM pg_sleep(600); END IF; END$$"
            ),
            "DROP EVENT TRIGGER IF EXISTS linger".to_owned(),
            "CREATE EVENT TRIGGER linger ON ddl_command_end WHEN TAG IN ('CREATE TABLE')
             EXECUTE FUNCTION linger()"
                .to_owned(),
        ] {
            postgres.execute(url, &sql);
        }
        let mut server = command(database.folder.path());
        server.env("PORTCULLIS_DATABASE__URL", url).stdout(Stdio::null()).stderr(Stdio::null());
        let mut server = server.spawn().unwrap();
        wait_until("it is in the middle", || database.number(&format!("SELECT count(*) {asleep}")) == 1);
        let signals: &[&str] = if n % 2 == 0 { &["-KILL"] } else { &["-TERM", "-TERM"] };
        for signal in signals {
            // It may be gone after the first one.
            let _ =
                Command::new("kill").arg(signal).arg(server.id().to_string()).stderr(Stdio::null()).status();
        }
        assert!(!wait(&mut server).success());
        // PostgreSQL would notice when it has slept.
        database.number(&format!("SELECT count(pg_terminate_backend(pid)) {asleep}"));
        wait_until("it is undone", || database.number(&format!("SELECT count(*) {asleep}")) == 0);
        assert_eq!(usize::try_from(versions()).unwrap(), n, "{table}");
        assert_eq!(database.number(&format!("SELECT count(to_regclass('{table}'))")), 0, "{table}");
    }
    postgres.execute(url, "DROP EVENT TRIGGER linger");
    let server = Server::start(&database);
    server.wait_until_ready();
    assert_eq!(server.register("alice").status, 201);
    assert_eq!(usize::try_from(versions()).unwrap(), migrations.len());
}

/// Returns the first table that each migration to PostgreSQL creates, if it creates one.
fn first_tables() -> Vec<Option<String>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations/postgres");
    let mut migrations: Vec<_> =
        fs::read_dir(folder).unwrap().map(|migration| migration.unwrap().path()).collect();
    migrations.sort();
    let first_table = |migration: PathBuf| {
        let sql = fs::read_to_string(migration.join("up.sql")).unwrap();
        let table = sql.lines().find_map(|line| line.strip_prefix("CREATE TABLE "));
        table.and_then(|table| table.split(' ').next()).map(str::to_owned)
    };
    let tables: Vec<_> = migrations.into_iter().map(first_table).collect();
    assert!(tables.iter().flatten().count() >= 4, "the tables are found: {tables:?}");
    tables
}

// ASVS 16.5.2
#[test]
fn a_database_that_comes_late_is_waited_for() {
    let postgres = ThrowawayPostgres::start();
    let url = postgres.create_database();
    postgres.stop();
    let folder = Database::sqlite().folder;
    let database = Database { folder, kind: Kind::Postgres { server: ThrowawayPostgres::shared(), url } };
    let server = Server::start(&database);
    assert_eq!(server.get("/health").status, 200);
    let invitations = || server.lines_with(r#""msg":"ready""#) + server.lines_with("try: curl");
    assert_eq!(invitations(), 0, "clients cannot register yet");
    let ready = server.get("/ready");
    assert_eq!((ready.status, &ready.json()["checks"]["database"]), (503, &"failing".into()), "{ready:?}");
    assert!(ready.header("retry-after").is_some());
    server.register("alice").is_problem(503, "storage_unavailable");

    postgres.restart();
    server.wait_until_ready();
    server.wait_for_line("try: curl");
    assert_eq!(invitations(), 2);
    assert_eq!(server.register("alice").status, 201);

    // And once more, under way: nothing hangs, and it comes back by itself.
    let tokens = server.login("alice");
    postgres.crash();
    let asked = Instant::now();
    server.refresh(&tokens.refresh).is_problem(503, "storage_unavailable");
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    assert_eq!(server.get("/health").status, 200);
    postgres.restart();
    wait_until("it is back", || server.refresh(&tokens.refresh).status == 200);
}

#[test]
fn a_secret_that_does_not_fit_a_late_database_ends_the_server() {
    let postgres = ThrowawayPostgres::start();
    let url = postgres.create_database();
    let folder = Database::sqlite().folder;
    let database = Database { folder, kind: Kind::Postgres { server: ThrowawayPostgres::shared(), url } };
    Server::start(&database).terminate();
    postgres.stop();
    let server =
        Server::start_with(&database, &[("SECRET", "pcs_Hx4dHBsaGRgXFhUUExIREA8ODQwLCgkIBwYFBAMCAQA")]);
    postgres.restart();
    let (status, log) = server.ended();
    assert_eq!(status.code(), Some(78));
    assert!(log.last().is_some_and(|line| line.starts_with("portcullis: secret: the database")), "{log:#?}");
}

#[test]
fn the_first_run_in_development_makes_what_it_needs() {
    let database = Database::sqlite();
    let folder = database.folder.path();
    let server = Server::start_with(&database, &[("SECRET", "")]);
    let address = server.address;
    server.wait_for_line(&format!("try: curl -s http://{address}"));
    assert_eq!(server.register("alice").status, 201);
    let tokens = server.try_login("alice", PASSWORD).tokens();
    let secret = folder.join("data/portcullis.secret");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(fs::metadata(&secret).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(folder.join("data")).unwrap().permissions().mode() & 0o777, 0o700);
    }
    let (_, log) = server.terminate();
    let lines: Vec<serde_json::Value> = log.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let banner: Vec<_> = lines.iter().map(|line| line["msg"].as_str().unwrap()).collect();
    let at = banner.iter().position(|line| *line == format!("listening on http://{address}")).unwrap();
    let expected = ["issuer of access tokens", "API documentation", "database", "ready"];
    assert_eq!(banner[at + 1..=at + 4], expected, "{banner:?}");
    assert_eq!(lines[at + 1]["issuer"], "http://auth.test");
    assert_eq!(lines[at + 2]["url"], "http://auth.test/docs");
    assert!(lines[at + 3]["url"].as_str().unwrap().ends_with("data/portcullis.db"), "{log:#?}");
    assert!(lines[at + 3]["secret_file"].as_str().unwrap().ends_with("data/portcullis.secret"), "{log:#?}");
    let log = log.join("\n");
    assert!(!log.contains(fs::read_to_string(&secret).unwrap().trim()), "the secret is not in the log");

    let again = Server::start_with(&database, &[("SECRET", "")]);
    assert_eq!(again.get_as("/protected", &tokens.access).status, 200, "the same secret at the next start");
}

// ASVS 13.2.3
#[test]
fn what_cannot_hold_refuses_to_start_in_one_line_that_names_the_setting() {
    let database = Database::sqlite();
    let not_a_folder = database.folder.path().join("file");
    fs::write(&not_a_folder, "").unwrap();
    let unwritable = format!("sqlite://{}/portcullis.db", not_a_folder.display());
    let cases: &[(&[(&str, &str)], &str)] = &[
        (&[("DATABASE_URL", "mysql://localhost/x")], "database.url"),
        (&[("DATABASE_URL", "./portcullis.db")], "database.url"),
        (&[("DATABASE_URL", &unwritable)], "database.url"),
        (&[("ENV", "production"), ("SECRET", "")], "secret"),
        (&[("ENV", "production"), ("SECRET", "short")], "secret"),
        (&[("ENV", "production"), ("SECRET", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")], "secret"),
        (&[("SERVER__WORKRES", "2")], "server.workers"),
        (&[("SERVER__WORKERS", "many")], "server.workers"),
        (&[("SERVER__LISTEN", "192.0.2.1:1")], "server.listen"),
        (&[("ENV", "prodution")], "did you mean production?"),
        (&[("ENV", "default")], "PORTCULLIS_ENV"),
        (&[("SERVER__KEEP_ALIVE", "0s")], "server.keep_alive"),
        (&[("SECRET", "\"pcs_kCaD3cvDJhSoAWdL8fbAfYwTXiWyOo4nPoXAw0GDJ5Q\"")], "has a quote (\")"),
        (&[("TOKENS__AUDIENCE", "\"api\"")], "has a quote (\")"),
        (&[("SECRET_FILE", "/nonexistent"), ("SECRET", "")], "PORTCULLIS_SECRET_FILE"),
        (&[("DATABASE_URL", "postgres://u:canary%zz@127.0.0.1:1/x")], "database.url"),
        (&[("DATABASE_URL", "postgres://u:can/ary@127.0.0.1:1/x")], "database.url"),
    ];
    for (settings, named) in cases {
        let line = refuses(&database, settings);
        assert!(line.contains(named), "{settings:?}: {line}");
        assert!(!line.contains("canary") && !line.contains("ary@"), "{line}");
    }
    assert!(!database.folder.path().join("portcullis.db").exists(), "a mistyped URL makes no database");
}

// ASVS 13.3.1
#[test]
fn settings_come_from_every_source() {
    let database = Database::sqlite();
    let folder = database.folder.path();
    fs::write(folder.join("secret"), format!("{}\n", crate::server::SECRET)).unwrap();
    fs::write(folder.join("mine.toml"), "[registration]\nenabled = false\n").unwrap();

    // Production, with its secret in a file and the aliases that platforms set.
    let production = [
        ("ENV", "production"),
        ("SECRET", ""),
        ("SECRET_FILE", "secret"),
        ("DATABASE__URL", ""),
        ("DATABASE_URL", "sqlite://alias/portcullis.db"),
        ("SERVER__LISTEN", ""),
        ("PORT", "0"),
        ("HASHING__BCRYPT_COST", "10"),
    ];
    let server = Server::start_with(&database, &production);
    assert_eq!(server.register("alice").status, 201);
    assert!(folder.join("alias/portcullis.db").exists());
    // ASVS 13.4.2 13.4.5
    server.get("/docs").is_problem(404, "not_found");
    server.get("/openapi.json").is_problem(404, "not_found");
    server.terminate();

    let checked = run(folder, &[], &["--config", "mine.toml", "config", "check"]);
    let text = String::from_utf8(checked.stdout).unwrap();
    assert!(text.contains("registration.enabled = false  # mine.toml\n"), "{text}");
}

/// `nohup` ignores SIGHUP for what it starts.
#[test]
fn ignored_hangup_stays_ignored() {
    let database = Database::sqlite();
    let bare = command(database.folder.path());
    let mut ignoring = Command::new("/bin/sh");
    ignoring.arg("-c").arg("trap '' HUP && exec \"$0\"").arg(bare.get_program());
    ignoring.current_dir(database.folder.path()).env_clear().stdin(Stdio::null());
    ignoring.envs(bare.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let server = Server::of(ignoring);
    server.signal("HUP");
    assert_eq!(server.register("alice").status, 201);
    assert!(server.terminate().0.success());
}

#[test]
fn a_settings_file_that_is_a_folder_aborts_the_start() {
    let database = Database::sqlite();
    let folder = database.folder.path();
    let production = [("ENV", "production"), ("HASHING__BCRYPT_COST", "10")];
    let config = folder.join("config/production.toml");
    fs::create_dir_all(&config).unwrap();
    let line = refuses(&database, &production);
    assert!(line.contains("config/production.toml is a folder"), "{line}");
    fs::remove_dir(&config).unwrap();
    // Nothing writes to the pipe, so opening it would block.
    assert!(Command::new("mkfifo").arg(&config).status().unwrap().success());
    let line = refuses(&database, &production);
    assert!(line.contains("config/production.toml is not a regular file"), "{line}");
    fs::remove_dir_all(folder.join("config")).unwrap();
    fs::write(folder.join("config"), "").unwrap();
    let line = refuses(&database, &production);
    assert!(line.contains("config/default.toml cannot be read"), "{line}");
    assert!(!folder.join("data").exists());
}

#[test]
fn a_secret_file_that_cannot_be_read_aborts_the_start() {
    let database = Database::sqlite();
    let secret = database.folder.path().join("data/portcullis.secret");
    fs::create_dir(database.folder.path().join("data")).unwrap();
    let quoted = format!("'{}'\n", crate::server::SECRET);
    let cases: [(&str, &dyn Fn()); 4] = [
        ("is a folder", &|| fs::create_dir(&secret).unwrap()),
        ("is a link to /nonexistent, which does not exist", &|| {
            std::os::unix::fs::symlink("/nonexistent", &secret).unwrap();
        }),
        ("is not a regular file", &|| {
            assert!(Command::new("mkfifo").arg(&secret).status().unwrap().success());
        }),
        ("has a quote (')", &|| fs::write(&secret, &quoted).unwrap()),
    ];
    for (reason, make) in cases {
        make();
        let line = refuses(&database, &[("SECRET", ""), ("DATABASE_URL", "sqlite://data/portcullis.db")]);
        assert!(line.contains("portcullis.secret") && line.contains(reason), "{line}");
        assert!(!line.contains(&quoted[5..20]), "{line}");
        if fs::remove_file(&secret).is_err() {
            fs::remove_dir(&secret).unwrap();
        }
    }
}

#[test]
fn a_folder_that_is_gone_aborts_the_start() {
    let database = Database::sqlite();
    let gone = database.folder.path().join("gone");
    fs::create_dir(&gone).unwrap();
    let mut shell = Command::new("/bin/sh");
    let script = "rmdir \"$PWD\" && exec \"$0\" config check";
    shell.arg("-c").arg(script).arg(crate::server::binary()).current_dir(&gone).env_clear();
    let output = shell.output().unwrap();
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("cannot determine the current folder"),
        "{output:?}"
    );
}

#[test]
fn weak_development_secrets_log_a_warning() {
    let database = Database::sqlite();
    let weak = "weak secret: production refuses it";
    let server = Server::start_with(&database, &[("SECRET", "abc-short")]);
    let (_, log) = server.terminate();
    let lines: Vec<_> = log.iter().filter(|line| line.contains(weak)).collect();
    assert!(lines.len() == 1 && lines[0].contains("is shorter than 32 bytes"), "{log:#?}");
    assert!(!log.iter().any(|line| line.contains("abc-short")), "{log:#?}");

    // The secret may also stand in the file that development keeps.
    let database = Database::sqlite();
    fs::create_dir(database.folder.path().join("data")).unwrap();
    fs::write(database.folder.path().join("data/portcullis.secret"), "abc-short\n").unwrap();
    let (_, log) = Server::start_with(&database, &[("SECRET", "")]).terminate();
    assert_eq!(log.iter().filter(|line| line.contains(weak)).count(), 1, "{log:#?}");

    let database = Database::sqlite();
    let (_, log) = Server::start(&database).terminate();
    assert!(!log.iter().any(|line| line.contains(weak)), "{log:#?}");
}

#[test]
fn unset_public_url_follows_the_listening_address() {
    let database = Database::sqlite();
    for listen in ["127.0.0.1:0", "0.0.0.0:0", "[::]:0"] {
        let settings = [("SERVER__LISTEN", listen), ("SERVER__PUBLIC_URL", "")];
        let server = Server::start_with(&database, &settings);
        let url = format!("http://localhost:{}", server.address.port());
        let metadata = server.get("/.well-known/oauth-authorization-server").json();
        assert_eq!(metadata["issuer"], url, "{listen}");
        assert_eq!(metadata["jwks_uri"], format!("{url}/.well-known/jwks.json"));
        assert_eq!(metadata["service_documentation"], format!("{url}/docs"));
        if server.register("alice").status == 201 {
            let tokens = server.login("alice");
            assert_eq!(server.get_as("/protected", &tokens.access).status, 200);
        }
        let (_, log) = server.terminate();
        assert!(!log.iter().any(|line| line.contains("server.public_url")), "{log:#?}");
    }
}

#[test]
fn an_unsuitable_public_url_logs_a_warning() {
    let database = Database::sqlite();
    let warnings = |settings: &[(&str, &str)]| {
        let (_, log) = Server::start_with(&database, settings).terminate();
        log.into_iter().filter(|line| line.contains("server.public_url")).collect::<Vec<_>>().join("\n")
    };
    let production = ("ENV", "production");
    let cost = ("HASHING__BCRYPT_COST", "10");
    let unset = warnings(&[production, cost, ("SERVER__PUBLIC_URL", "")]);
    assert!(unset.contains("is not set") && unset.contains("http://localhost:8080"), "{unset}");
    let another_port = warnings(&[("SERVER__PUBLIC_URL", "http://localhost:1")]);
    assert!(another_port.contains("another port than server.listen"), "{another_port}");
    let plain = warnings(&[production, cost]);
    assert!(plain.contains("is not https"), "{plain}");
    assert_eq!(warnings(&[]), "", "a proxy may have any name");
}

#[test]
fn the_variables_of_libpq_lead_to_no_other_server() {
    let database = Database::postgres();
    let server = Server::start_with(&database, &[("PGHOST", "192.0.2.1"), ("PGHOSTADDR", "192.0.2.1")]);
    assert_eq!(server.register("alice").status, 201);
}

/// Starts with settings that cannot hold, and returns the one line that says so. Lines of the log do not count.
fn refuses(database: &Database, settings: &[(&str, &str)]) -> String {
    let output = run(database.folder.path(), settings, &[]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(78), "{settings:?}: {stderr}");
    let lines: Vec<_> = stderr.lines().filter(|line| !line.starts_with('{')).collect();
    assert_eq!(lines.len(), 1, "{settings:?}: {stderr}");
    lines[0].to_owned()
}
