//! The layers hold: who may depend on whom, and what reaches the domain.
//!
//! It asks cargo, offline, about manifests and lock file as they are. A new arrow, or a new crate under the domain, is
//! argued where this file changes (and in `crates/README.md`).
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "in tests, and in their helpers, it fails the test"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use serde_json::Value;

/// The arrows between the crates of this workspace: what each may use, and what its tests may use besides.
const ARROWS: &[(&str, &[&str], &[&str])] = &[
    ("portcullis-domain", &[], &["portcullis-testkit"]),
    ("portcullis-testkit", &["portcullis-domain"], &[]),
    ("portcullis-adapters", &["portcullis-domain"], &["portcullis-testkit"]),
    ("portcullis-http", &["portcullis-domain"], &["portcullis-testkit"]),
    (
        "portcullis-server",
        &["portcullis-adapters", "portcullis-domain", "portcullis-http"],
        &["portcullis-testkit"],
    ),
    // The benchmark makes hashes, tokens and the stores' statements itself, for millions of users.
    ("portcullis-bench", &["portcullis-adapters", "portcullis-domain", "portcullis-testkit"], &[]),
    ("portcullis-e2e", &[], &["portcullis-server", "portcullis-testkit"]),
];

/// Everything that a user of the domain compiles: values, and the macros that derive errors.
const DOMAIN_TREE: [&str; 16] = [
    "aho-corasick",
    "memchr",
    "portcullis-domain",
    "proc-macro2",
    "quote",
    "regex",
    "regex-automata",
    "regex-syntax",
    "syn",
    "thiserror",
    "thiserror-impl",
    "tinyvec",
    "unicode-ident",
    "unicode-normalization",
    "uuid",
    "zeroize",
];

/// Storage and cryptography, which HTTP knows only as ports.
const FOREIGN_TO_HTTP: [&str; 9] = [
    "argon2",
    "aws-lc-rs",
    "bcrypt",
    "diesel",
    "jsonwebtoken",
    "libsqlite3-sys",
    "portcullis-adapters",
    "pq-sys",
    "scrypt",
];

/// Clocks, chance and the way to blocking threads: each has one place.
const BANNED: [&str; 7] = [
    "std::time::SystemTime::now",
    "jiff::Timestamp::now",
    "aws_lc_rs::rand::fill",
    "getrandom::fill",
    "uuid::Uuid::new_v4",
    "uuid::Uuid::now_v7",
    "actix_web::web::block",
];

/// The place: the adapters of the ports `Clock` and `SecureRandom`. The pools of `portcullis-http` have threads of their own.
const EXCEPTED: [&str; 1] = ["crates/adapters/src/system.rs"];

// ASVS 15.2.3
#[test]
fn arrows_between_crates_are_those_allowed() {
    let metadata = cargo(&["metadata", "--no-deps", "--format-version=1"]);
    let metadata: Value = serde_json::from_str(&metadata).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let names: BTreeSet<_> = packages.iter().map(|package| text(&package["name"])).collect();
    assert_eq!(names, ARROWS.iter().map(|(name, ..)| *name).collect(), "every crate has its row");

    for package in packages {
        let name = text(&package["name"]);
        let (_, normal, dev) = ARROWS.iter().find(|(from, ..)| *from == name).unwrap();
        for dependency in package["dependencies"].as_array().unwrap() {
            let to = text(&dependency["name"]);
            // A crate that turns on a feature of its own for its tests draws no arrow.
            if to == name || !names.contains(to) {
                continue;
            }
            let for_tests = dependency["kind"] == "dev";
            let allowed = normal.contains(&to) || (for_tests && dev.contains(&to));
            let kind = dependency["kind"].as_str().unwrap_or("normal");
            assert!(allowed, "{name} must not depend on {to} ({kind})");
        }
    }
}

/// The crates that are published, and the files that each package needs besides its sources.
#[test]
fn published_packages_contain_licences_and_embedded_files() {
    for name in ["portcullis-domain", "portcullis-testkit", "portcullis-adapters", "portcullis-http"] {
        let listed = cargo(&["package", "--list", "--allow-dirty", "--package", name]);
        let files: BTreeSet<_> = listed.lines().collect();
        for file in ["LICENSE-APACHE", "LICENSE-MIT", "README.md"] {
            assert!(files.contains(file), "{name} packs {file}");
        }
        if name == "portcullis-adapters" {
            let migrations = listed.lines().filter(|file| file.starts_with("migrations/")).count();
            assert_eq!(migrations, files_below(&root().join("migrations")), "{name} packs every migration");
        }
    }
}

/// A version would make the domain's package wait for that of the testkit, which waits for the domain's.
#[test]
fn domain_publishes_without_the_testkit() {
    let metadata = cargo(&["metadata", "--no-deps", "--format-version=1"]);
    let metadata: Value = serde_json::from_str(&metadata).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let domain = packages.iter().find(|package| text(&package["name"]) == "portcullis-domain").unwrap();
    let dependencies = domain["dependencies"].as_array().unwrap();
    let testkit = dependencies.iter().find(|to| text(&to["name"]) == "portcullis-testkit").unwrap();
    assert_eq!(text(&testkit["req"]), "*", "the dependency names a path and no version");
}

/// A file that no other declares is neither compiled nor tested.
#[test]
fn source_files_are_declared() {
    for path in sources(&root().join("crates")) {
        let (folder, name) = (path.parent().unwrap(), path.file_stem().unwrap().to_str().unwrap());
        // Cargo finds these by itself.
        let is_root = ["lib", "main"].contains(&name)
            || folder.with_file_name("Cargo.toml").exists() && folder.ends_with("tests");
        if is_root {
            continue;
        }
        let parents = [folder.with_extension("rs"), folder.join("lib.rs"), folder.join("main.rs")];
        let declaration = format!("mod {name};");
        let is_declared = parents
            .iter()
            .filter_map(|parent| fs::read_to_string(parent).ok())
            .any(|text| text.lines().any(|line| line.trim_end().ends_with(&declaration)));
        assert!(is_declared, "no file declares the module {}", path.display());
    }
}

/// The folders that a path in the code map may be relative to.
const MAPPED: [&str; 7] = [
    "",
    "crates",
    "crates/domain/src",
    "crates/adapters/src",
    "crates/adapters/src/db",
    "crates/http/src",
    "crates/server/src",
];

#[test]
fn paths_in_the_code_map_exist() {
    let map = fs::read_to_string(root().join("crates/README.md")).unwrap();
    // Every second part is code.
    let paths: Vec<_> = map
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|code| !code.contains([' ', '<', ':', '?']) && code.contains('/'))
        .filter(|code| !code.starts_with('/'))
        .flat_map(alternatives)
        .collect();
    assert!(paths.len() > 80, "the paths are found: {paths:?}");
    for path in paths {
        let path = path.strip_suffix("*/store.rs").unwrap_or(&path);
        let exists = MAPPED.iter().any(|folder| root().join(folder).join(path).exists());
        assert!(exists, "crates/README.md names {path}, which does not exist");
    }
}

/// Returns the paths that one with `{a,b}` stands for.
fn alternatives(path: &str) -> Vec<String> {
    match path.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?))) {
        Some((before, (names, after))) => {
            names.split(',').map(|name| format!("{before}{name}{after}")).collect()
        }
        None => vec![path.to_owned()],
    }
}

#[test]
fn nothing_reaches_the_domain_unargued() {
    assert_eq!(tree("portcullis-domain"), DOMAIN_TREE.map(str::to_owned).into());
}

#[test]
fn the_testkit_brings_nothing_but_the_domain() {
    let mut expected: BTreeSet<_> = DOMAIN_TREE.map(str::to_owned).into();
    expected.insert("portcullis-testkit".to_owned());
    assert_eq!(tree("portcullis-testkit"), expected);
}

#[test]
fn http_never_sees_storage_or_cryptography() {
    let tree = tree("portcullis-http");
    assert!(tree.contains("actix-web"), "the tree is that of http");
    let foreign: Vec<_> = FOREIGN_TO_HTTP.into_iter().filter(|name| tree.contains(*name)).collect();
    assert!(foreign.is_empty(), "{foreign:?}");
}

// ASVS 11.5.1
#[test]
fn clippy_bans_clocks_chance_and_blocking() {
    let configuration = fs::read_to_string(root().join("clippy.toml")).unwrap();
    for path in BANNED {
        assert!(configuration.contains(&format!("path = \"{path}\"")), "clippy.toml no longer bans {path}");
    }
}

// ASVS 11.5.1
#[test]
fn the_bans_are_lifted_only_in_their_places() {
    let lifted: Vec<_> = sources(&root().join("crates"))
        .into_iter()
        .filter(|path| fs::read_to_string(path).unwrap().contains("clippy::disallowed_methods"))
        .map(|path| path.strip_prefix(root()).unwrap().to_owned())
        .collect();
    assert_eq!(lifted, EXCEPTED.map(PathBuf::from));
}

/// A number that overflows in the service that people run ends one request, and is never taken for another number.
#[test]
fn releases_check_for_overflow() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let (_, release) = manifest.split_once("[profile.release]\n").expect("there is the profile");
    let release = release.split("\n[").next().unwrap();
    assert!(release.lines().any(|line| line == "overflow-checks = true"), "{release}");
}

// ASVS 1.2.5
#[test]
fn the_service_starts_no_program() {
    for name in ["domain", "adapters", "http", "server"] {
        let sources = sources(&root().join("crates").join(name).join("src"));
        assert!(sources.len() > 10, "{name} has sources");
        for path in sources {
            let text = fs::read_to_string(&path).unwrap();
            // However it is imported, it is made by one of these.
            let starts = ["process::Command", "Command::new(", "CommandExt"]
                .into_iter()
                .find(|start| text.contains(start));
            assert_eq!(starts, None, "{}", path.display());
            let imports = text.lines().find(|line| line.contains("process::{") && line.contains("Command"));
            assert_eq!(imports, None, "{}", path.display());
        }
    }
}

/// The files that make JSON without serde. Two insert only base64url and constant names. The log's lines contain any text: a
/// unit test reads every character back with serde.
const JSON_BY_HAND: [&str; 3] = [
    "crates/adapters/src/keys/signing.rs",
    "crates/server/src/listener/announce.rs",
    "crates/server/src/logging/line.rs",
];

// ASVS 1.2.3
#[test]
fn json_is_made_by_serde() {
    assert_eq!(places_of(&["{\\\"", "{{\"", "#\"{\""]), JSON_BY_HAND.map(PathBuf::from).into());
}

/// What connects or listens by itself: the server to its clients, and the health check to its own server.
const SOCKETS: [&str; 3] = [
    "crates/server/src/commands/health.rs",
    "crates/server/src/listener/slow_client.rs",
    "crates/server/src/listener/socket.rs",
];

/// Crates that call other services.
const CLIENTS: [&str; 9] = ["awc", "curl", "hyper", "isahc", "lettre", "minreq", "reqwest", "tonic", "ureq"];

// ASVS 13.2.4
#[test]
fn the_service_calls_nothing_but_its_database() {
    assert_eq!(
        places_of(&["TcpStream", "TcpSocket", "UdpSocket", "UnixStream"]),
        SOCKETS.map(PathBuf::from).into()
    );
    let tree = tree("portcullis-server");
    let clients: Vec<_> = CLIENTS.into_iter().filter(|name| tree.contains(*name)).collect();
    assert!(clients.is_empty(), "{clients:?}");
}

/// The code that opens files to write, besides the log, which goes to standard error: the functions that create files, the lock
/// beside a SQLite database, the development secret, and the terminal of a prompt.
const WRITERS: [&str; 4] = [
    "crates/adapters/src/db/sqlite/file.rs",
    "crates/adapters/src/files.rs",
    "crates/server/src/console/prompt.rs",
    "crates/server/src/secret_file.rs",
];

// ASVS 16.2.3
#[test]
fn files_are_written_in_few_places() {
    let writing = ["fs::write", "File::create", "File::options", "OpenOptions", "create_dir", "DirBuilder"];
    assert_eq!(places_of(&writing), WRITERS.map(PathBuf::from).into());
}

/// Commands of the server, as advice names them.
const COMMANDS: [&str; 7] = [
    "`portcullis ",
    "`audit trim",
    "`audit verify",
    "`config check",
    "`secret adopt",
    "`secret generate",
    "`sessions end",
];

/// The crates that other programs embed name no command and no setting of this server, which adds such advice itself.
#[test]
fn domain_and_adapters_name_no_command_or_setting() {
    let settings: toml::Table =
        fs::read_to_string(root().join("config/default.toml")).unwrap().parse().unwrap();
    let keys = settings.iter().filter_map(|(section, keys)| Some((section, keys.as_table()?)));
    let keys = keys.flat_map(|(section, keys)| keys.keys().map(move |key| format!("{section}.{key}")));
    let keys: Vec<_> = keys.collect();
    assert!(keys.len() > 30, "the settings are found: {keys:?}");
    let names = |line: &str| {
        // Outside of comments and strings it is the field of a value.
        let is_prose =
            |at: usize| line.trim_start().starts_with("//") || line[..at].matches('"').count() % 2 == 1;
        let is_named = |word: &String| line.find(word.as_str()).is_some_and(is_prose);
        keys.iter().any(is_named) || COMMANDS.iter().any(|command| line.contains(command))
    };
    let found: Vec<_> = ["domain", "adapters"]
        .iter()
        .flat_map(|name| sources(&root().join("crates").join(name).join("src")))
        .flat_map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            let lines: Vec<_> = text.lines().filter(|line| names(line)).map(str::to_owned).collect();
            lines.into_iter().map(move |line| format!("{}: {line}", path.display()))
        })
        .collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

// ASVS 1.3.12
#[test]
fn expressions_are_searched_in_linear_time() {
    let tree = tree("portcullis-server");
    assert!(tree.contains("regex"), "the tree is that of the server");
    let others: Vec<_> =
        ["fancy-regex", "onig", "pcre", "pcre2"].into_iter().filter(|name| tree.contains(*name)).collect();
    assert!(others.is_empty(), "{others:?}");
}

/// The sources of the service that say one of these, tests and comments aside.
fn places_of(words: &[&str]) -> BTreeSet<PathBuf> {
    let is_there = |path: &PathBuf| {
        let text = fs::read_to_string(path).unwrap();
        let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        text.lines()
            .any(|line| !line.trim_start().starts_with("//") && words.iter().any(|word| line.contains(word)))
    };
    ["domain", "adapters", "http", "server"]
        .iter()
        .flat_map(|name| sources(&root().join("crates").join(name).join("src")))
        .filter(|path| !["tests.rs", "invariants.rs"].iter().any(|name| path.ends_with(name)))
        .filter(|path| !path.components().any(|part| part.as_os_str() == "tests"))
        .filter(is_there)
        .map(|path| path.strip_prefix(root()).unwrap().to_owned())
        .collect()
}

/// The names of all crates that building this one takes, with its default features.
fn tree(package: &str) -> BTreeSet<String> {
    cargo(&["tree", "--locked", "--package", package, "--edges=normal,build", "--prefix=none"])
        .lines()
        .filter_map(|line| line.split(' ').next())
        .map(str::to_owned)
        .collect()
}

/// What cargo answers about this workspace.
fn cargo(arguments: &[&str]) -> String {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo).args(arguments).arg("--offline").current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The Rust sources under a folder, sorted.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut sources = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources.extend(self::sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            sources.push(path);
        }
    }
    sources.sort();
    sources
}

/// Returns how many files a folder contains, at any depth.
fn files_below(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| if path.is_dir() { files_below(&path) } else { 1 }).sum()
}

fn text(value: &Value) -> &str {
    value.as_str().expect("cargo says a string")
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}
