//! The container image and the files beside it, tested without a container engine.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::json;
use tempfile::TempDir;

use crate::database::Database;
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
    // A change of the password is never repeated by nginx, so the client repeats it if it met the missing instance.
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

/// A running nginx with `docker/nginx.conf`.
struct Nginx {
    process: Child,
    address: SocketAddr,
    _folder: TempDir,
}

impl Nginx {
    /// Starts nginx in front of the instances on a port of all addresses that `names` answers with.
    fn start(names: &Names, port: u16) -> Self {
        let folder = TempDir::new().unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut text = repository_file("docker/nginx.conf");
        for (shipped, ours) in [
            ("listen 8080;", format!("listen {address};")),
            ("resolver 127.0.0.11 ", format!("resolver {} ", names.address)),
            ("$instances web:8080;", format!("$instances web:{port};")),
            (" /tmp/", format!(" {}/", folder.path().display())),
        ] {
            assert!(text.contains(shipped), "{shipped}");
            text = text.replace(shipped, &ours);
        }
        let configuration = folder.path().join("nginx.conf");
        fs::write(&configuration, text).unwrap();
        let nginx = |directives: &str| {
            let mut nginx = Command::new(nginx_program());
            nginx.arg("-e").arg("stderr").arg("-p").arg(folder.path()).arg("-c").arg(&configuration);
            nginx.arg("-g").arg(directives).stdin(Stdio::null());
            nginx
        };
        // The workers must be able to write to the folder of the user that runs the test.
        let user = if is_root() { "user root;" } else { "" };
        let tested = nginx(user).arg("-t").output().unwrap();
        assert!(tested.status.success(), "{tested:?}");
        let log = File::create(folder.path().join("access.log")).unwrap();
        let process =
            nginx(&format!("{user} daemon off;")).stdout(log).stderr(Stdio::null()).spawn().unwrap();
        let nginx = Self { process, address, _folder: folder };
        wait_until("nginx listens", || TcpStream::connect(address).is_ok());
        nginx
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Its workers end with SIGTERM, not with the death of their parent.
        let _ = Command::new("kill").arg(self.process.id().to_string()).status();
        let _ = self.process.wait();
    }
}

/// As much of DNS as nginx asks for (RFC 1035): every name has the same IPv4 addresses.
struct Names {
    address: SocketAddr,
}

impl Names {
    /// Answers on a thread that ends with the process.
    fn serve(addresses: &[Ipv4Addr]) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let addresses = addresses.to_vec();
        std::thread::spawn(move || {
            let mut query = [0; 512];
            while let Ok((length, client)) = socket.recv_from(&mut query) {
                // The id, then: an answer without error, with one question.
                let mut answer = query[..2].to_vec();
                answer.extend([0x81, 0x80, 0, 1, 0, u8::try_from(addresses.len()).unwrap(), 0, 0, 0, 0]);
                answer.extend(&query[12..length]);
                for address in &addresses {
                    // The name of the question, type A, class IN, one second, four bytes.
                    answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
                    answer.extend(address.octets());
                }
                let _ = socket.send_to(&answer, client);
            }
        });
        Self { address }
    }
}

/// The nginx of this machine or, as root on Debian, the one of Debian's package, unpacked where the tests keep programs.
fn nginx_program() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    let unpacked = Path::new("/var/cache/portcullis-testkit/nginx");
    let mut programs = places.map(|folder| folder.join("nginx")).chain([unpacked.join("usr/sbin/nginx")]);
    if let Some(found) = programs.find(|program| program.is_file()) {
        return found;
    }
    let installed = is_root().then(|| unpack_nginx(unpacked));
    match installed {
        Some(Ok(())) => unpacked.join("usr/sbin/nginx"),
        failed => panic!(
            "nginx is needed, and there is none: install it (Debian and Ubuntu: `apt-get install nginx`; Fedora: `dnf \
             install nginx`; macOS: `brew install nginx`) {failed:?}"
        ),
    }
}

/// Unpacks Debian's package. Installing it would start a server on port 80.
fn unpack_nginx(folder: &Path) -> Result<(), String> {
    fs::create_dir_all(folder).map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
    let script =
        "apt-get -qq update && apt-get -qq download nginx && dpkg-deb -x nginx_*.deb . && rm nginx_*.deb";
    let output = Command::new("sh").arg("-c").arg(script).current_dir(folder).output();
    let output = output.map_err(|error| error.to_string())?;
    output.status.success().then_some(()).ok_or_else(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;

    TempDir::new().unwrap().path().metadata().unwrap().uid() == 0
}

fn repository_file(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)).unwrap()
}
