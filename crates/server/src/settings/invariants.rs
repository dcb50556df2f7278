//! What holds of everything that files and environment variables may say.
#![expect(clippy::expect_used, reason = "it is about the settings, not about the file that they stand in")]

use std::convert::Infallible;
use std::ffi::OsString;
use std::fs;

use super::*;

/// What is accepted lies within the bounds that are documented, and has a secret where one is needed; what is said about
/// settings, accepted or not, is a line each without control characters, and the same whatever the secrets are.
///
/// The input is variables, a line each, then an empty line and a file in TOML. (No variable or setting that names another
/// file is taken.) The file's first line begins with `secret = ".."`, so that what is wrong there would be quoted with it.
pub(crate) fn holds(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    let (variables, file) = text.split_once("\n\n").unwrap_or((text, ""));
    let Some(one) = told(variables, file, "pcs_kCaD3cvDJhSoAWdL8fbAfYwTXiWyOo4nPoXAw0GDJ5Q") else { return };
    let another = told(variables, file, "pcs_ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8");
    assert_eq!(Some(&one), another.as_ref(), "no text depends on a secret");
    for line in one {
        assert!(!line.contains(char::is_control), "{line:?}");
    }
}

/// All that is said about the settings with this secret; `None` where they name a file.
fn told(variables: &str, file: &str, secret: &str) -> Option<Vec<String>> {
    let path = std::env::temp_dir().join(format!("portcullis-settings-{}.toml", std::process::id()));
    fs::write(&path, format!("secret = \"{secret}\" {file}")).expect("it can be written");
    let pairs = variables.lines().filter_map(|line| line.split_once('='));
    let names_a_file =
        |name: &str| name.ends_with("_FILE") || name.ends_with("_CONFIG") || name.ends_with("_DEFAULTS");
    let pairs = pairs.filter(|(name, _)| !names_a_file(name));
    let url = format!("postgres://portcullis:{secret}@localhost/portcullis");
    let pairs =
        [("DATABASE_URL", url.as_str()), ("PORTCULLIS_ACCEPTED_SECRETS", secret)].into_iter().chain(pairs);
    let pairs = pairs.map(|(name, value)| (OsString::from(name), OsString::from(value)));

    let told = |error: InvalidSetting| vec![error.to_string()];
    let sources = match Sources::new(Some(path), pairs) {
        Ok(sources) => sources,
        Err(error) => return Some(told(error)),
    };
    let values = match Values::load(&sources) {
        Ok(values) => values,
        Err(error) => return Some(told(error)),
    };
    if let Ok(Some(_file)) =
        values.optional("password.common_file", |path| Ok::<_, Infallible>(path.to_owned()))
    {
        return None;
    }
    let mut texts = values.describe();
    match Settings::load(&sources) {
        Ok(settings) => {
            check(&settings);
            texts.push(format!("{settings:?}"));
        }
        Err(error) => texts.extend(told(error)),
    }
    Some(texts)
}

/// The bounds, as `config/default.toml` tells them.
fn check(settings: &Settings) {
    let Settings { environment, secret, accepted_secrets, server, rules, .. } = settings;
    let needs_secret = !environment.is_development() || matches!(settings.database, DatabaseUrl::Postgres(_));
    assert!(secret.is_some() || !needs_secret);
    assert!(accepted_secrets.len() <= 8);
    if !environment.is_development() {
        assert!(secret.iter().chain(accepted_secrets).all(|secret| Secret::parse(secret.expose()).is_ok()));
    }

    assert!(
        server.public_url.starts_with("http") && !server.public_url.ends_with('/'),
        "{}",
        server.public_url
    );
    assert!((1..=1_024).contains(&server.workers));
    assert!((Duration::from_secs(1)..=Duration::from_hours(1)).contains(&server.keep_alive));
    assert!(server.drain_delay <= Duration::from_mins(10));
    assert!(server.shutdown_timeout <= Duration::from_hours(1));
    assert!((1..=1_000).contains(&settings.pool.size));

    let lifetimes = rules.lifetimes;
    assert!((Duration::from_secs(1)..=Duration::from_hours(1)).contains(&lifetimes.access));
    assert!(
        lifetimes.refresh_idle >= Duration::from_mins(1)
            && lifetimes.refresh_idle <= lifetimes.refresh_absolute
    );
    assert!(lifetimes.refresh_grace <= Duration::from_mins(1));
    assert!(rules.password.min_length >= 8);
    assert!(rules.max_sessions_per_user.get() <= 1_000);

    assert!(settings.tokens.cache <= 1_000_000);
    if let HashScheme::BcryptSha256 { cost } = settings.hashing {
        assert!(cost.get() >= if environment.is_development() { 4 } else { 10 });
    }
    let day = Duration::from_hours(24);
    assert!(settings.audit.retention.is_none_or(|retention| retention >= day));
    let LimitsConfig { register, login, refresh, session_refresh, password, .. } = settings.limits;
    for quota in [register, login, refresh, session_refresh, password] {
        assert!((Duration::from_secs(1)..=day).contains(&quota.per));
    }
}

#[cfg(test)]
mod tests {
    use portcullis_testkit::replay;

    #[test]
    fn it_holds_near_the_seeds() {
        replay(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/seeds/settings"), 150, super::holds);
    }
}
