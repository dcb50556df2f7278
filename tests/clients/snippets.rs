//! The snippets of `docs/resource-servers.md`, as they stand on the page, and the tokens that they judge.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

use serde_json::{Value, json};

use crate::database::Database;
use crate::server::Server;
use crate::{Steps, Work, say};

/// A snippet of the page.
pub(crate) struct Snippet {
    pub(crate) name: String,
    /// The one algorithm that the library supports, if the page names one.
    algorithm: Option<String>,
    pub(crate) text: String,
}

/// Reads the snippets of the page: a comment `<!-- snippet: name (algorithm) -->` and a fenced block.
pub(crate) fn of_page() -> Vec<Snippet> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/resource-servers.md");
    let page = fs::read_to_string(page).unwrap();
    let parts = page.split("<!-- snippet: ").skip(1);
    parts
        .map(|rest| {
            let (marker, rest) = rest.split_once(" -->\n```").expect("a fenced block follows the marker");
            let (_, rest) = rest.split_once('\n').expect("the block has lines");
            let (text, _) = rest.split_once("\n```").expect("the block ends");
            let (name, algorithm) = match marker.split_once(' ') {
                Some((name, algorithm)) => (name, Some(algorithm.trim_matches(['(', ')']).to_owned())),
                None => (marker, None),
            };
            Snippet { name: name.to_owned(), algorithm, text: format!("{text}\n") }
        })
        .collect()
}

/// Tokens with which a resource server is tested.
pub(crate) struct Tokens {
    pub(crate) user: String,
    pub(crate) session: String,
    pub(crate) valid: String,
    pub(crate) refresh: String,
    /// Tokens to refuse, each with its name.
    pub(crate) invalid: Vec<(&'static str, String)>,
}

impl Tokens {
    /// Gets tokens from the server, and from servers with other settings over the same database and secret.
    pub(crate) fn of(server: &Server, database: &Database, url: &str, algorithm: &str) -> Self {
        let user = server.register("alice").json()["id"].as_str().unwrap().to_owned();
        let tokens = server.login("alice");
        let other = |name: &str, value: &str| {
            let mut settings = vec![("SERVER__PUBLIC_URL", url), ("TOKENS__ALGORITHM", algorithm)];
            settings.push((name, value));
            let other = Server::start_with(database, &settings);
            other.wait_until_ready();
            other.login("alice").access
        };
        let expired = other("TOKENS__ACCESS_LIFETIME", "1s");
        // Until the token has expired everywhere: its lifetime, rounded up to whole seconds.
        sleep(Duration::from_secs(2));
        let (header, payload, signature) = parts(&tokens.access);
        let encode = |value: &Value| base64url(value.to_string().as_bytes());
        let invalid = vec![
            ("expired", expired),
            ("wrong audience", other("TOKENS__AUDIENCE", "another-service")),
            ("wrong issuer", other("TOKENS__ISSUER", "http://another-issuer.test")),
            (
                "forged signature",
                format!("{header}.{payload}.{}", signature.chars().rev().collect::<String>()),
            ),
            (
                "forged claims",
                format!(
                    "{header}.{}.{signature}",
                    encode(
                        &json!({"iss": url, "aud": "portcullis", "sub": user, "sid": tokens.session, "exp": 9_999_999_999_u64, "iat": 1, "jti": "x", "client_id": "portcullis"})
                    )
                ),
            ),
            ("no algorithm", format!("{}.{payload}.", encode(&json!({"alg": "none", "typ": "at+jwt"})))),
            (
                "symmetric algorithm",
                format!("{}.{payload}.{signature}", encode(&json!({"alg": "HS256", "typ": "at+jwt"}))),
            ),
            (
                "unknown key",
                format!(
                    "{}.{payload}.{signature}",
                    encode(&json!({"alg": algorithm, "typ": "at+jwt", "kid": "unknown"}))
                ),
            ),
            ("refresh token", tokens.refresh.clone()),
            ("no token", "x".to_owned()),
        ];
        Self { user, session: tokens.session, valid: tokens.access, refresh: tokens.refresh, invalid }
    }

    fn as_cases(&self) -> String {
        let case = |name: &str, token: &str, valid: bool| json!({"name": name, "token": token, "valid": valid, "user": self.user, "session": self.session});
        let invalid = self.invalid.iter().map(|(name, token)| case(name, token, false));
        let cases: Value = std::iter::once(case("valid", &self.valid, true)).chain(invalid).collect();
        cases.to_string()
    }
}

fn parts(token: &str) -> (&str, &str, &str) {
    let mut parts = token.split('.');
    let mut part = || parts.next().expect("a JWT has three parts");
    (part(), part(), part())
}

/// Encodes without padding (RFC 4648, section 5).
fn base64url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits =
            chunk.iter().fold(0_u32, |bits, &byte| bits << 8 | u32::from(byte)) << (8 * (3 - chunk.len()));
        for n in 0..=chunk.len() {
            text.push(char::from(ALPHABET[(bits >> (18 - 6 * n)) as usize & 63]));
        }
    }
    text
}

/// Runs the Python and TypeScript snippets.
pub(crate) fn run(work: &Work, url: &str, algorithm: &str, tokens: &Tokens, steps: &mut Steps) {
    let folder = work.path("snippets");
    fs::create_dir_all(&folder).unwrap();
    fs::copy(crate::here().join("verify.py"), folder.join("verify.py")).unwrap();
    let mut count = 0;
    for snippet in of_page() {
        let text = snippet.text.replace("https://auth.example.com", url);
        let Some((module, extension)) = snippet.name.split_once("_verify.") else { continue };
        count += 1;
        if snippet.algorithm.as_ref().is_some_and(|only| only != algorithm) {
            say(&format!("{module}: not run with {algorithm}, as the page says"));
            continue;
        }
        let mut command = match extension {
            "py" => {
                fs::write(folder.join(&snippet.name), text).unwrap();
                let mut command = work.python("python");
                command.args(["verify.py", &format!("{module}_verify")]).current_dir(&folder);
                command
            }
            _ => {
                fs::write(work.path("src").join(&snippet.name), text).unwrap();
                fs::copy(crate::here().join("verify.ts"), work.path("src/verify.ts")).unwrap();
                steps.run(work.npm("tsc").args(["--project", "tsconfig.json"]));
                work.node("dist/verify.js")
            }
        };
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(tokens.as_cases().as_bytes()).unwrap();
        steps.check(&format!("{} with {algorithm}", snippet.name), child.wait().unwrap().success());
    }
    steps.check("the page has four snippets that verify tokens", count == 4);
}
