//! The container image and the files beside it, tested without a container engine.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;
use tempfile::TempDir;

use crate::database::Database;
use crate::nginx::{Names, Nginx};
use crate::server::{PASSWORD, SECRET, Server, binary, run, wait_until};

#[test]
fn image_presets_only_what_users_can_override() {
    let dockerfile = repository_file("docker/Dockerfile");
    for named in ["PORTCULLIS_ENV=production", "PORTCULLIS_DEFAULTS=/usr/share/portcullis/image.toml"] {
        assert!(dockerfile.contains(named), "{named}");
    }
    let presets = dockerfile.lines().filter(|line| !line.trim_start().starts_with('#'));
    assert_eq!(
        presets.filter(|line| line.contains("PORTCULLIS_")).count(),
        2,
        "others would beat a settings file"
    );
    assert!(dockerfile.contains("COPY --chmod=644 docker/image.toml /usr/share/portcullis/image.toml\n"));
    assert!(repository_file(".dockerignore").contains("\n!docker/image.toml\n"));
}

#[test]
fn image_data_folder_belongs_to_group_0() {
    let dockerfile = repository_file("docker/Dockerfile");
    assert!(dockerfile.contains("COPY --from=build --chown=65532:0 --chmod=770 /out/data /data\n"));
}

/// The image's HEALTHCHECK runs without the arguments of the service.
#[cfg(target_os = "linux")]
#[test]
fn healthcheck_finds_a_server_started_with_a_file() {
    let folder = TempDir::new().unwrap();
    let settings = format!(
        "secret = \"{SECRET}\"\n[server]\nlisten = \"127.0.0.1:0\"\n[database]\nurl = \"sqlite://p.db\"\n"
    );
    fs::write(folder.path().join("my.toml"), &settings).unwrap();
    let bare = |folder: &Path, arguments: &[&str]| {
        let mut command = Command::new(binary());
        command.current_dir(folder).env_clear().env("PORTCULLIS_ENV", "production").args(arguments);
        command.stdin(Stdio::null());
        command
    };
    let ask = |folder: &Path, arguments: &[&str]| bare(folder, arguments).output().unwrap();
    let server = Server::of(bare(folder.path(), &["--config", "my.toml", "serve"]));
    let healthy = ask(folder.path(), &["healthcheck"]);
    assert!(healthy.status.success(), "{healthy:?}");
    let given = ask(folder.path(), &["--config", "my.toml", "healthcheck"]);
    assert!(given.status.success(), "the port is left open: {given:?}");

    // An address that a variable names is asked, regardless of the servers that run here.
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let named = bare(folder.path(), &["healthcheck"])
        .env("PORTCULLIS_SERVER__LISTEN", closed.to_string())
        .output()
        .unwrap();
    assert_eq!(named.status.code(), Some(1), "{named:?}");

    // Another folder's service is another service.
    let elsewhere = TempDir::new().unwrap();
    fs::create_dir(elsewhere.path().join("config")).unwrap();
    fs::write(elsewhere.path().join("config/production.toml"), format!("[server]\nlisten = \"{closed}\"\n"))
        .unwrap();
    let other = ask(elsewhere.path(), &["healthcheck"]);
    assert_eq!(other.status.code(), Some(1), "{other:?}");

    // Several services in one folder: the settings decide, or nothing does.
    fs::write(folder.path().join("second.toml"), settings.replace("p.db", "second.db")).unwrap();
    let second = Server::of(bare(folder.path(), &["--config", "second.toml", "serve"]));
    let open = ask(folder.path(), &["--config", "second.toml", "healthcheck"]);
    let text = String::from_utf8_lossy(&open.stderr).into_owned();
    assert!(open.status.code() == Some(1) && text.contains("2 servers run in this folder"), "{text}");
    fs::create_dir(folder.path().join("config")).unwrap();
    let own = format!("[server]\nlisten = \"{}\"\n", second.address);
    fs::write(folder.path().join("config/production.toml"), own).unwrap();
    assert!(ask(folder.path(), &["healthcheck"]).status.success());

    second.terminate();
    server.terminate();
    assert_eq!(ask(folder.path(), &["healthcheck"]).status.code(), Some(1));
}

#[test]
fn healthcheck_works_without_secret_and_database() {
    let database = Database::sqlite();
    let server = Server::start(&database);
    for listen in [server.address.to_string(), format!("0.0.0.0:{}", server.address.port())] {
        let settings = [
            ("ENV", "production"),
            ("SECRET", ""),
            ("SECRET_FILE", "/nonexistent/secret"),
            ("DATABASE__URL_FILE", "/nonexistent/url"),
            ("PASSWORD__COMMON_FILE", "/nonexistent/list"),
            ("SERVER__LISTEN", &listen),
        ];
        let output = run(database.folder.path(), &settings, &["healthcheck"]);
        assert!(output.status.success(), "{output:?}");
    }
    for listen in ["[::1]:0", "[::]:0"] {
        let server = Server::start_with(&database, &[("SERVER__LISTEN", listen)]);
        let listen = server.address.to_string();
        let output = run(database.folder.path(), &[("SERVER__LISTEN", &listen)], &["healthcheck"]);
        assert!(output.status.success(), "{listen}: {output:?}");
    }
}

#[test]
fn every_command_reads_the_file_of_portcullis_config() {
    let database = Database::sqlite();
    let folder = database.folder.path();
    fs::write(folder.join("my.toml"), "[registration]\nenabled = false\n").unwrap();
    let output = run(folder, &[("CONFIG", "my.toml")], &["config", "check"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("registration.enabled = false  # my.toml\n"), "{text}");
    fs::write(folder.join("other.toml"), "").unwrap();
    let output = run(folder, &[("CONFIG", "my.toml")], &["--config", "other.toml", "config", "check"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("registration.enabled = true  # the built-in defaults\n"), "{text}");
}

#[test]
fn port_beats_every_other_source_of_the_port() {
    let database = Database::sqlite();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let server = Server::start_with(&database, &[("SERVER__LISTEN", &taken), ("PORT", "0")]);
    assert_ne!(server.address.to_string(), taken);
    assert_eq!(server.get("/health").status, 200);
}

#[test]
fn nginx_configuration_serves_clients() {
    let database = Database::sqlite();
    let mut server = Server::start_with(&database, &[("SERVER__TRUSTED_PROXIES", "127.0.0.1")]);
    let instance = server.address;
    // One of the instances that DNS knows is gone: 127.0.0.9 listens on no such port.
    let names = Names::serve(&[Ipv4Addr::new(127, 0, 0, 9), Ipv4Addr::LOCALHOST]);
    let nginx = Nginx::start(&names, instance.port());
    server.address = nginx.address;

    for _ in 0..4 {
        assert_eq!(server.get("/health").status, 200, "another instance is tried");
    }
    let body = json!({"username": "alice", "password": PASSWORD}).to_string();
    let post = |path: &str| {
        let headers = [("content-type", "application/json"), ("x-forwarded-for", "203.0.113.9")];
        server.call("POST", path, &headers, Some(&body))
    };
    assert_eq!(post("/register").status, 201);
    let tokens = post("/login").tokens();
    let sessions = server.get_as("/me/sessions", &tokens.access).json();
    assert_eq!(sessions["sessions"][0]["ip"], "127.0.0.1", "what a client claims ends here: {sessions}");
    // nginx repeats a change of the password a few times if it meets the missing instance, and then leaves it to the client.
    wait_until("the password is changed", || {
        let changed = server.change_password(&tokens.access, PASSWORD, "An0ther-good one");
        assert!(matches!(changed.status, 200 | 503), "{changed:?}");
        changed.status == 200
    });

    let long = "x".repeat(70_000);
    let refused = server.call("POST", "/login", &[("content-type", "application/json")], Some(&long));
    refused.is_problem(413, "payload_too_large");
    server.signal("KILL");
    wait_until("no instance answers", || server.get("/health").status == 503);
    let gone = server.get("/health");
    gone.is_problem(503, "not_ready");
    assert_eq!(gone.header("retry-after"), Some("5"));
}

pub(crate) fn repository_file(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)).unwrap()
}
