//! instances behind a pooler in transaction mode, which gives each transaction any of its server connections.

use std::process::Output;

use portcullis_testkit::postgres::{PgBouncer, ThrowawayPostgres};
use serde_json::json;

use crate::database::{Database, Kind};
use crate::server::{PASSWORD, Server, Tokens, race, run, wait_until};

const NEW_PASSWORD: &str = "An0ther-good one";

/// A server whose role may get settings of its own, a pooler before it, and an empty database.
struct Site {
    // Dropped in this order.
    _bouncer: PgBouncer,
    postgres: ThrowawayPostgres,
    direct: String,
    database: Database,
}

impl Site {
    fn start(mode: &str) -> Self {
        let postgres = ThrowawayPostgres::start();
        let bouncer = PgBouncer::start(&postgres, mode, SERVER_CONNECTIONS);
        let direct = postgres.create_database();
        let kind = Kind::Postgres { server: ThrowawayPostgres::shared(), url: bouncer.url(&direct) };
        let database = Database { folder: Database::sqlite().folder, kind };
        Self { _bouncer: bouncer, postgres, direct, database }
    }

    fn settings(&self) -> [(&str, &str); 2] {
        [("DATABASE__POOLER", "transaction"), ("DATABASE__MIGRATE_URL", &self.direct)]
    }

    /// Runs a command over the pooler.
    fn run(&self, settings: &[(&str, &str)], arguments: &[&str]) -> Output {
        let url = self.database.url();
        let settings = [&[("DATABASE__URL", url.as_str())], settings].concat();
        run(self.database.folder.path(), &settings, arguments)
    }

    /// Gives the role the settings that a refusal asks for, as an operator would.
    fn set_role(&self) {
        let refused = refusal(&self.run(&self.settings(), &[]));
        let statements = refused.split('`').nth(1).unwrap_or_else(|| panic!("{refused}"));
        assert!(statements.starts_with("ALTER ROLE portcullis SET statement_timeout = '5s';"), "{refused}");
        self.postgres.execute("postgres", statements);
        self.replace_server_connections();
    }

    /// Does what `RECONNECT` does in the pooler's console: new server connections have the role's new settings.
    fn replace_server_connections(&self) {
        self.postgres.execute(
            "postgres",
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE usename = 'portcullis'",
        );
    }

    /// Runs the single statement of a refusal.
    fn set_role_setting(&self, setting: &str, refused: &Output) {
        let text = refusal(refused);
        let statement = text.split('`').nth(1).unwrap();
        assert!(statement.contains(setting) && statement.matches("ALTER ROLE").count() == 1, "{text}");
        self.postgres.execute("postgres", statement);
        self.replace_server_connections();
    }

    fn text(&self, sql: &str) -> String {
        self.postgres.execute(&self.direct, sql)[0][0].clone().unwrap()
    }
}

#[track_caller]
fn refusal(output: &Output) -> String {
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(78), "{text}");
    text
}

#[test]
fn core_flows_work_behind_a_pooler_in_transaction_mode() {
    let site = Site::start("transaction");
    site.set_role();
    let instances = [(); 3].map(|()| Server::start_with(&site.database, &site.settings()));
    instances.iter().for_each(Server::wait_until_ready);
    let [one, two, three] = &instances;

    // Registration, login, refresh, logout.
    assert_eq!(one.register("alice").status, 201);
    one.register("Alice").is_problem(409, "username_taken");
    let tokens = two.login("alice");
    let next = three.refresh(&tokens.refresh).tokens();
    assert_eq!(one.get_as("/me", &next.access).json()["username"], "alice");
    assert_eq!(two.logout(&next.refresh).status, 204);
    is_refused_everywhere(&instances, &next);

    // Reuse of a replaced refresh token ends the session.
    let first = one.login("alice");
    let second = two.refresh(&first.refresh).tokens();
    let third = three.refresh(&second.refresh).tokens();
    one.refresh(&first.refresh).is_problem(401, "refresh_token_reused");
    is_refused_everywhere(&instances, &third);

    // Sessions.
    let (here, there) = (one.login("alice"), two.login("alice"));
    let sessions = three.get_as("/me/sessions", &here.access).json();
    assert!(sessions["sessions"].as_array().unwrap().len() >= 2, "{sessions}");
    let bearer = format!("Bearer {}", here.access);
    let path = format!("/me/sessions/{}", there.session);
    assert_eq!(three.call("DELETE", &path, &[("authorization", &bearer)], None).status, 204);
    is_refused_everywhere(&instances, &there);

    // A new password, and the end of the account.
    let changed = two.change_password(&here.access, PASSWORD, NEW_PASSWORD).tokens();
    is_refused_everywhere(&instances, &here);
    one.try_login("alice", PASSWORD).is_problem(401, "invalid_credentials");
    let body = json!({"current_password": NEW_PASSWORD});
    assert_eq!(three.send_as("DELETE", "/me", &changed.access, &body).status, 204);
    is_refused_everywhere(&instances, &changed);

    // Guesses are slowed down over all instances.
    assert_eq!(one.register("bob").status, 201);
    let guesses: Vec<_> =
        (0..8).map(|n| instances[n % 3].try_login("bob", "Wr0ng-password").status).collect();
    assert_eq!(guesses[..5], [401; 5], "{guesses:?}");
    assert!(guesses[5..].contains(&429), "{guesses:?}");

    // Many at once over two server connections.
    let registered = race(24, |n| instances[n % 3].register(&format!("user-{n}")).status);
    assert_eq!(registered, [201; 24]);
    let refreshed = race(24, |n| {
        let mut tokens = instances[n % 3].login(&format!("user-{n}"));
        for m in 0..10 {
            tokens = instances[(n + m) % 3].refresh(&tokens.refresh).tokens();
        }
        instances[n % 3].get_as("/protected", &tokens.access).status
    });
    assert_eq!(refreshed, [200; 24]);

    // Nothing stays in the sessions that the pooler hands to its next client.
    let locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'";
    assert_eq!(site.text(locks), "0");
    for instance in &instances {
        assert_eq!(instance.get("/ready").status, 200);
    }
    for instance in instances {
        let (status, log) = instance.terminate();
        assert!(status.success(), "{log:#?}");
        for text in ["prepared statement", "\"level\":\"error\""] {
            assert!(!log.iter().any(|line| line.to_lowercase().contains(text)), "{text}: {log:#?}");
        }
    }
    let left = site.run(&site.settings(), &["audit", "verify"]);
    assert!(left.status.success(), "{left:?}");
}

/// The instance that ends a session knows at once; the others learn of it with their next poll.
#[track_caller]
fn is_refused_everywhere(instances: &[Server], tokens: &Tokens) {
    for instance in instances {
        wait_until("the token is refused", || instance.get_as("/protected", &tokens.access).status == 401);
        assert_eq!(instance.refresh(&tokens.refresh).status, 401);
    }
}

#[test]
fn a_role_without_its_settings_aborts_startup() {
    let site = Site::start("transaction");
    let text = refusal(&site.run(&site.settings(), &[]));
    for words in ["database.url", "statement_timeout = '5s'", "lock_timeout = '3s'", "RECONNECT"] {
        assert!(text.contains(words), "{text}");
    }
    site.set_role();
    // The line is enough, and a stricter value is fine.
    site.postgres.execute("postgres", "ALTER ROLE portcullis SET lock_timeout = '1s'");
    site.replace_server_connections();
    let server = Server::start_with(&site.database, &site.settings());
    server.wait_until_ready();
    assert_eq!(server.register("alice").status, 201);
    server.terminate();

    for (setting, value) in
        [("statement_timeout", "'1min'"), ("synchronous_commit", "off"), ("timezone", "'Asia/Kolkata'")]
    {
        site.postgres.execute("postgres", &format!("ALTER ROLE portcullis SET {setting} = {value}"));
        site.replace_server_connections();
        for arguments in [&[][..], &["audit", "verify"]] {
            let text = refusal(&site.run(&site.settings(), arguments));
            let line = format!("Run `ALTER ROLE portcullis SET {setting} = ");
            assert!(text.contains(&line), "{setting} {arguments:?}: {text}");
        }
        site.set_role_setting(setting, &site.run(&site.settings(), &[]));
    }
    Server::start_with(&site.database, &site.settings()).wait_until_ready();
}

#[test]
fn without_a_direct_url_only_a_prepared_database_is_served() {
    let site = Site::start("transaction");
    site.set_role();
    let pooled = [("DATABASE__POOLER", "transaction")];
    for arguments in [&[][..], &["migrate"]] {
        let text = refusal(&site.run(&pooled, arguments));
        assert!(text.contains("database.migrate_url"), "{arguments:?}: {text}");
    }
    assert!(site.run(&site.settings(), &["migrate"]).status.success());
    // The database is not yet used with a secret.
    assert!(refusal(&site.run(&pooled, &[])).contains("database.migrate_url"));
    let first = Server::start_with(&site.database, &site.settings());
    first.wait_until_ready();
    assert_eq!(first.register("alice").status, 201);
    let second = Server::start_with(&site.database, &pooled);
    second.wait_until_ready();
    assert_eq!(second.try_login("alice", PASSWORD).status, 200);
    assert!(site.run(&pooled, &["migrate", "--status"]).status.success());
    let other_secret = [pooled[0], ("SECRET", "pcs_2Zk1QyO0f2n8h5m0c7QbJmR9v6s3uXw1aTgYpLeDdKI")];
    assert_eq!(site.run(&other_secret, &[]).status.code(), Some(78));
}

#[test]
fn urls_that_do_not_fit_the_pooler_abort_startup() {
    let site = Site::start("transaction");
    site.set_role();
    let pooled = site.database.url();
    let through_pooler = [("DATABASE__POOLER", "transaction"), ("DATABASE__MIGRATE_URL", &pooled)];
    let text = refusal(&site.run(&through_pooler, &[]));
    assert!(text.contains("database.migrate_url") && text.contains("PgBouncer"), "{text}");

    let elsewhere = site.postgres.create_database();
    let text = refusal(
        &site.run(&[("DATABASE__POOLER", "transaction"), ("DATABASE__MIGRATE_URL", &elsewhere)], &[]),
    );
    assert!(text.contains("database.migrate_url") && text.contains("another database"), "{text}");

    let bouncer = PgBouncer::start(&site.postgres, "statement", SERVER_CONNECTIONS);
    let url = bouncer.url(&elsewhere);
    let settings = [("DATABASE__URL", url.as_str()), ("DATABASE__POOLER", "transaction")];
    let text = refusal(&run(site.database.folder.path(), &settings, &[]));
    assert!(text.contains("statement mode"), "{text}");
}

/// Server connections of the pooler for each database.
const SERVER_CONNECTIONS: u32 = 2;
