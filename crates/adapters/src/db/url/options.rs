//! The options that the bundled libpq (18) accepts in a connection URI, and their allowed values.
//!
//! libpq refuses an unknown option or value at every connect. Checking them here aborts startup instead.

use super::InvalidDatabaseUrl;

/// Checks one option of a URL.
///
/// # Errors
/// [`InvalidDatabaseUrl::UnknownOption`], [`InvalidDatabaseUrl::PoolSizeOption`] or
/// [`InvalidDatabaseUrl::OptionValue`]. None repeats the value.
pub(super) fn check(name: &str, value: &str) -> Result<(), InvalidDatabaseUrl> {
    let Some((known, values)) = KNOWN.iter().find(|(known, _)| *known == name) else {
        if POOL_SIZES.iter().any(|size| size.eq_ignore_ascii_case(name)) {
            return Err(InvalidDatabaseUrl::PoolSizeOption { name: name.to_owned() });
        }
        let advice = advice(name);
        return Err(InvalidDatabaseUrl::UnknownOption { name: printable(name), advice });
    };
    match values.refuse(value) {
        Some(expected) => Err(InvalidDatabaseUrl::OptionValue { name: known, expected }),
        None => Ok(()),
    }
}

/// Whether this build's libpq can encrypt.
pub(super) const HAS_TLS: bool = cfg!(feature = "postgres-tls");

/// The values that an option may have.
enum Values {
    /// Any text; the server judges it.
    Text,
    /// One of these.
    OneOf(&'static [&'static str]),
    /// A whole number of this size at least.
    AtLeast(i32),
    /// Port numbers, separated by commas. An empty one is the default port.
    Ports,
    /// IP addresses, separated by commas.
    Addresses,
    /// One of the first values. libpq knows the second values too, but no build of this service can use them, for this reason.
    OneOfBut(&'static [&'static str], &'static [&'static str], &'static str),
    /// One of the first values or, in a build with TLS, one of the second.
    WithTls(&'static [&'static str], &'static [&'static str]),
    /// None: the service cannot work with this option, for this reason.
    Refused(&'static str),
}

impl Values {
    /// Returns what is expected instead of `value`; `None` if the value is fine.
    fn refuse(&self, value: &str) -> Option<String> {
        let one_of = |values: &[&str]| format!("must be {}", values.join(", "));
        match self {
            Self::Text => None,
            Self::OneOf(values) => (!values.contains(&value)).then(|| one_of(values)),
            Self::AtLeast(least) => {
                let number = value.parse::<i32>().ok().filter(|number| number >= least);
                number.is_none().then(|| format!("must be a whole number from {least}"))
            }
            Self::Ports => {
                let is_port = |port: &str| port.is_empty() || port.parse::<u16>().is_ok_and(|port| port > 0);
                (!value.split(',').all(is_port)).then(|| "must be a number from 1 to 65535".to_owned())
            }
            Self::Addresses => {
                let is_address =
                    |address: &str| address.is_empty() || address.parse::<std::net::IpAddr>().is_ok();
                (!value.split(',').all(is_address)).then(|| "must be an IP address".to_owned())
            }
            Self::OneOfBut(_, refused, reason) if refused.contains(&value) => Some((*reason).to_owned()),
            Self::OneOfBut(values, ..) => (!values.contains(&value)).then(|| one_of(values)),
            Self::WithTls(values, _) if values.contains(&value) => None,
            Self::WithTls(_, with_tls) if with_tls.contains(&value) => {
                (!HAS_TLS).then(|| "asks for TLS, which this build (without postgres-tls) lacks".to_owned())
            }
            Self::WithTls(values, with_tls) => Some(one_of(&[*values, *with_tls].concat())),
            Self::Refused(reason) => Some((*reason).to_owned()),
        }
    }
}

/// Returns the name if no part of a password can hide in it. A name with other characters is not repeated.
fn printable(name: &str) -> Option<String> {
    let is_word = name.len() <= 40 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    is_word.then(|| name.to_owned())
}

/// Returns what to do about an unknown option.
fn advice(name: &str) -> String {
    let foreign =
        FOREIGN.iter().find(|(names, _)| names.iter().any(|foreign| foreign.eq_ignore_ascii_case(name)));
    if let Some((_, advice)) = foreign {
        return (*advice).to_owned();
    }
    let plain = |name: &str| name.to_ascii_lowercase().replace('_', "");
    let distance = |known: &str| strsim::damerau_levenshtein(&plain(known), &plain(name));
    let nearest = KNOWN.iter().map(|(known, _)| (distance(known), known)).min();
    match nearest {
        Some((0..=2, known)) => format!("did you mean {known}?"),
        _ => "leave it out".to_owned(),
    }
}

const SWITCH: Values = Values::OneOf(&["0", "1"]);

const TLS_VERSIONS: Values = Values::OneOf(&["TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"]);

const PROTOCOL_VERSIONS: Values = Values::OneOf(&["3.0", "3.2", "latest"]);

const READS_ONLY: &str = "must be any, primary or read-write: the service writes to its database";

/// `PQconninfoOptions` in `fe-connect.c` of libpq 18, without `sslmode`, which is checked together with the host.
const KNOWN: &[(&str, Values)] = &[
    ("application_name", Values::Text),
    ("channel_binding", Values::WithTls(&["disable", "prefer"], &["require"])),
    // Diesel always sets UTF8 after it connected, but the server refuses to connect with an unknown encoding.
    ("client_encoding", Values::OneOf(&["UTF8", "utf8", "UTF-8", "utf-8", "auto"])),
    // Zero or less means no timeout.
    ("connect_timeout", Values::AtLeast(1)),
    ("dbname", Values::Text),
    ("fallback_application_name", Values::Text),
    ("gssdelegation", SWITCH),
    (
        "gssencmode",
        Values::OneOfBut(
            &["disable", "prefer"],
            &["require"],
            "asks for GSSAPI, which no build of this service has",
        ),
    ),
    ("gsslib", Values::Text),
    ("host", Values::Text),
    ("hostaddr", Values::Addresses),
    ("keepalives", SWITCH),
    ("keepalives_count", Values::AtLeast(0)),
    ("keepalives_idle", Values::AtLeast(0)),
    ("keepalives_interval", Values::AtLeast(0)),
    ("krbsrvname", Values::Text),
    ("load_balance_hosts", Values::OneOf(&["disable", "random"])),
    ("max_protocol_version", PROTOCOL_VERSIONS),
    ("min_protocol_version", PROTOCOL_VERSIONS),
    ("oauth_client_id", Values::Text),
    ("oauth_client_secret", Values::Text),
    ("oauth_issuer", Values::Text),
    ("oauth_scope", Values::Text),
    ("options", Values::Text),
    ("passfile", Values::Text),
    ("password", Values::Text),
    ("port", Values::Ports),
    (
        "replication",
        Values::Refused("opens a connection for replication, which cannot run the service's statements"),
    ),
    ("require_auth", Values::Text),
    ("requirepeer", Values::Text),
    ("scram_client_key", Values::Text),
    ("scram_server_key", Values::Text),
    ("service", Values::Text),
    ("ssl_max_protocol_version", TLS_VERSIONS),
    ("ssl_min_protocol_version", TLS_VERSIONS),
    ("sslcert", Values::Text),
    ("sslcertmode", Values::WithTls(&["disable", "allow"], &["require"])),
    ("sslcompression", SWITCH),
    ("sslcrl", Values::Text),
    ("sslcrldir", Values::Text),
    ("sslkey", Values::Text),
    (
        "sslkeylogfile",
        Values::Refused(
            "writes the keys of the connection to a file, which allows its readers to decrypt the connection",
        ),
    ),
    ("sslmode", Values::Text),
    ("sslnegotiation", Values::WithTls(&["postgres"], &["direct"])),
    ("sslpassword", Values::Text),
    ("sslrootcert", Values::Text),
    ("sslsni", SWITCH),
    (
        "target_session_attrs",
        Values::OneOfBut(
            &["any", "primary", "read-write"],
            &["read-only", "standby", "prefer-standby"],
            READS_ONLY,
        ),
    ),
    ("tcp_user_timeout", Values::AtLeast(0)),
    ("user", Values::Text),
];

/// Options by which other clients and drivers set the size of their pool.
const POOL_SIZES: [&str; 6] =
    ["connection_limit", "pool_size", "max_connections", "pool_max_conns", "pool_min_conns", "max"];

/// Options of other clients and drivers, with advice for each.
const FOREIGN: &[(&[&str], &str)] = &[
    (&["pgbouncer"], "it is Prisma's; leave it out"),
    (
        &[
            "pool_timeout",
            "socket_timeout",
            "socketTimeout",
            "statement_timeout",
            "lock_timeout",
            "idle_in_transaction_session_timeout",
            "query_timeout",
            "pool_recycle",
        ],
        "leave it out: the service bounds its waits itself",
    ),
    (
        &[
            "statement_cache_size",
            "statement_cache_capacity",
            "prepared_statement_cache_size",
            "prepareThreshold",
            "prepare",
            "prepared_statements",
            "binary_parameters",
            "default_query_exec_mode",
            "preparedStatementCacheQueries",
        ],
        "leave it out: the service manages its prepared statements itself",
    ),
    (
        &["currentSchema", "schema", "search_path", "searchPath"],
        "use options=-csearch_path%3DNAME to choose a schema",
    ),
    (
        &["ssl", "sslaccept", "ssl_mode", "usessl", "requiressl"],
        "use sslmode=verify-full, require or disable",
    ),
    (&["sslidentity", "sslfactory", "sslCertificate"], "use sslcert and sslkey"),
    (&["ssl_ca", "sslca", "sslRootCertificate", "rootcert"], "use sslrootcert"),
    (&["loginTimeout", "connectTimeout", "connect_timeout_ms"], "use connect_timeout, in seconds"),
    (&["tcpKeepAlive"], "use keepalives=1"),
    (&["targetServerType"], "use target_session_attrs=primary"),
    (&["loadBalanceHosts"], "use load_balance_hosts=random"),
    (&["username"], "use user"),
    (&["pass", "pwd", "passwd"], "use password"),
    (&["database", "db", "databaseName"], "use dbname, or write the name after the host"),
    (&["timezone"], "leave it out: the service works in UTC"),
    (&["encoding", "charset", "characterEncoding"], "leave it out: the service works in UTF-8"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(name: &str, value: &str) -> String {
        check(name, value).unwrap_err().to_string()
    }

    #[test]
    fn every_libpq_option_is_accepted_with_its_usual_value() {
        for (name, value) in [
            ("application_name", "auth"),
            ("channel_binding", "prefer"),
            ("connect_timeout", "10"),
            ("gssencmode", "disable"),
            ("hostaddr", "127.0.0.1,::1"),
            ("keepalives", "1"),
            ("load_balance_hosts", "random"),
            ("options", "-csearch_path%3Dauth"),
            ("port", "5432,,6432"),
            ("require_auth", "scram-sha-256"),
            ("ssl_min_protocol_version", "TLSv1.3"),
            ("sslnegotiation", "postgres"),
            ("target_session_attrs", "read-write"),
        ] {
            assert_eq!(check(name, value), Ok(()), "{name}={value}");
        }
    }

    #[test]
    fn values_that_libpq_refuses_are_refused() {
        for (name, value) in [
            ("port", "abc"),
            ("port", "0"),
            ("port", "99999"),
            ("port", "5432,-1"),
            ("connect_timeout", "x"),
            ("connect_timeout", ""),
            ("connect_timeout", "0"),
            ("connect_timeout", "10s"),
            ("keepalives", "on"),
            ("keepalives_idle", "-1"),
            ("tcp_user_timeout", "3s"),
            ("target_session_attrs", "bogus"),
            ("channel_binding", "yes"),
            ("gssencmode", "on"),
            ("hostaddr", "db.internal"),
            ("client_encoding", "LATIN1"),
            ("load_balance_hosts", "yes"),
            ("ssl_min_protocol_version", "1.3"),
            ("sslnegotiation", "indirect"),
            ("min_protocol_version", "2.0"),
        ] {
            let text = refusal(name, value);
            assert!(text.contains(name) && text.contains("must be"), "{name}={value}: {text}");
        }
    }

    #[test]
    fn options_that_no_instance_can_use_are_refused() {
        for (name, value) in [
            ("target_session_attrs", "read-only"),
            ("target_session_attrs", "standby"),
            ("target_session_attrs", "prefer-standby"),
            ("gssencmode", "require"),
            ("replication", "database"),
            ("sslkeylogfile", "/tmp/keys"),
        ] {
            assert!(refusal(name, value).contains(name), "{name}={value}");
        }
        for (name, value) in
            [("channel_binding", "require"), ("sslcertmode", "require"), ("sslnegotiation", "direct")]
        {
            assert_eq!(check(name, value).is_ok(), HAS_TLS, "{name}={value}");
        }
    }

    #[test]
    fn options_of_other_drivers_come_with_advice() {
        for (name, advice) in [
            ("pgbouncer", "Prisma's; leave it out"),
            ("connection_limit", "leave it out"),
            ("pool_timeout", "bounds its waits itself"),
            ("statement_cache_size", "prepared statements"),
            ("currentSchema", "options=-csearch_path%3DNAME"),
            ("schema", "options=-csearch_path%3DNAME"),
            ("ssl", "sslmode=verify-full"),
            ("sslMode", "did you mean sslmode?"),
            ("SSLMODE", "did you mean sslmode?"),
            ("aplication_name", "did you mean application_name?"),
            ("ApplicationName", "did you mean application_name?"),
            ("conect_timeout", "did you mean connect_timeout?"),
            ("whatever_this_is", "leave it out"),
        ] {
            let text = refusal(name, "true");
            assert!(text.contains(name) && text.contains(advice), "{name}: {text}");
        }
    }

    #[test]
    fn neither_a_value_nor_a_strange_name_is_repeated() {
        for (name, value) in
            [("port", "hunter2"), ("pgbouncer", "hunter2"), ("hunter2-x", "y"), ("hunter2@db/x", "")]
        {
            let text = refusal(name, value);
            assert!(!text.contains("hunter2"), "{text}");
        }
    }
}
