use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;

use portcullis_domain::password::PlaintextPassword;
use portcullis_domain::password::policy::PasswordViolation;
use tempfile::TempDir;

use super::*;

/// Loads settings from environment variables and, where given, a folder of files.
fn load(folder: Option<&TempDir>, variables: &[(&str, &str)]) -> Result<Settings, String> {
    Settings::load(&sources(folder, variables)?).map_err(|error| error.to_string())
}

fn sources(folder: Option<&TempDir>, variables: &[(&str, &str)]) -> Result<Sources, String> {
    let variables = variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
    let mut sources = Sources::new(None, variables).map_err(|error| error.to_string())?;
    sources.folder = folder.map_or_else(|| PathBuf::from("/nonexistent"), |folder| folder.path().to_owned());
    Ok(sources)
}

/// The one line that a start with these variables would end with.
fn refusal(variables: &[(&str, &str)]) -> String {
    let text = load(None, variables).err().unwrap_or_else(|| panic!("{variables:?} is accepted"));
    assert!(!text.contains('\n'), "{text}");
    text
}

const GOOD_SECRET: &str = "pcs_kCaD3cvDJhSoAWdL8fbAfYwTXiWyOo4nPoXAw0GDJ5Q";

const OTHER_SECRET: &str = "pcs_Hx4dHBsaGRgXFhUUExIREA8ODQwLCgkIBwYFBAMCAQA";

#[test]
fn the_binary_runs_alone() {
    let settings = load(None, &[]).unwrap();
    assert_eq!(settings.server.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(settings.server.public_url, "http://localhost:8080");
    assert_eq!(settings.tokens.issuer.as_str(), "http://localhost:8080");
    assert_eq!(settings.database.to_string(), "sqlite://data/portcullis.db");
    assert_eq!(settings.rules, AuthConfig::default());
    assert_eq!(settings.limits, LimitsConfig::default());
    assert_eq!(settings.hashing, HashScheme::default());
    assert!(settings.secret.is_none());
}

#[test]
fn the_shipped_files_are_accepted() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../config");
    for (environment, secret) in [("development", ""), ("production", GOOD_SECRET)] {
        let variables = [("PORTCULLIS_ENV", environment), ("PORTCULLIS_SECRET", secret)];
        let mut sources = sources(None, &variables).unwrap();
        sources.folder = PathBuf::from(folder);
        Settings::load(&sources).unwrap();
    }
}

#[test]
fn later_sources_win() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("default.toml"), "[server]\nworkers = 1\n[database]\npool_size = 1\n")
        .unwrap();
    fs::write(
        folder.path().join("development.toml"),
        "[database]\npool_size = 2\nurl = \"sqlite://file.db\"\n",
    )
    .unwrap();
    let settings = |variables: &[_]| load(Some(&folder), variables).unwrap();

    let files = settings(&[]);
    assert_eq!((files.server.workers, files.pool.size), (1, 2));
    assert_eq!(files.database.to_string(), "sqlite://file.db");

    let aliases = settings(&[("DATABASE_URL", "sqlite://alias.db"), ("PORT", "3000")]);
    assert_eq!(aliases.database.to_string(), "sqlite://alias.db");
    assert_eq!(aliases.server.listen.to_string(), "127.0.0.1:3000");

    let all = settings(&[
        ("DATABASE_URL", "sqlite://alias.db"),
        ("PORT", "3000"),
        ("PORTCULLIS_DATABASE__URL", "sqlite://named.db"),
        ("PORTCULLIS_DATABASE__POOL_SIZE", "3"),
        ("PORTCULLIS_SERVER__LISTEN", "[::1]:4000"),
    ]);
    assert_eq!((all.database.to_string().as_str(), all.pool.size), ("sqlite://named.db", 3));
    assert_eq!(all.server.listen.to_string(), "[::1]:3000", "PORT goes with every address");
}

#[test]
fn image_presets_lose_to_every_other_source() {
    let preset = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docker/image.toml");
    let folder = TempDir::new().unwrap();
    let listen = |folder: Option<&TempDir>, more: &[(&str, &str)]| {
        let variables = [&[("PORTCULLIS_DEFAULTS", preset)], more].concat();
        load(folder, &variables).unwrap().server.listen.to_string()
    };
    assert_eq!(listen(None, &[]), "0.0.0.0:8080");
    assert_eq!(listen(None, &[("PORT", "18091")]), "0.0.0.0:18091");
    assert_eq!(listen(None, &[("PORTCULLIS_SERVER__LISTEN", "[::]:9000")]), "[::]:9000");
    fs::write(folder.path().join("default.toml"), "[server]\nlisten = \"10.0.0.1:9001\"\n").unwrap();
    assert_eq!(listen(Some(&folder), &[]), "10.0.0.1:9001");
    let file = folder.path().join("mine.toml");
    fs::write(&file, "[server]\nlisten = \"10.0.0.1:9002\"\n").unwrap();
    assert_eq!(listen(None, &[("PORTCULLIS_CONFIG", file.to_str().unwrap())]), "10.0.0.1:9002");
    let text = refusal(&[("PORTCULLIS_DEFAULTS", "/nonexistent.toml")]);
    assert_eq!(text, "settings file /nonexistent.toml does not exist");
}

#[test]
fn the_public_url_follows_the_address_in_development() {
    let urls = |variables: &[(&str, &str)]| {
        let settings = load(None, variables).unwrap();
        (settings.server.public_url, settings.tokens.issuer.as_str().to_owned())
    };
    for (listen, expected) in [
        ("127.0.0.1:8080", "http://localhost:8080"),
        ("127.0.0.1:80", "http://localhost"),
        ("0.0.0.0:9000", "http://localhost:9000"),
        ("[::]:9000", "http://localhost:9000"),
        ("[::1]:9000", "http://[::1]:9000"),
        ("192.0.2.7:9000", "http://192.0.2.7:9000"),
    ] {
        let expected = (expected.to_owned(), expected.to_owned());
        assert_eq!(urls(&[("PORTCULLIS_SERVER__LISTEN", listen)]), expected, "{listen}");
    }
    let own = urls(&[("PORT", "18080"), ("PORTCULLIS_TOKENS__ISSUER", "https://issuer.example")]);
    assert_eq!(own, ("http://localhost:18080".to_owned(), "https://issuer.example".to_owned()));
    let set = urls(&[("PORT", "18080"), ("PORTCULLIS_SERVER__PUBLIC_URL", "https://auth.example")]);
    assert_eq!(set.0, "https://auth.example");

    // All instances of one service have one issuer, wherever each of them listens.
    let production =
        [("PORTCULLIS_ENV", "production"), ("PORTCULLIS_SECRET", GOOD_SECRET), ("PORT", "18080")];
    assert_eq!(urls(&production).0, "http://localhost:8080");
}

#[test]
fn the_public_url_takes_the_port_the_system_chose() {
    let address = "127.0.0.1:41234".parse().unwrap();
    let mut settings = load(None, &[("PORT", "0")]).unwrap();
    settings.listening_on(address).unwrap();
    assert_eq!(settings.server.public_url, "http://localhost:41234");
    assert_eq!(settings.tokens.issuer.as_str(), "http://localhost:41234");
    let mut set =
        load(None, &[("PORT", "0"), ("PORTCULLIS_SERVER__PUBLIC_URL", "https://a.example")]).unwrap();
    set.listening_on(address).unwrap();
    assert_eq!(set.tokens.issuer.as_str(), "https://a.example");
}

#[test]
fn the_description_shows_derived_urls_with_their_origin() {
    let lines = describe(&sources(None, &[("PORT", "18080")]).unwrap()).unwrap().join("\n");
    for line in [
        r#"server.listen = "127.0.0.1:18080"  # the built-in defaults, with the port of PORT"#,
        r#"server.public_url = "http://localhost:18080"  # not set: follows server.listen"#,
        r#"tokens.issuer = "http://localhost:18080"  # not set: server.public_url"#,
    ] {
        assert!(lines.contains(line), "{line} in {lines}");
    }
}

#[test]
fn a_file_given_stands_for_the_folder() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("development.toml"), "[server]\nworkers = 1\n").unwrap();
    let file = folder.path().join("mine.toml");
    fs::write(&file, "[database]\npool_size = 5\n").unwrap();
    let mut sources = sources(Some(&folder), &[]).unwrap();
    sources.file = Some(file);
    let settings = Settings::load(&sources).unwrap();
    assert_eq!(settings.pool.size, 5);
    assert_eq!(settings.server.workers, cores().get());

    sources.file = Some(folder.path().join("missing.toml"));
    assert!(Settings::load(&sources).unwrap_err().to_string().contains("missing.toml"));
}

#[test]
fn secrets_come_from_files_too() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("secret");
    fs::write(&file, format!("{GOOD_SECRET}\n")).unwrap();
    let path = file.to_str().unwrap();
    let settings = load(None, &[("PORTCULLIS_SECRET_FILE", path)]).unwrap();
    assert_eq!(settings.secret.unwrap().expose(), GOOD_SECRET);

    let both = refusal(&[("PORTCULLIS_SECRET_FILE", path), ("PORTCULLIS_SECRET", GOOD_SECRET)]);
    assert_eq!(both, "PORTCULLIS_SECRET and PORTCULLIS_SECRET_FILE are both set: leave one out");
    for name in ["PORTCULLIS_SECRET", "PORTCULLIS_ACCEPTED_SECRETS"] {
        let text = refusal(&[(name, path)]);
        assert!(text.contains("is the path of a file") && text.contains("_FILE"), "{text}");
    }
    let missing = refusal(&[("PORTCULLIS_SECRET_FILE", "/nonexistent/secret")]);
    assert_eq!(missing, "PORTCULLIS_SECRET_FILE: /nonexistent/secret does not exist");
    let not_a_secret = refusal(&[("PORTCULLIS_SERVER__LISTEN_FILE", path)]);
    assert!(not_a_secret.starts_with("unknown setting server.listen_file"), "{not_a_secret}");
}

#[test]
fn the_queue_is_as_long_as_the_threads_hash_in_a_second() {
    for (threads, cost, expected) in
        [("2", "12", 1), ("1", "12", 1), ("8", "12", 15), ("2", "14", 1), ("2", "10", 21)]
    {
        let variables = [("PORTCULLIS_HASHING__THREADS", threads), ("PORTCULLIS_HASHING__BCRYPT_COST", cost)];
        let pool = load(None, &variables).unwrap().password_pool;
        assert_eq!(pool.queue.get(), expected, "{threads} threads at cost {cost}");
    }
}

// ASVS 6.2.11
#[test]
fn an_operator_names_more_common_passwords() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("common.txt");
    let path = file.to_str().unwrap();
    let variables =
        [("PORTCULLIS_PASSWORD__COMMON_FILE", path), ("PORTCULLIS_PASSWORD__COMMON_LIST", "false")];
    fs::write(&file, "#! ours\nAcme-rocks-2026!\n").unwrap();
    for preset in ["specification", "nist"] {
        let settings =
            load(None, &[&variables[..], &[("PORTCULLIS_PASSWORD__PRESET", preset)]].concat()).unwrap();
        let policy = settings.rules.password;
        assert!(policy.forbids_common(), "{preset}");
        let attempt = PlaintextPassword::new("aCME-rocks-2026!".to_owned());
        assert_eq!(policy.accept(&attempt, "alice").unwrap_err(), [PasswordViolation::Common], "{preset}");
    }
    let refused = |reason: &str| {
        let refusal = refusal(&variables);
        assert!(refusal.starts_with("password.common_file ") && refusal.contains(path), "{refusal}");
        assert!(refusal.contains(reason), "{refusal}");
    };
    fs::write(&file, b"\xff\n").unwrap();
    refused("is not UTF-8 text");
    fs::write(&file, "x".repeat(20_000_001)).unwrap();
    refused("is longer than 20000000 bytes");
    fs::remove_file(&file).unwrap();
    refused("does not exist");
}

#[test]
fn sessions_and_attempts_at_the_password_are_limited_by_settings() {
    let variables = [
        ("PORTCULLIS_SESSIONS__MAX_PER_USER", "1000"),
        ("PORTCULLIS_LIMITS__PASSWORD__REQUESTS", "3"),
        ("PORTCULLIS_LIMITS__PASSWORD__PER", "1h"),
        ("PORTCULLIS_LIMITS__PASSWORD__BURST", "2"),
    ];
    let settings = load(None, &variables).unwrap();
    assert_eq!(settings.rules.max_sessions_per_user.get(), 1_000);
    let Quota { count, per, burst } = settings.limits.password;
    assert_eq!((count.get(), per, burst.get()), (3, Duration::from_hours(1), 2));
}

#[test]
fn numbers_stay_text_where_text_is_asked_for() {
    let secret = "00700700700700700712345689abcdef";
    let settings =
        load(None, &[("PORTCULLIS_SECRET", secret), ("PORTCULLIS_TOKENS__AUDIENCE", "1e3")]).unwrap();
    assert_eq!(settings.secret.unwrap().expose(), secret);
    assert_eq!(settings.tokens.audience.as_str(), "1e3");
}

#[test]
fn lists_are_separated_by_commas_or_line_breaks() {
    let expected = TrustedProxies::new(vec!["10.0.0.0/8".parse().unwrap(), "::1".parse().unwrap()]);
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("accepted");
    for separator in [", ", "\n", "\r\n", ",\n", "\n\n"] {
        let proxies = format!("10.0.0.0/8{separator}::1{separator}");
        let secrets = format!("{GOOD_SECRET}{separator}{OTHER_SECRET}{separator}");
        fs::write(&file, &secrets).unwrap();
        for (name, value) in [
            ("PORTCULLIS_ACCEPTED_SECRETS", secrets.as_str()),
            ("PORTCULLIS_ACCEPTED_SECRETS_FILE", file.to_str().unwrap()),
        ] {
            let variables = [("PORTCULLIS_SERVER__TRUSTED_PROXIES", proxies.as_str()), (name, value)];
            let settings = load(None, &variables).unwrap();
            assert_eq!(settings.server.trusted_proxies, expected, "{separator:?}");
            let secrets: Vec<_> = settings.accepted_secrets.iter().map(Secret::expose).collect();
            assert_eq!(secrets, [GOOD_SECRET, OTHER_SECRET], "{name} {separator:?}");
        }
    }
}

/// A variable, a secret's file and a settings file are treated alike, in development as in production.
#[test]
fn wrapped_values_are_refused_from_every_source() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("value");
    let toml = folder.path().join("mine.toml");
    let (file_path, toml_path) = (file.to_str().unwrap(), toml.to_str().unwrap());
    let url = "postgres://me:hunter2@localhost/p";
    for (wrapped, found) in [
        (format!("\"{GOOD_SECRET}\""), "has a quote (\")"),
        (format!("'{GOOD_SECRET}'\n"), "has a quote (')"),
        (format!("\u{201c}{GOOD_SECRET}\u{201d}"), "has a quote (\u{201c})"),
        (format!("\u{feff}{GOOD_SECRET}"), "byte order mark"),
        (format!("{GOOD_SECRET}\u{200b}"), "U+200B"),
        (format!("PORTCULLIS_SECRET={GOOD_SECRET}"), "the name of a setting or variable"),
        (format!("export X={GOOD_SECRET}"), "the name of a setting or variable"),
        (format!("secret = {GOOD_SECRET}"), "the name of a setting or variable"),
        (format!("{{\"secret\": \"{GOOD_SECRET}\"}}"), "JSON object"),
        ("c2VjcmV0LXNlY3JldC1zZWNyZXQ\nc2VjcmV0LXNlY3JldC1zZWNyZXQ=\n".to_owned(), "line break"),
        ("${PORTCULLIS_SECRET}".to_owned(), "placeholder"),
        ("$SECRET".to_owned(), "placeholder"),
        ("{{ .Values.secret }}".to_owned(), "placeholder"),
        ("<secret>".to_owned(), "placeholder"),
        (format!("x{GOOD_SECRET}"), "pcs_"),
    ] {
        fs::write(&file, &wrapped).unwrap();
        fs::write(&toml, format!("secret = {}\n", toml_string(&wrapped))).unwrap();
        for environment in ["development", "production"] {
            for source in [
                ("PORTCULLIS_SECRET", wrapped.as_str()),
                ("PORTCULLIS_SECRET_FILE", file_path),
                ("PORTCULLIS_CONFIG", toml_path),
            ] {
                let text = refusal(&[("PORTCULLIS_ENV", environment), source]);
                assert!(text.starts_with("secret (from ") && text.contains(found), "{source:?}: {text}");
                assert!(!text.contains(&GOOD_SECRET[4..]), "{text}");
            }
        }
    }
    for (wrapped, found) in [
        (format!("\"{url}\""), "has a quote"),
        (format!("'{url}"), "must start with"),
        (format!("\u{feff}{url}"), "byte order mark"),
        (format!("DATABASE_URL={url}"), "the name of a setting or variable"),
        ("postgres://${USER}:${PASSWORD}@localhost/p".to_owned(), "placeholder"),
    ] {
        fs::write(&file, &wrapped).unwrap();
        for source in [
            ("DATABASE_URL", wrapped.as_str()),
            ("DATABASE_URL_FILE", file_path),
            ("PORTCULLIS_DATABASE__URL", wrapped.as_str()),
            ("PORTCULLIS_DATABASE__URL_FILE", file_path),
        ] {
            let text = refusal(&[source, ("PORTCULLIS_SECRET", GOOD_SECRET)]);
            assert!(text.starts_with("database.url (from ") && text.contains(found), "{source:?}: {text}");
            assert!(!text.contains("hunter2"), "{text}");
        }
    }
    for (name, wrapped) in [
        ("PORTCULLIS_TOKENS__AUDIENCE", "\"api\""),
        ("PORTCULLIS_TOKENS__AUDIENCE", "\"api"),
        ("PORTCULLIS_TOKENS__ISSUER", "'https://auth.example'"),
        ("PORTCULLIS_TOKENS__ISSUER", "https://$DOMAIN"),
        ("PORTCULLIS_SERVER__PUBLIC_URL", "\"https://auth.example\""),
        ("PORTCULLIS_SERVER__LISTEN", "\"0.0.0.0:8080\""),
        ("PORTCULLIS_CORS__ALLOWED_ORIGINS", "[\"https://a.example\"]"),
        ("PORTCULLIS_CORS__ALLOWED_ORIGINS", "\"https://a.example\""),
        ("PORTCULLIS_PASSWORD__COMMON_FILE", "\"list.txt\""),
        ("PORT", "\"8080\""),
        ("PORT", ""),
        ("PORTCULLIS_ENV", "\"production\""),
        ("PORTCULLIS_CONFIG", "\"my.toml\""),
        ("PORTCULLIS_SECRET_FILE", "'/run/secrets/x'"),
    ] {
        let text = refusal(&[(name, wrapped)]);
        assert!(text.contains(name), "{text}");
    }
}

fn toml_string(text: &str) -> String {
    let escaped = |c: char| match c {
        '"' | '\\' => format!("\\{c}"),
        c if c.is_control() => format!("\\u{:04X}", u32::from(c)),
        c => c.to_string(),
    };
    format!("\"{}\"", text.chars().map(escaped).collect::<String>())
}

#[test]
fn white_space_around_values_is_removed_from_every_source() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("value");
    let path = file.to_str().unwrap();
    for (before, after) in [("", "\n"), ("", "\r\n"), (" ", "\t "), ("\n", "\n\n")] {
        let wrapped = |text: &str| format!("{before}{text}{after}");
        let (secret, url) = (wrapped(GOOD_SECRET), wrapped("sqlite://x.db"));
        let settings = load(
            None,
            &[
                ("PORTCULLIS_SECRET", &secret),
                ("DATABASE_URL", &url),
                ("PORT", &wrapped("3000")),
                ("PORTCULLIS_ENV", &wrapped("development")),
                ("PORTCULLIS_TOKENS__AUDIENCE", &wrapped("api")),
            ],
        );
        let settings = settings.unwrap();
        assert_eq!(settings.secret.unwrap().expose(), GOOD_SECRET);
        assert_eq!(settings.database.to_string(), "sqlite://x.db");
        assert_eq!((settings.server.listen.port(), settings.tokens.audience.as_str()), (3000, "api"));

        fs::write(&file, &secret).unwrap();
        let settings = load(None, &[("PORTCULLIS_SECRET_FILE", &wrapped(path))]).unwrap();
        assert_eq!(settings.secret.unwrap().expose(), GOOD_SECRET);
        fs::write(&file, &url).unwrap();
        for name in ["PORTCULLIS_DATABASE__URL_FILE", "DATABASE_URL_FILE"] {
            assert_eq!(load(None, &[(name, path)]).unwrap().database.to_string(), "sqlite://x.db");
        }
    }
}

#[test]
fn an_empty_variable_beside_its_other_form_is_ignored() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("value");
    let path = file.to_str().unwrap();
    fs::write(&file, GOOD_SECRET).unwrap();
    for variables in [
        [("PORTCULLIS_SECRET", GOOD_SECRET), ("PORTCULLIS_SECRET_FILE", "")],
        [("PORTCULLIS_SECRET", GOOD_SECRET), ("PORTCULLIS_SECRET_FILE", " ")],
        [("PORTCULLIS_SECRET", ""), ("PORTCULLIS_SECRET_FILE", path)],
    ] {
        assert_eq!(load(None, &variables).unwrap().secret.unwrap().expose(), GOOD_SECRET);
    }
    for name in
        ["PORTCULLIS_SECRET_FILE", "PORTCULLIS_DATABASE__URL_FILE", "DATABASE_URL_FILE", "PORTCULLIS_CONFIG"]
    {
        assert_eq!(
            refusal(&[(name, "")]),
            format!("{name} is empty; name a file, or leave the variable out")
        );
    }
    for name in ["DATABASE_URL", "PORTCULLIS_DATABASE__URL", "PORTCULLIS_SERVER__LISTEN"] {
        refusal(&[(name, "")]);
    }
    fs::write(&file, "\n").unwrap();
    refusal(&[("PORTCULLIS_DATABASE__URL_FILE", path)]);
    let text = refusal(&[("PORTCULLIS_ENV", "production"), ("PORTCULLIS_SECRET_FILE", path)]);
    assert!(text.contains("secret"), "{text}");
}

#[test]
fn names_in_another_case_are_refused() {
    for (name, expected) in [
        ("portcullis_secret", "PORTCULLIS_SECRET"),
        ("Portcullis_Env", "PORTCULLIS_ENV"),
        ("PORTCULLIS_server__listen", "PORTCULLIS_SERVER__LISTEN"),
    ] {
        let text = refusal(&[(name, "x")]);
        assert!(text.contains(name) && text.ends_with(&format!("did you mean {expected}?")), "{text}");
    }
    for (name, nearest) in
        [("PORTCULLIS_DATABASE_URL", "database.url"), ("PORTCULLIS_DATABASE_URL_FILE", "database.url")]
    {
        let text = refusal(&[(name, "x")]);
        assert!(text.ends_with(&format!("(from {name}); did you mean {nearest}?")), "{text}");
    }
}

#[test]
fn an_unknown_environment_is_refused_unless_it_has_a_file() {
    for (name, nearest) in [
        ("prodution", "production"),
        ("prod", "production"),
        ("Production", "production"),
        ("PRODUCTION", "production"),
        ("dev", "development"),
        ("developement", "development"),
    ] {
        let text = refusal(&[("PORTCULLIS_ENV", name)]);
        assert!(text.starts_with(&format!("PORTCULLIS_ENV = {name:?} ")), "{text}");
        assert!(text.contains(&format!("did you mean {nearest}?")), "{text}");
    }
    for name in
        ["staging", "default", "../production", "a/b", "a\\b", ".", "", " ", "prod uction", "production.toml"]
    {
        let text = refusal(&[("PORTCULLIS_ENV", name), ("PORTCULLIS_SECRET", GOOD_SECRET)]);
        assert!(text.starts_with("PORTCULLIS_ENV "), "{name:?}: {text}");
    }
    let folder = TempDir::new().unwrap();
    for file in ["default.toml", "staging.toml"] {
        fs::write(folder.path().join(file), "").unwrap();
    }
    let in_folder =
        |name: &str| load(Some(&folder), &[("PORTCULLIS_ENV", name), ("PORTCULLIS_SECRET", GOOD_SECRET)]);
    assert_eq!(in_folder("staging").unwrap().environment.name(), "staging");
    assert!(in_folder("stagin").unwrap_err().contains("did you mean staging?"));
    assert!(in_folder("default").is_err(), "its file holds in every environment");

    // A file that is given is that of the environment if it has its name.
    let given = |file: &str, name: &str| {
        let path = folder.path().join(file);
        fs::write(&path, "").unwrap();
        let variables = [("PORTCULLIS_ENV", name), ("PORTCULLIS_SECRET", GOOD_SECRET)];
        load(None, &[&variables[..], &[("PORTCULLIS_CONFIG", path.to_str().unwrap())]].concat())
    };
    assert!(given("qa.toml", "qa").is_ok());
    assert!(given("qa.toml", "prodution").is_err());
}

#[cfg(target_os = "linux")]
#[test]
fn a_settings_file_that_cannot_be_read_is_refused() {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    type Make = fn(&Path);
    let kinds: &[(&str, Make)] = &[
        ("is a folder", |path| fs::create_dir(path).unwrap()),
        ("is a link to something that does not exist", |path| symlink("/nonexistent", path).unwrap()),
        ("cannot be read", |path| symlink(path, path).unwrap()),
        ("is not a regular file", |path| {
            rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        }),
        ("is not a regular file", |path| drop(UnixListener::bind(path).unwrap())),
        ("is not a regular file", |path| symlink("/dev/zero", path).unwrap()),
        ("is not UTF-8 text", |path| fs::write(path, b"\xff\n").unwrap()),
        ("is UTF-16 text", |path| fs::write(path, b"\xff\xfes\0").unwrap()),
        ("is longer than", |path| fs::write(path, "#".repeat(1_000_001)).unwrap()),
    ];
    for (reason, make) in kinds {
        for name in ["default.toml", "development.toml"] {
            let folder = TempDir::new().unwrap();
            make(&folder.path().join(name));
            let text = load(Some(&folder), &[]).unwrap_err();
            assert!(text.contains(name) && text.contains(reason), "{reason}: {text}");
        }
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("named");
        make(&path);
        let path = path.to_str().unwrap();
        for variable in [
            "PORTCULLIS_CONFIG",
            "PORTCULLIS_DEFAULTS",
            "PORTCULLIS_SECRET_FILE",
            "PORTCULLIS_ACCEPTED_SECRETS_FILE",
            "PORTCULLIS_DATABASE__URL_FILE",
            "DATABASE_URL_FILE",
            "PORTCULLIS_PASSWORD__COMMON_FILE",
        ] {
            if variable == "PORTCULLIS_PASSWORD__COMMON_FILE" && *reason == "is longer than" {
                continue; // Lists are longer.
            }
            let text = refusal(&[(variable, path)]);
            assert!(text.contains(path) && text.contains(reason), "{variable}: {text}");
        }
    }
}

#[cfg(unix)]
#[test]
fn a_settings_folder_that_is_unusable_is_refused() {
    use std::os::unix::fs::symlink;

    let parent = TempDir::new().unwrap();
    let at = |name: &str| {
        let mut sources = sources(None, &[]).unwrap();
        sources.folder = parent.path().join(name);
        Settings::load(&sources).map(drop).map_err(|error| error.to_string())
    };
    fs::write(parent.path().join("file"), "").unwrap();
    symlink("/nonexistent", parent.path().join("dangling")).unwrap();
    symlink("loop", parent.path().join("loop")).unwrap();
    for name in ["file", "dangling", "loop", "dangling/config"] {
        let text = at(name).unwrap_err();
        assert!(text.starts_with("settings file ") && text.contains(name), "{text}");
    }
    assert_eq!(at("absent"), Ok(()));
    assert_eq!(at("absent/config"), Ok(()));
}

#[test]
fn accepted_secrets_beyond_the_limit_are_refused() {
    let many = |count| vec![GOOD_SECRET; count].join(",");
    let settings = load(None, &[("PORTCULLIS_ACCEPTED_SECRETS", &many(8))]).unwrap();
    assert_eq!(settings.accepted_secrets.len(), 8);
    let text = refusal(&[("PORTCULLIS_ACCEPTED_SECRETS", &many(9))]);
    assert!(
        text.starts_with("accepted_secrets (from PORTCULLIS_ACCEPTED_SECRETS): must be at most 8"),
        "{text}"
    );
    assert!(!text.contains(GOOD_SECRET), "{text}");
}

#[test]
fn unknown_algorithms_name_the_known_ones() {
    for name in [
        "es256", "Es256", "ES-256", "ES_256", "ES384", "ES512", "ES256K", "eddsa", "EDDSA", "Ed25519",
        "ed25519", "Ed448", "RS256", "PS256", "HS256", "none", "None", "default", "0", "",
    ] {
        let text = refusal(&[("PORTCULLIS_TOKENS__ALGORITHM", name)]);
        let expected = format!(
            "tokens.algorithm = {name:?} (from PORTCULLIS_TOKENS__ALGORITHM): must be one of: ES256, EdDSA"
        );
        assert_eq!(text, expected);
    }
}

#[test]
fn tokens_are_signed_with_es256_by_default() {
    let tokens = load(None, &[]).unwrap().tokens;
    assert_eq!((tokens.algorithm, tokens.published_keys), (SigningAlgorithm::Es256, PublishedKeys::Both));
    for (name, algorithm) in [("ES256", SigningAlgorithm::Es256), ("EdDSA", SigningAlgorithm::EdDsa)] {
        let settings = load(None, &[("PORTCULLIS_TOKENS__ALGORITHM", name)]).unwrap();
        assert_eq!(settings.tokens.algorithm, algorithm);
    }
}

#[test]
fn unknown_settings_are_refused_with_the_nearest_known_one() {
    let text = refusal(&[("PORTCULLIS_SERVER__WORKRES", "2")]);
    assert_eq!(
        text,
        "unknown setting server.workres (from PORTCULLIS_SERVER__WORKRES); did you mean server.workers?"
    );
    let text = refusal(&[("PORTCULLIS_SECRETS", "x")]);
    assert!(text.ends_with("did you mean secret?"), "{text}");
    let text = refusal(&[("PORTCULLIS_NOTHING__LIKE_IT", "x")]);
    assert_eq!(text, "unknown setting nothing.like_it (from PORTCULLIS_NOTHING__LIKE_IT)");

    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("development.toml"), "[hashing]\ncost = 3\n").unwrap();
    let text = load(Some(&folder), &[]).unwrap_err();
    assert!(text.contains("hashing.cost") && text.contains("development.toml"), "{text}");
}

/// Each would have come before or after what it replaces, by chance.
#[test]
fn a_name_that_stands_for_several_settings_or_a_part_of_one_is_refused() {
    for name in ["PORTCULLIS_SERVER", "PORTCULLIS_SERVER__TRUSTED_PROXIES[0]", "PORTCULLIS_"] {
        for _ in 0..20 {
            let text = refusal(&[(name, "::1"), ("PORTCULLIS_SERVER__DOCS", "true")]);
            assert!(
                text.starts_with("unknown setting") && text.contains(&format!("(from {name})")),
                "{text}"
            );
        }
    }
    let folder = TempDir::new().unwrap();
    for file in ["\"server.docs\" = false\nserver.docs = true\n", "[limits]\n\"login.per\" = \"5m\"\n"] {
        fs::write(folder.path().join("default.toml"), file).unwrap();
        for _ in 0..20 {
            let text = load(Some(&folder), &[]).unwrap_err();
            assert!(text.starts_with("unknown setting") && text.contains("default.toml"), "{text}");
        }
    }
}

#[test]
fn a_refusal_is_one_line_whatever_is_refused() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("default.toml"), "[server]\n\"a\\n\\u001b[31mb\" = 1\n").unwrap();
    let text = load(Some(&folder), &[]).unwrap_err();
    assert!(text.contains("server.a\u{fffd}\u{fffd}[31mb") && !text.contains(char::is_control), "{text:?}");
    let text = refusal(&[("PORTCULLIS_A\u{1b}", "x")]);
    assert!(!text.contains(char::is_control), "{text:?}");
}

#[test]
fn what_kubernetes_injects_is_no_setting() {
    let injected = [
        ("PORTCULLIS_SERVICE_HOST", "10.0.0.1"),
        ("PORTCULLIS_SERVICE_PORT_HTTP", "8080"),
        ("PORTCULLIS_PORT", "tcp://10.0.0.1:8080"),
        ("PORTCULLIS_PORT_8080_TCP_ADDR", "10.0.0.1"),
        ("PORTCULLIS_DB_SERVICE_HOST", "10.0.0.2"),
        ("PORTCULLIS_DB_SERVICE_PORT", "5432"),
        ("PORTCULLIS_DB_PORT", "tcp://10.0.0.2:5432"),
        ("PORTCULLIS_DB_PORT_5432_TCP_PROTO", "tcp"),
    ];
    assert!(load(None, &injected).is_ok());
}

#[test]
fn what_cannot_hold_is_refused_by_name() {
    for (name, value, expected) in [
        (
            "PORTCULLIS_SERVER__WORKERS",
            "many",
            r#"server.workers = "many" (from PORTCULLIS_SERVER__WORKERS): must be a whole number from 0 to 512"#,
        ),
        (
            "PORTCULLIS_SERVER__LISTEN",
            "8080",
            r#"server.listen = "8080" (from PORTCULLIS_SERVER__LISTEN): must be an address and a port, such as 127.0.0.1:8080"#,
        ),
        (
            "PORTCULLIS_REGISTRATION__ENABLED",
            "yes",
            r#"registration.enabled = "yes" (from PORTCULLIS_REGISTRATION__ENABLED): must be one of: true, false"#,
        ),
        (
            "PORTCULLIS_TOKENS__ACCESS_LIFETIME",
            "2h",
            r#"tokens.access_lifetime = "2h" (from PORTCULLIS_TOKENS__ACCESS_LIFETIME): must be from 1s to 1h"#,
        ),
        (
            "PORTCULLIS_TOKENS__REFRESH_GRACE",
            "61s",
            r#"tokens.refresh_grace = "61s" (from PORTCULLIS_TOKENS__REFRESH_GRACE): must be from 0s to 1m"#,
        ),
        (
            "PORTCULLIS_TOKENS__ALGORITHM",
            "HS256",
            r#"tokens.algorithm = "HS256" (from PORTCULLIS_TOKENS__ALGORITHM): must be one of: ES256, EdDSA"#,
        ),
        (
            "PORTCULLIS_TOKENS__PUBLISHED_KEYS",
            "ES256",
            r#"tokens.published_keys = "ES256" (from PORTCULLIS_TOKENS__PUBLISHED_KEYS): must be one of: both, signing"#,
        ),
        (
            "PORTCULLIS_PASSWORD__MIN_LENGTH",
            "7",
            r#"password.min_length = "7" (from PORTCULLIS_PASSWORD__MIN_LENGTH): must be a whole number from 8 to 64"#,
        ),
        (
            "PORTCULLIS_SESSIONS__MAX_PER_USER",
            "1001",
            r#"sessions.max_per_user = "1001" (from PORTCULLIS_SESSIONS__MAX_PER_USER): must be a whole number from 1 to 1000"#,
        ),
        (
            "PORTCULLIS_HASHING__BCRYPT_COST",
            "16",
            r#"hashing.bcrypt_cost = "16" (from PORTCULLIS_HASHING__BCRYPT_COST): must be a whole number from 4 to 15"#,
        ),
        (
            "PORTCULLIS_SERVER__PUBLIC_URL",
            "https://a.example/auth",
            r#"server.public_url = "https://a.example/auth" (from PORTCULLIS_SERVER__PUBLIC_URL): must be a URL such as https://auth.example.com, without path, query or user"#,
        ),
        (
            "DATABASE_URL",
            "mysql://me:hunter2@db/x",
            "database.url (from DATABASE_URL): must start with sqlite:// or postgres://",
        ),
    ] {
        assert_eq!(refusal(&[(name, value)]), expected);
    }
    for (name, value) in [
        ("PORTCULLIS_SERVER__TRUSTED_PROXIES", "10.0.0.0/99"),
        ("PORTCULLIS_CORS__ALLOWED_ORIGINS", "https://app.example.com/"),
        ("PORTCULLIS_TOKENS__KEY_ROTATION", "1h"),
        ("PORTCULLIS_TOKENS__REFRESH_ABSOLUTE", "1d"),
        ("PORTCULLIS_SERVER__SHUTDOWN_TIMEOUT", "500ms"),
        ("PORTCULLIS_SESSIONS__MAX_PER_USER", "0"),
        ("PORTCULLIS_LIMITS__PASSWORD__REQUESTS", "0"),
        ("PORTCULLIS_SERVER__PUBLIC_URL", "https://a.example:99999"),
        ("PORTCULLIS_TOKENS__ISSUER", "a\nb"),
        ("PORTCULLIS_TOKENS__AUDIENCE", ""),
        ("DATABASE_URL", "postgres://u:hun/ter2@localhost/x?sslmode=disable"),
        ("PORT", "http"),
        ("PORTCULLIS_LOG__LEVEL", "loud"),
        ("PORTCULLIS_ENV", "../../etc"),
    ] {
        let text = refusal(&[(name, value)]);
        assert!(text.contains(name), "{text}");
    }
}

#[test]
fn production_is_strict_about_secrets_and_names_no_value() {
    let production = |more: &[(&'static str, &'static str)]| {
        let mut variables = vec![("PORTCULLIS_ENV", "production")];
        variables.extend(more);
        refusal(&variables)
    };
    assert!(production(&[]).starts_with("secret is not set"));
    for weak in ["hunter2", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "pcs_hunter2"] {
        let text = production(&[("PORTCULLIS_SECRET", weak)]);
        assert!(text.starts_with("secret (from PORTCULLIS_SECRET): ") && !text.contains(weak), "{text}");
        assert!(text.contains("portcullis secret generate"), "{text}");
    }
    let cost = production(&[("PORTCULLIS_SECRET", GOOD_SECRET), ("PORTCULLIS_HASHING__BCRYPT_COST", "9")]);
    assert!(cost.ends_with("must be a whole number from 10 to 15"), "{cost}");
    // Another environment than development is as strict.
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("staging.toml"), "").unwrap();
    let staging = load(Some(&folder), &[("PORTCULLIS_ENV", "staging")]).unwrap_err();
    assert!(staging.starts_with("secret is not set"), "{staging}");
    assert!(production(&[]).contains("only PORTCULLIS_ENV=development with an SQLite database"));
    // PostgreSQL has no folder to keep a secret in.
    assert!(refusal(&[("DATABASE_URL", "postgres://localhost/p")]).starts_with("secret is not set"));
}

#[test]
fn the_description_masks_secrets_and_names_origins() {
    let variables =
        [("PORTCULLIS_SECRET", GOOD_SECRET), ("DATABASE_URL", "postgres://me:hunter2@localhost/portcullis")];
    let lines = describe(&sources(None, &variables).unwrap()).unwrap();
    let text = lines.join("\n");
    assert!(!text.contains("hunter2") && !text.contains(GOOD_SECRET), "{text}");
    assert!(lines.contains(&"secret = ********  # PORTCULLIS_SECRET".to_owned()), "{text}");
    assert!(
        lines.contains(&r#"database.url = "postgres://localhost/portcullis"  # DATABASE_URL"#.to_owned()),
        "{text}"
    );
    assert!(lines.contains(&"hashing.bcrypt_cost = 12  # the built-in defaults".to_owned()), "{text}");
}

// ASVS 13.4.2 13.4.5
#[test]
fn production_has_its_defaults_without_any_file() {
    let production =
        load(None, &[("PORTCULLIS_ENV", "production"), ("PORTCULLIS_SECRET", GOOD_SECRET)]).unwrap();
    assert!(!production.server.docs);
    assert!(load(None, &[]).unwrap().server.docs);
}

#[test]
fn a_wrong_type_does_not_pass_for_a_setting_that_is_not_there() {
    for (text, named) in [
        ("secret = [\"abc\"]", "secret"),
        ("[secret]", "secret"),
        ("[server]\npublic_url = [\"https://x\"]", "server.public_url"),
        ("[server.listen]", "server.listen"),
        ("[tokens]\nissuer = []", "tokens.issuer"),
        ("[server]\ntrusted_proxies = 1", "server.trusted_proxies"),
        ("[server]\nworkers = 1.5", "server.workers"),
    ] {
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join("development.toml"), text).unwrap();
        let error = load(Some(&folder), &[]).unwrap_err();
        assert!(error.starts_with(named) && error.contains("must be"), "{text}: {error}");
    }
}

#[test]
fn a_file_that_is_no_toml_is_named_and_not_quoted() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("development.toml"), "[log]\nlevel = \"info\"\nsecret = \"hunter2hunter2\n")
        .unwrap();
    let error = load(Some(&folder), &[]).unwrap_err();
    assert!(error.contains("line 3") && error.contains("development.toml"), "{error}");
    assert!(!error.contains("hunter2") && !error.contains('\n'), "{error}");
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_no_text_does_not_pass_for_one_that_is_not_set() {
    use std::os::unix::ffi::OsStringExt as _;

    for name in ["PORTCULLIS_ENV", "PORTCULLIS_SECRET", "DATABASE_URL"] {
        let value = OsString::from_vec(b"production\xff".to_vec());
        let error = Sources::new(None, [(OsString::from(name), value.clone())]).unwrap_err();
        assert_eq!(error.to_string(), format!("{name} is not UTF-8 text"));
        assert!(Sources::new(None, [(OsString::from("LS_COLORS"), value)]).is_ok(), "what is not ours");
    }
}

#[test]
fn every_setting_has_a_row_in_the_readme() {
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md")).unwrap();
    // One cell may name several settings: `hashing.threads`, `.queue`.
    let cells: Vec<HashSet<_>> = readme
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split(" | ").next())
        .map(|cell| cell.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect())
        .collect();
    let settings = describe(&sources(None, &[]).unwrap()).unwrap();
    assert!(settings.len() > 40, "{settings:?}");
    for setting in settings {
        let key = setting.split(' ').next().unwrap();
        let has_row = cells.iter().any(|words| key.split('.').all(|part| words.contains(part)));
        assert!(has_row, "add a row for {key} to the table of settings in README.md");
    }
}
