use std::ffi::OsString;
use std::fs;

use portcullis_domain::password::PasswordAttempt;
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

#[test]
fn the_binary_runs_alone() {
    let settings = load(None, &[]).unwrap();
    assert_eq!(settings.server.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(settings.server.public_url, "http://localhost:8080");
    assert_eq!(settings.tokens.issuer.as_str(), "http://localhost:8080");
    assert_eq!(settings.database.to_string(), "sqlite://data/portcullis.db");
    assert_eq!(settings.rules, Rules::default());
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
    assert_eq!(all.server.listen.to_string(), "[::1]:4000");
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
    let missing = refusal(&[("PORTCULLIS_SECRET_FILE", "/nonexistent/secret")]);
    assert!(missing.starts_with("PORTCULLIS_SECRET_FILE: cannot read /nonexistent/secret"), "{missing}");
    let not_a_secret = refusal(&[("PORTCULLIS_SERVER__LISTEN_FILE", path)]);
    assert!(not_a_secret.starts_with("unknown setting server.listen_file"), "{not_a_secret}");
}

#[test]
fn the_queue_is_as_long_as_the_threads_hash_in_a_second() {
    for (threads, cost, expected) in
        [("2", "12", 1), ("1", "12", 1), ("8", "12", 15), ("2", "14", 1), ("2", "10", 21)]
    {
        let variables = [("PORTCULLIS_HASHING__THREADS", threads), ("PORTCULLIS_HASHING__BCRYPT_COST", cost)];
        let lane = load(None, &variables).unwrap().password_lane;
        assert_eq!(lane.queue.get(), expected, "{threads} threads at cost {cost}");
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
        let attempt = PasswordAttempt::new("aCME-rocks-2026!".to_owned());
        assert_eq!(policy.accept(&attempt, "alice").unwrap_err(), [PasswordViolation::Common], "{preset}");
    }
    let refused = |reason: &str| {
        let refusal = refusal(&variables);
        assert!(refusal.starts_with("password.common_file ") && refusal.contains(path), "{refusal}");
        assert!(refusal.contains(reason), "{refusal}");
    };
    fs::write(&file, b"\xff\n").unwrap();
    refused("cannot be read: stream did not contain valid UTF-8");
    fs::write(&file, "x".repeat(20_000_001)).unwrap();
    refused("is longer than 20 MB");
    fs::remove_file(&file).unwrap();
    refused("cannot be read: No such file");
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
fn lists_are_separated_by_commas() {
    let variables = [
        ("PORTCULLIS_SERVER__TRUSTED_PROXIES", "10.0.0.0/8, ::1"),
        ("PORTCULLIS_ACCEPTED_SECRETS", GOOD_SECRET),
    ];
    let settings = load(None, &variables).unwrap();
    let expected = TrustedProxies::new(vec!["10.0.0.0/8".parse().unwrap(), "::1".parse().unwrap()]);
    assert_eq!(settings.server.trusted_proxies, expected);
    assert_eq!(settings.accepted_secrets.len(), 1);
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
            r#"server.workers = "many" (from PORTCULLIS_SERVER__WORKERS): must be a whole number from 0 to 1024"#,
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
            r#"tokens.algorithm = "HS256" (from PORTCULLIS_TOKENS__ALGORITHM): must be one of: EdDSA, ES256"#,
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
    assert!(refusal(&[("PORTCULLIS_ENV", "staging")]).starts_with("secret is not set"));
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
