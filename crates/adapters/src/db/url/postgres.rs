//! PostgreSQL URLs: what is refused before libpq sees it, and the options that are added.

use super::options::{self, HAS_TLS};
use super::{DatabaseUrl, InvalidDatabaseUrl, PostgresUrl};

pub(super) fn parse(url: &str, rest: &str) -> Result<DatabaseUrl, InvalidDatabaseUrl> {
    if !rest.starts_with("//") {
        return Err(InvalidDatabaseUrl::Scheme);
    }
    let parts = PostgresParts::of(url);
    if !parts.is_unambiguous() {
        return Err(InvalidDatabaseUrl::Postgres);
    }
    if !parts.options_are_plain() {
        return Err(InvalidDatabaseUrl::Options);
    }
    if !parts.ports_are_ports() {
        return Err(InvalidDatabaseUrl::Port);
    }
    parts.options().flatten().try_for_each(|(name, value)| options::check(name, &decoded(value)))?;
    parts.check_encryption(HAS_TLS)?;
    let mut complete = url.to_owned();
    let mut set_unless_given = |option, value| {
        if parts.option(option).is_none() {
            complete.push(if complete.contains('?') { '&' } else { '?' });
            complete.extend([option, "=", value]);
        }
    };
    if parts.option("service").is_none() {
        // What is given, be it nothing, libpq does not look for in its variables.
        if !parts.name_hosts() {
            set_unless_given("host", "");
        }
        set_unless_given("hostaddr", "");
    }
    // Nothing waits without bound: not the connect, and not a read from a server that vanished.
    for (option, value) in [
        ("connect_timeout", "3"),
        ("keepalives_idle", "5"),
        ("keepalives_interval", "3"),
        ("keepalives_count", "3"),
        ("tcp_user_timeout", "3000"),
    ] {
        set_unless_given(option, value);
    }
    PostgresUrl::new(complete).map(DatabaseUrl::Postgres)
}

/// Checks that the files that a URL names by its options can be read. libpq ignores some of them if they are missing.
pub(super) fn check_files(url: &str) -> Result<(), InvalidDatabaseUrl> {
    let parts = PostgresParts::of(url);
    if !HAS_TLS || parts.option("sslmode") == Some("disable") {
        return Ok(());
    }
    for option in FILE_OPTIONS {
        let Some(path) = parts.option(option).map(decoded).filter(|path| !path.is_empty()) else {
            continue;
        };
        if option == "sslrootcert" && path == "system" {
            continue;
        }
        std::fs::File::open(&path).map_err(|error| {
            let reason = format!("{path}: {error}");
            InvalidDatabaseUrl::File { option, reason }
        })?;
    }
    Ok(())
}

/// The parts of a PostgreSQL URL that matter here; libpq parses the rest.
pub(super) struct PostgresParts<'a> {
    pub(super) user: Option<&'a str>,
    pub(super) hosts: &'a str,
    pub(super) database: &'a str,
    options: Option<&'a str>,
}

impl<'a> PostgresParts<'a> {
    pub(super) fn of(url: &'a str) -> Self {
        let rest = url.split_once("://").map_or("", |(_, rest)| rest);
        let (before_options, options) = match rest.split_once('?') {
            Some((before, options)) => (before, Some(options)),
            None => (rest, None),
        };
        let (authority, database) = before_options.split_once('/').unwrap_or((before_options, ""));
        let (user, hosts) = match authority.split_once('@') {
            Some((user, hosts)) => (Some(user), hosts),
            None => (None, authority),
        };
        Self { user, hosts, database, options }
    }

    /// Whether the user or an option comes with a password.
    pub(super) fn has_password(&self) -> bool {
        self.user.is_some_and(|user| user.contains(':'))
            || ["password", "sslpassword"].into_iter().any(|option| self.option(option).is_some())
    }

    /// Whether libpq cannot split it differently, and print a part of a password in its error as a host or a port.
    fn is_unambiguous(&self) -> bool {
        let hosts_are_hosts = self.hosts.split(',').all(|host| {
            let after_address = host.rsplit_once(']').map_or(host, |(_, rest)| rest);
            let port = after_address.split_once(':').map_or("", |(_, port)| port);
            port.bytes().all(|byte| byte.is_ascii_digit())
        });
        let parts =
            [self.user.unwrap_or_default(), self.hosts, self.database, self.options.unwrap_or_default()];
        // An `@` among the options may be the end of a password with a raw `?`.
        let options_have_at = self.options.is_some_and(|options| options.contains('@'));
        let no_stray_at =
            !self.hosts.contains('@') && !self.database.contains(['@', '/']) && !options_have_at;
        hosts_are_hosts && no_stray_at && parts.into_iter().all(is_percent_encoded)
    }

    /// Whether each option has a name that needs no decoding, and none comes twice: libpq takes the last.
    fn options_are_plain(&self) -> bool {
        let names: Vec<_> = self.options().map(|option| option.map(|(name, _)| name)).collect();
        let is_plain = |name: &str| !name.is_empty() && !name.contains('%');
        names.iter().enumerate().all(|(n, name)| name.is_some_and(is_plain) && !names[..n].contains(name))
    }

    /// Whether every port in the authority is a port number.
    fn ports_are_ports(&self) -> bool {
        self.hosts.split(',').all(|host| {
            let after_address = host.rsplit_once(']').map_or(host, |(_, rest)| rest);
            let port = after_address.split_once(':').map_or("", |(_, port)| port);
            port.is_empty() || port.parse::<u16>().is_ok_and(|port| port > 0)
        })
    }

    pub(super) fn option(&self, name: &str) -> Option<&'a str> {
        self.options().flatten().find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// Each option's name and value; `None` for what is no option.
    pub(super) fn options(&self) -> impl Iterator<Item = Option<(&'a str, &'a str)>> + use<'a> {
        self.options.into_iter().flat_map(|options| options.split('&')).map(|option| option.split_once('='))
    }

    /// Whether libpq takes the authority for a host, or for more than one: a port alone is none.
    pub(super) fn name_hosts(&self) -> bool {
        self.hosts.contains(',') || !(self.hosts.is_empty() || self.hosts.starts_with(':'))
    }

    /// Whether nothing goes unencrypted to another machine unasked, in a build that can encrypt or not.
    fn check_encryption(&self, has_tls: bool) -> Result<(), InvalidDatabaseUrl> {
        match self.option("sslmode") {
            Some("disable") => Ok(()),
            Some("require" | "verify-ca" | "verify-full") if has_tls => Ok(()),
            Some("require" | "verify-ca" | "verify-full") if self.is_local() => {
                Err(InvalidDatabaseUrl::NoTls)
            }
            None | Some("allow" | "prefer") if self.is_local() => Ok(()),
            None | Some("allow" | "prefer") if has_tls => Err(InvalidDatabaseUrl::UnsureSslMode),
            None | Some("allow" | "prefer" | "require" | "verify-ca" | "verify-full") => {
                Err(InvalidDatabaseUrl::PlainTextPostgres)
            }
            Some(_) => Err(InvalidDatabaseUrl::SslMode),
        }
    }

    /// Whether every server named is this machine: a socket directory, `localhost` or a loopback address.
    fn is_local(&self) -> bool {
        if self.option("service").is_some() {
            // The server is named in a file elsewhere.
            return false;
        }
        let named = [Some(self.hosts), self.option("host"), self.option("hostaddr")];
        named.into_iter().flatten().flat_map(|hosts| hosts.split(',')).all(|host| {
            let host = match host.strip_prefix('[') {
                Some(v6) => v6.split_once(']').map_or(v6, |(address, _)| address),
                None => host
                    .split_once(':')
                    .filter(|(_, port)| !port.contains(':'))
                    .map_or(host, |(name, _)| name),
            };
            let is_socket_dir =
                host.is_empty() || host.starts_with('/') || host.to_ascii_lowercase().starts_with("%2f");
            let is_loopback = host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
            is_socket_dir || is_loopback || host == "localhost"
        })
    }
}

/// Whether every `%` is followed by two hexadecimal digits, and there are no characters that a URL never has.
fn is_percent_encoded(part: &str) -> bool {
    let escapes = part.split('%').skip(1);
    let has_digits =
        |rest: &str| rest.get(..2).is_some_and(|two| two.bytes().all(|byte| byte.is_ascii_hexdigit()));
    escapes.into_iter().all(has_digits) && !part.contains(|c: char| c.is_control() || c == ' ')
}

/// A value of an option with its percent-encoding undone, as libpq reads it. A value that is not UTF-8 then stays encoded.
pub(super) fn decoded(value: &str) -> String {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let [first, tail @ ..] = rest {
        let digits = tail.get(..2).and_then(|two| str::from_utf8(two).ok());
        let escaped = digits.filter(|_| *first == b'%').and_then(|two| u8::from_str_radix(two, 16).ok());
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8(bytes).unwrap_or_else(|_| value.to_owned())
}

/// The options that name a file for TLS, which must exist.
const FILE_OPTIONS: [&str; 4] = ["sslrootcert", "sslcert", "sslkey", "sslcrl"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_local_servers_may_be_plain_text_unasked() {
        let local = [
            "postgres://localhost/p",
            "postgres://user:pw@127.0.0.1:5433/p",
            "postgresql://u@[::1]:5432/p",
            "postgres:///p?host=/run/postgresql",
            "postgres://%2Frun%2Fpostgresql/p",
            "postgres://db.internal/p?sslmode=disable",
        ];
        let remote = [
            "postgres://db.internal/p",
            "postgres://localhost,db/p",
            "postgres://u:p@10.0.0.1:5432/p",
            "postgres:///p?host=db",
            "postgres://localhost/p?hostaddr=10.0.0.1",
            "postgres://[2001:db8::1]/p?sslmode=prefer",
            "postgres:///p?service=there",
            "postgres://db.internal/p?sslmode=allow",
        ];
        let encrypted = ["require", "verify-ca", "verify-full"]
            .map(|mode| format!("postgres://db.internal/p?sslmode={mode}"));
        let plain = InvalidDatabaseUrl::PlainTextPostgres;
        for (has_tls, unsure) in [(false, plain.clone()), (true, InvalidDatabaseUrl::UnsureSslMode)] {
            let check = |url: &str| PostgresParts::of(url).check_encryption(has_tls);
            assert!(local.into_iter().all(|url| check(url).is_ok()), "{has_tls}");
            assert!(remote.into_iter().all(|url| check(url) == Err(unsure.clone())), "{has_tls}");
            let expected = if has_tls { Ok(()) } else { Err(plain.clone()) };
            assert!(encrypted.iter().all(|url| check(url) == expected), "{has_tls}");
            let expected = if has_tls { Ok(()) } else { Err(InvalidDatabaseUrl::NoTls) };
            assert_eq!(check("postgres://localhost/p?sslmode=require"), expected);
        }
        assert_eq!(DatabaseUrl::parse(local[0]).err(), None);
        assert!(DatabaseUrl::parse(remote[0]).is_err());
    }

    #[test]
    fn what_could_be_split_in_two_ways_is_refused() {
        for url in [
            "postgres://u:hunter2%zz@localhost/x",
            "postgres://u:hunter2%@localhost/x",
            "postgres://u:hun/ter2@localhost:1/x",
            "postgres://u:hun@ter2@localhost/x",
            "postgres://u:hunter2/x",
            "postgres://u:hunter 2@localhost/x",
            "postgres://localhost/x/y",
        ] {
            assert_eq!(DatabaseUrl::parse(url).err(), Some(InvalidDatabaseUrl::Postgres), "{url}");
        }
        assert!(DatabaseUrl::parse("postgres://u:hun%40t%2Fer%252@localhost,[::1]:5433/x").is_ok());
        for options in [
            "host=localhost&host=db.internal",
            "%68ost=db.internal",
            "sslmode=disable&sslmode=allow",
            "connect_timeout",
            "connect_timeout=1&",
            "",
        ] {
            let url = format!("postgres:///x?{options}");
            assert_eq!(DatabaseUrl::parse(&url).err(), Some(InvalidDatabaseUrl::Options), "{url}");
        }
        let unknown = DatabaseUrl::parse("postgres://localhost/x?sslmode=bogus");
        assert_eq!(unknown.err(), Some(InvalidDatabaseUrl::SslMode));
        for hosts in ["localhost:0", "localhost:99999", "localhost:1,localhost:65536", "[::1]:0", ":0"] {
            let url = format!("postgres://{hosts}/x");
            assert_eq!(DatabaseUrl::parse(&url).err(), Some(InvalidDatabaseUrl::Port), "{url}");
        }
    }

    #[test]
    fn an_option_that_libpq_refuses_is_refused() {
        for (options, named) in [
            ("pgbouncer=true", "pgbouncer"),
            ("connect_timeout=3&connection_limit=5", "connection_limit"),
            ("ssl=true", "sslmode"),
            ("port=abc", "port"),
            ("port=%30", "port"),
            ("target_session_attrs=read%2Donly", "target_session_attrs"),
        ] {
            let text =
                DatabaseUrl::parse(&format!("postgres://u:hunter2@localhost/x?{options}")).unwrap_err();
            let text = text.to_string();
            assert!(text.contains(named) && !text.contains("hunter2"), "{options}: {text}");
        }
        assert!(DatabaseUrl::parse("postgres://localhost/x?target_session_attrs=read%2Dwrite").is_ok());
    }

    #[test]
    fn a_password_with_a_question_mark_is_not_repeated() {
        for url in ["postgres://u:pa?hunter2=x@localhost/x", "postgres://u:pa?hunter2@localhost/x"] {
            let text = DatabaseUrl::parse(url).unwrap_err().to_string();
            assert!(!text.contains("hunter2"), "{text}");
        }
    }

    #[test]
    fn text_shows_no_credentials_and_every_wait_is_bounded() {
        let url = DatabaseUrl::parse("postgres://me:hunter2@localhost:5432/p?connect_timeout=1").unwrap();
        assert_eq!(
            format!("{url} {url:?}"),
            "postgres://localhost:5432/p DatabaseUrl(postgres://localhost:5432/p)"
        );
        let bounds = "keepalives_idle=5&keepalives_interval=3&keepalives_count=3&tcp_user_timeout=3000";
        assert_eq!(
            options("localhost:5432/p?connect_timeout=1"),
            format!("connect_timeout=1&hostaddr=&{bounds}")
        );
        assert_eq!(options("localhost/p"), format!("hostaddr=&connect_timeout=3&{bounds}"));
    }

    #[test]
    fn the_url_alone_says_where_the_server_is() {
        for (url, pinned) in [
            ("localhost/p", "hostaddr="),
            ("/p", "host=&hostaddr="),
            (":5433/p", "host=&hostaddr="),
            ("me@:5433/p", "host=&hostaddr="),
            (":5433,:5434/p", "hostaddr="),
            ("/p?host=/run/postgresql", "host=/run/postgresql&hostaddr="),
            ("/p?hostaddr=127.0.0.1", "hostaddr=127.0.0.1&host="),
            ("/p?service=there&sslmode=disable", "service=there&sslmode=disable"),
        ] {
            let options = options(url);
            assert_eq!(options.split_once("&connect_timeout").unwrap().0, pinned, "{url}");
        }
    }

    /// What libpq is told of this URL after its scheme.
    fn options(rest: &str) -> String {
        let Ok(DatabaseUrl::Postgres(url)) = DatabaseUrl::parse(&format!("postgres://{rest}")) else {
            panic!("PostgreSQL")
        };
        url.as_str().split_once('?').unwrap().1.to_owned()
    }
}
