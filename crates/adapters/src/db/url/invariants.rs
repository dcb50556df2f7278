//! What holds of everything that an operator may write as the URL of the database.
#![expect(
    clippy::expect_used,
    reason = "it is about the input: a text that is no longer one breaks an invariant"
)]

use super::*;

/// What parses parses again as the same, and is what was written with options added; it waits for nothing without bound,
/// leaves libpq no address to look for elsewhere unless it names a service, and no text shows who logs in.
///
/// # Panics
/// Where it does not hold.
pub fn holds(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    let Ok(url) = DatabaseUrl::parse(text) else { return };
    let shown = format!("{url} {url:?}");
    match url {
        DatabaseUrl::Sqlite(path) => {
            assert_eq!(format!("sqlite://{}", path.to_str().expect("it was text")), text);
            assert_eq!(shown, format!("{text} DatabaseUrl({text})"));
        }
        DatabaseUrl::Postgres(url) => {
            let bounded = url.as_str();
            let added = bounded.strip_prefix(text).expect("options stand at the end");
            assert!(added.is_empty() || added.starts_with(['?', '&']), "{added}");
            let complete = PostgresParts::of(bounded);
            for option in ["connect_timeout", "keepalives_idle", "tcp_user_timeout"] {
                assert!(complete.option(option).is_some(), "{option}");
            }
            let names_host = complete.name_hosts() || complete.option("host").is_some();
            let is_pinned = names_host && complete.option("hostaddr").is_some();
            assert!(is_pinned || complete.option("service").is_some(), "{bounded}");
            let again = DatabaseUrl::parse(bounded).expect("it parses again");
            assert!(matches!(again, DatabaseUrl::Postgres(again) if again.as_str() == bounded), "{bounded}");
            for host in hosts::hosts_of(bounded).expect("it was split before") {
                let one = PostgresParts::of(&host.url);
                let is_pinned = one.option("hostaddr").is_some() || one.option("service").is_some();
                assert!(DatabaseUrl::parse(&host.url).is_ok() && is_pinned, "{bounded}");
                assert_eq!(hosts::hosts_of(&host.url).map(|hosts| hosts.len()), Ok(1), "{bounded}");
            }

            let parts = PostgresParts::of(text);
            let expected = format!("postgres://{}/{}", parts.hosts, parts.database);
            assert_eq!(shown, format!("{expected} DatabaseUrl({expected})"));
            assert!(!shown.contains(['@', '?']), "{shown}");
        }
    }
}

#[cfg(test)]
mod tests {
    use portcullis_testkit::replay;

    #[test]
    fn it_holds_near_the_seeds() {
        replay(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/seeds/database_url"), 20_000, super::holds);
    }
}
