//! The proxies of `docs/resource-servers.md`, in front of an API that returns the request it got.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::server::{Server, wait_until};
use crate::snippets::{self, Tokens};
use crate::{Steps, Work, free_port, say};

/// Runs every proxy of the page. The server is stopped at the end, to see that the proxies then refuse requests.
pub(crate) fn run(work: &Work, server: Server, tokens: &Tokens, steps: &mut Steps) {
    let folder = work.path("proxies");
    fs::create_dir_all(&folder).unwrap();
    let api = api();
    let proxies: Vec<_> = ["nginx", "caddy", "haproxy"]
        .into_iter()
        .filter_map(|name| {
            let proxy = Proxy::start(name, &folder, &server, api);
            steps.check(&format!("{name} does not start; is it installed?"), proxy.is_some());
            proxy
        })
        .collect();
    for proxy in &proxies {
        proxy.check(tokens, steps);
    }

    let ended = server.logout(&tokens.refresh);
    steps.check("the logout succeeds", ended.status == 204);
    for proxy in &proxies {
        let answer = proxy.send("GET", Some(&tokens.valid), "");
        steps.check(
            &format!("{}: an ended session is refused: {answer}", proxy.name),
            answer.starts_with("HTTP/1.1 401"),
        );
    }
    drop(server);
    for proxy in &proxies {
        let answer = proxy.send("GET", Some(&tokens.valid), "");
        steps.check(
            &format!("{}: without Portcullis nothing passes: {answer}", proxy.name),
            answer.starts_with("HTTP/1.1 50"),
        );
    }
    if steps.failures.is_empty() {
        say(&format!("nginx, Caddy, HAProxy: {} tokens are judged correctly", tokens.invalid.len() + 1));
    }
}

impl Tokens {
    /// Whether a request in lower case has the fields that name the user and the session.
    fn are_named_in(&self, request: &str) -> bool {
        request.contains(&format!("x-portcullis-user-id: {}", self.user))
            && request.contains(&format!("x-portcullis-session-id: {}", self.session))
    }
}

/// The fields that open a WebSocket (RFC 6455, section 4.1).
const HANDSHAKE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// A running proxy.
struct Proxy {
    name: &'static str,
    child: Child,
    port: u16,
}

impl Proxy {
    /// Starts a proxy with the configuration of the page. Returns nothing if it cannot be started.
    fn start(name: &'static str, folder: &Path, server: &Server, api: u16) -> Option<Self> {
        let port = free_port();
        for snippet in snippets::of_page() {
            let text = snippet.text.replace("127.0.0.1:8080", &server.address.to_string());
            let text = text.replace("127.0.0.1:3000", &format!("127.0.0.1:{api}"));
            let text = text.replace("listen 8000", &format!("listen 127.0.0.1:{port}"));
            let text = text.replace("bind :8000", &format!("bind 127.0.0.1:{port}"));
            // Caddy takes the text before the port for a host.
            let text = text.replace(":8000 {", &format!(":{port} {{"));
            fs::write(folder.join(&snippet.name), text).unwrap();
        }
        let mut command = Command::new(name);
        match name {
            "nginx" => {
                let main = folder.join("main.conf");
                let main_text = "daemon off;\nmaster_process off;\nerror_log stderr;\npid nginx.pid;\nevents {}\nhttp {\naccess_log off;\n";
                let temporary: String = ["client_body", "proxy", "fastcgi", "scgi", "uwsgi"]
                    .map(|kind| format!("{kind}_temp_path temp_{kind};\n"))
                    .concat();
                fs::write(&main, format!("{main_text}{temporary}include nginx.conf;\n}}\n")).unwrap();
                command.arg("-p").arg(folder).arg("-c").arg(main).args(["-e", "stderr"]);
            }
            "caddy" => {
                let main = folder.join("Caddyfile.main");
                let options = "{\n\tadmin off\n\tauto_https off\n}\n\n";
                let text = fs::read_to_string(folder.join("Caddyfile")).unwrap();
                fs::write(&main, format!("{options}{text}")).unwrap();
                command.args(["run", "--adapter", "caddyfile", "--config"]).arg(main);
                command.env("XDG_DATA_HOME", folder).env("XDG_CONFIG_HOME", folder);
            }
            _ => drop(command.args(["-db", "-f", "haproxy.cfg"])),
        }
        let log = fs::File::create(folder.join(format!("{name}.log"))).unwrap();
        let path = format!("{}:/usr/sbin:/usr/local/sbin", std::env::var("PATH").unwrap_or_default());
        command.env("PATH", path).current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let mut proxy = Self { name, child: command.spawn().ok()?, port };
        let mut has_ended = false;
        wait_until("the proxy listens or ends", || {
            has_ended = proxy.child.try_wait().unwrap().is_some();
            has_ended || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
        });
        (!has_ended).then_some(proxy)
    }

    fn check(&self, tokens: &Tokens, steps: &mut Steps) {
        let name = self.name;
        // Fields that a client sends to pass for another user.
        let disguise = "X-Portcullis-User-Id: mallory\r\nx-portcullis-session-id: mallory\r\nX_Portcullis_User_Id: mallory\r\n";
        for method in ["GET", "POST"] {
            let answer = self.send(method, Some(&tokens.valid), disguise);
            let seen = answer.to_lowercase();
            let names_user = tokens.are_named_in(&seen);
            steps.check(
                &format!("{name}: {method} with a valid token passes: {answer}"),
                answer.starts_with("HTTP/1.1 200"),
            );
            steps.check(&format!("{name}: {method} names the user: {answer}"), names_user);
            steps.check(
                &format!("{name}: {method} has no field of the client: {answer}"),
                !seen.contains("mallory"),
            );
            let has_body = method == "GET" || seen.contains("the body");
            steps.check(&format!("{name}: {method} keeps the body: {answer}"), has_body);
        }
        for (kind, fields) in [
            ("a WebSocket handshake", HANDSHAKE),
            // A proxy removes the fields that `Connection` names (RFC 9110, section 7.6.1).
            ("a list of the fields", "Connection: X-Portcullis-User-Id, X-Portcullis-Session-Id\r\n"),
        ] {
            let answer = self.send("GET", Some(&tokens.valid), fields);
            let names_user =
                answer.starts_with("HTTP/1.1 200") && tokens.are_named_in(&answer.to_lowercase());
            steps.check(&format!("{name}: {kind} passes and names the user: {answer}"), names_user);
        }
        for (kind, token) in &tokens.invalid {
            let answer = self.send("GET", Some(token), disguise);
            steps.check(&format!("{name}: {kind} is refused: {answer}"), answer.starts_with("HTTP/1.1 401"));
        }
        let answer = self.send("GET", None, disguise);
        let is_challenge =
            answer.starts_with("HTTP/1.1 401") && answer.to_lowercase().contains("www-authenticate: bearer");
        steps.check(&format!("{name}: a request without a token is challenged: {answer}"), is_challenge);
    }

    /// Sends a request, and returns the whole response.
    fn send(&self, method: &str, token: Option<&str>, fields: &str) -> String {
        let body = if method == "GET" { "" } else { "the body" };
        let authorization =
            token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
        let head = format!(
            "{method} /things HTTP/1.1\r\nHost: api.test\r\nConnection: close\r\n{authorization}{fields}"
        );
        let mut connection = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        connection.set_read_timeout(Some(crate::server::PATIENCE)).unwrap();
        write!(connection, "{head}Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts an API that returns every request as it came. Returns its port.
fn api() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            std::thread::spawn(move || return_request(connection));
        }
    });
    port
}

fn return_request(connection: TcpStream) {
    let mut reader = BufReader::new(connection);
    let (mut request, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 || line == "\r\n" {
            break;
        }
        if let Some(announced) = line.to_lowercase().strip_prefix("content-length:") {
            length = announced.trim().parse().unwrap_or(0);
        }
        request.push_str(&line);
    }
    let mut body = vec![0; length];
    if reader.read_exact(&mut body).is_ok() {
        request.push_str(&String::from_utf8_lossy(&body));
    }
    let mut connection = reader.into_inner();
    let _ = write!(
        connection,
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{request}",
        request.len()
    );
}
