//! The hosts of a PostgreSQL URL, split as libpq splits them, and a URL for each.

use super::InvalidDatabaseUrl;
use super::postgres::{PostgresParts, decoded};

/// One server of a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::db) struct Host {
    /// Host and port for logs and errors.
    pub(in crate::db) name: String,
    /// The URL that leads to this server only. It may contain a password.
    pub(in crate::db) url: String,
}

/// Returns the hosts of a URL in their order. A URL with one host stays as it is, and so does one whose host only its
/// service names.
///
/// # Errors
/// [`InvalidDatabaseUrl::Hosts`] if libpq could not tell which port or address belongs to which host, and
/// [`InvalidDatabaseUrl::Port`] if a port is no number.
pub(super) fn hosts_of(url: &str) -> Result<Vec<Host>, InvalidDatabaseUrl> {
    let parts = PostgresParts::of(url);
    let name_list = match parts.option("host") {
        Some(given) => decoded(given),
        None => {
            parts.hosts.split(',').map(|host| decoded(host_and_port(host).0)).collect::<Vec<_>>().join(",")
        }
    };
    let port_list = match parts.option("port") {
        Some(given) => decoded(given),
        None => parts.hosts.split(',').map(|host| host_and_port(host).1).collect::<Vec<_>>().join(","),
    };
    let address_list = parts.option("hostaddr").map(decoded).unwrap_or_default();
    let (names, numbers, addresses) = (items(&name_list), items(&port_list), items(&address_list));
    if !numbers.iter().all(|number| number.bytes().all(|byte| byte.is_ascii_digit())) {
        return Err(InvalidDatabaseUrl::Port);
    }
    let count = if addresses.is_empty() { names.len().max(1) } else { addresses.len() };
    let has_mismatch = |items: &[&str], may_be_one: bool| {
        !items.is_empty() && items.len() != count && !(may_be_one && items.len() == 1)
    };
    if has_mismatch(&names, false) || has_mismatch(&numbers, true) {
        return Err(InvalidDatabaseUrl::Hosts);
    }
    // A port applies to all hosts if it is the only one.
    let item = |items: &[&str], index: usize| match items {
        [only] => (*only).to_owned(),
        items => items.get(index).copied().unwrap_or_default().to_owned(),
    };
    let host = |index| {
        let (name, port, address) = (item(&names, index), item(&numbers, index), item(&addresses, index));
        Host {
            url: if count == 1 { url.to_owned() } else { parts.with_only(&name, &port, &address) },
            name: shown(if name.is_empty() { &address } else { &name }, &port),
        }
    };
    Ok((0..count).map(host).collect())
}

/// The items of one of libpq's lists. An empty text is no list.
fn items(list: &str) -> Vec<&str> {
    if list.is_empty() { Vec::new() } else { list.split(',').collect() }
}

/// Splits an item of the authority into its host, without the brackets of an IPv6 address, and its port.
fn host_and_port(item: &str) -> (&str, &str) {
    match item.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) => (address, rest.strip_prefix(':').unwrap_or_default()),
        None => item.split_once(':').unwrap_or((item, "")),
    }
}

fn shown(host: &str, port: &str) -> String {
    let host = if host.is_empty() { "the default socket" } else { host };
    match port {
        "" => host.to_owned(),
        port if host.contains(':') => format!("[{host}]:{port}"),
        port => format!("{host}:{port}"),
    }
}

impl PostgresParts<'_> {
    /// The same URL for one host. Whether the server is a primary is asked of it later, so libpq must not judge that by
    /// its option or its variable.
    fn with_only(&self, host: &str, port: &str, address: &str) -> String {
        let user = self.user.map(|user| format!("{user}@")).unwrap_or_default();
        let kept = self.options().flatten().filter(|(name, _)| !REPLACED.contains(name));
        let kept = kept.flat_map(|(name, value)| [name, "=", value, "&"]).collect::<String>();
        format!(
            "postgres://{user}/{}?{kept}host={}&port={}&hostaddr={}&target_session_attrs=any",
            self.database,
            encoded(host),
            encoded(port),
            encoded(address)
        )
    }
}

fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'-' | b':' | b'/' => {
                char::from(byte).to_string()
            }
            byte => format!("%{byte:02X}"),
        })
        .collect()
}

/// The options that a URL for one host has with values of its own.
const REPLACED: [&str; 4] = ["host", "port", "hostaddr", "target_session_attrs"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::DatabaseUrl;

    fn hosts(url: &str) -> Vec<Host> {
        match DatabaseUrl::parse(url) {
            Ok(DatabaseUrl::Postgres(url)) => hosts_of(url.as_str()).unwrap(),
            other => panic!("{url}: {other:?}"),
        }
    }

    /// Name, host, port and address of each host.
    fn targets(url: &str) -> Vec<String> {
        hosts(url)
            .iter()
            .map(|host| {
                let parts = PostgresParts::of(&host.url);
                let option = |name| parts.option(name).unwrap_or("-");
                format!("{} {} {} {}", host.name, option("host"), option("port"), option("hostaddr"))
            })
            .collect()
    }

    #[test]
    fn each_host_gets_its_own_url() {
        for (url, expected) in [
            ("postgres://a,b/p?sslmode=disable", &["a a  ", "b b  "][..]),
            ("postgres://a:1,b/p?sslmode=disable", &["a:1 a 1 ", "b b  "]),
            ("postgres://[::1]:1,127.0.0.1:2/p", &["[::1]:1 ::1 1 ", "127.0.0.1:2 127.0.0.1 2 "]),
            ("postgres:///p?host=a,b&port=1,2&sslmode=disable", &["a:1 a 1 ", "b:2 b 2 "]),
            ("postgres:///p?host=a,b&port=7&sslmode=disable", &["a:7 a 7 ", "b:7 b 7 "]),
            ("postgres:///p?host=%2Frun%2Fa,%2Frun%2Fb", &["/run/a /run/a  ", "/run/b /run/b  "]),
            ("postgres:///p?host=a%2Cb&sslmode=disable", &["a a  ", "b b  "]),
            ("postgres:///p?hostaddr=127.0.0.1,::1&port=1,", &["127.0.0.1:1  1 127.0.0.1", "::1   ::1"]),
            (
                "postgres://a:1,b:2/p?hostaddr=127.0.0.1,127.0.0.2&sslmode=disable",
                &["a:1 a 1 127.0.0.1", "b:2 b 2 127.0.0.2"],
            ),
            (
                "postgres://:5433,:5434/p",
                &["the default socket:5433  5433 ", "the default socket:5434  5434 "],
            ),
        ] {
            assert_eq!(targets(url), expected, "{url}");
        }
    }

    #[test]
    fn urls_of_hosts_keep_user_database_and_options() {
        let url =
            "postgres://me:hunter%402@a,b/p?sslmode=disable&application_name=x&target_session_attrs=primary";
        let [first, _] = hosts(url).try_into().unwrap();
        let bounds = "connect_timeout=3&keepalives_idle=5&keepalives_interval=3&keepalives_count=3&tcp_user_timeout=3000";
        assert_eq!(
            first.url,
            format!(
                "postgres://me:hunter%402@/p?sslmode=disable&application_name=x&{bounds}&host=a&port=&hostaddr=&\
                 target_session_attrs=any"
            )
        );
        assert_eq!(first.name, "a");
        assert!(DatabaseUrl::parse(&first.url).is_ok());
    }

    // The certificate of each server must name the host by which that server is reached.
    #[cfg(feature = "postgres-tls")]
    #[test]
    fn verify_full_checks_the_name_of_each_host() {
        let hosts = hosts("postgres://a.example,b.example/p?sslmode=verify-full&sslrootcert=/ca.pem");
        for (host, name) in hosts.iter().zip(["a.example", "b.example"]) {
            let parts = PostgresParts::of(&host.url);
            let option = |name| parts.option(name).unwrap();
            assert_eq!((option("host"), option("sslmode"), option("hostaddr")), (name, "verify-full", ""));
            assert_eq!(option("sslrootcert"), "/ca.pem");
        }
    }

    #[test]
    fn a_url_with_one_host_stays_as_it_is() {
        for url in [
            "postgres://localhost:5433/p?target_session_attrs=primary",
            "postgres:///p",
            "postgres:///p?host=/run/postgresql",
            "postgres:///p?service=there&sslmode=disable",
        ] {
            let [host] = hosts(url).try_into().unwrap();
            assert!(host.url.starts_with(url), "{}", host.url);
        }
    }

    #[test]
    fn lists_of_different_lengths_are_refused() {
        for url in [
            "postgres:///p?host=a,b&port=1,2,3&sslmode=disable",
            "postgres://a,b/p?hostaddr=127.0.0.1&sslmode=disable",
            "postgres://a/p?hostaddr=127.0.0.1,127.0.0.2&sslmode=disable",
            "postgres://localhost/p?port=1,2",
        ] {
            assert_eq!(DatabaseUrl::parse(url).err(), Some(InvalidDatabaseUrl::Hosts), "{url}");
        }
    }
}
