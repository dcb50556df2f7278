//! What the database or its library said when it could not be used, and what an operator can do about it.

use std::error::Error as StdError;
use std::fmt;

use diesel::result::Error;
use portcullis_domain::ports::StoreError;

/// What the database or its library said, for the operator: one line. It may name host and user, never a password.
#[derive(Debug)]
pub struct DatabaseFailure(Box<dyn StdError + Send + Sync>);

impl DatabaseFailure {
    pub(super) fn new(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self(source.into())
    }

    /// Whether libpq refused to connect before it reached a server, so that waiting for the server cannot help.
    pub(super) fn is_refused_by_libpq(&self) -> bool {
        let text = self.0.to_string();
        let is_from_a_server = SERVERS_SEVERITIES.iter().any(|severity| text.contains(severity));
        !is_from_a_server && LIBPQ_REFUSALS.iter().any(|words| text.contains(words))
    }

    /// Returns advice for operators about a server that cannot be used; empty if there is none. Only English messages
    /// of servers are recognised.
    pub(super) fn advice(&self) -> &'static str {
        let text = self.0.to_string();
        let known = ADVICE.iter().find(|(words, _)| words.iter().any(|words| text.contains(words)));
        known.map_or("", |(_, advice)| advice)
    }

    /// Whether SQLite may mean that the file system lacks locks or shared memory.
    pub(super) fn may_be_the_file_system(&self) -> bool {
        let text = self.0.to_string();
        ["disk I/O error", "locking protocol"].iter().any(|words| text.contains(words))
    }

    /// Whether a PostgreSQL server answered that it has no such database. Where the server speaks another language than
    /// English, this is not recognised.
    pub(super) fn is_missing_database(&self) -> bool {
        let text = self.0.to_string();
        text.contains("FATAL:  database \"") && text.contains("\" does not exist")
    }

    /// Whether a SQLite file is only held by another process.
    pub(super) fn is_busy_file(&self) -> bool {
        self.0.to_string().contains("database is locked")
    }
}

impl fmt::Display for DatabaseFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // libpq's messages end with a newline and span several.
        f.write_str(&self.0.to_string().trim().replace('\n', "; "))
    }
}

impl StdError for DatabaseFailure {}

impl From<diesel::ConnectionError> for DatabaseFailure {
    fn from(error: diesel::ConnectionError) -> Self {
        Self::new(error)
    }
}

impl From<Error> for DatabaseFailure {
    fn from(error: Error) -> Self {
        Self::new(error)
    }
}

/// Keeps the cause alone, which says more than its kind.
impl From<StoreError> for DatabaseFailure {
    fn from(error: StoreError) -> Self {
        let cause = StdError::source(&error).map(ToString::to_string);
        Self::new(cause.unwrap_or_else(|| error.to_string()))
    }
}

impl From<std::io::Error> for DatabaseFailure {
    fn from(error: std::io::Error) -> Self {
        Self::new(error)
    }
}

/// The severities by which libpq marks messages of a server.
const SERVERS_SEVERITIES: [&str; 3] = ["FATAL:", "ERROR:", "PANIC:"];

/// Messages of libpq for settings, files and variables that it refuses. The bundled libpq has English messages only.
const LIBPQ_REFUSALS: &[&str] = &[
    "invalid URI query parameter",
    "invalid connection option",
    "invalid percent-encoded token",
    "invalid integer value",
    "invalid port number",
    "invalid SSL protocol version range",
    "invalid SCRAM",
    "missing key/value separator",
    "extra key/value separator",
    "could not match",
    "could not parse network address",
    "Unix-domain socket path",
    "support is not compiled in",
    "weak sslmode",
    "is not supported (check OpenSSL version)",
    "is greater than \"max_protocol_version\"",
    "require_auth method",
    " value: \"",
    "definition of service",
    "service file \"",
    "root certificate file \"",
    "could not read root certificate file",
    "could not open certificate file",
    "certificate present, but not private key file",
    "could not load private key file",
    "private key file \"",
    "local user with ID",
];

/// Parts of messages of servers and libpq, each with its advice.
const ADVICE: &[(&[&str], &str)] = &[
    (
        &["authentication method requirement"],
        "; the server asks for another authentication method than require_auth in database.url allows: change one of them",
    ),
    (
        &[
            "unrecognized configuration parameter",
            "invalid value for parameter",
            "invalid command-line argument",
            "requires a value",
            "permission denied to set parameter",
        ],
        "; correct the options in database.url (or in PGOPTIONS), or the settings of the role and the database",
    ),
    (
        &["password authentication failed", "no password supplied", "authentication failed", "SASL"],
        "; check user and password in database.url and the server's pg_hba.conf",
    ),
    (
        &["no pg_hba.conf entry", "pg_hba.conf rejects"],
        "; add an entry for this user, database and address to the server's pg_hba.conf",
    ),
    (
        &["role \"", "is not permitted to log in"],
        "; create the role with CREATE ROLE .. LOGIN, or check the user in database.url",
    ),
    (
        &["does not exist", "no such database"],
        "; create the database with CREATE DATABASE .. ENCODING 'UTF8', or check its name in database.url",
    ),
    (
        &["permission denied for database", "does not have CONNECT privilege"],
        "; GRANT CONNECT ON DATABASE to the role in database.url",
    ),
    (&["could not translate host name"], "; check the host in database.url"),
    (
        &["received invalid response to", "expected authentication request", "unsupported frontend protocol"],
        "; what listens there is no PostgreSQL server: check host and port in database.url",
    ),
    (&["server does not support SSL"], "; switch TLS on at the server, or check sslmode in database.url"),
    (
        &["certificate verify failed", "does not match host name"],
        "; check the server's certificate and sslrootcert",
    ),
    (
        &["unsupported startup parameter"],
        "; take that option out of database.url, or let the pooler ignore it",
    ),
    (
        &[
            "too many clients",
            "too many connections",
            "remaining connection slots",
            "no more connections allowed",
        ],
        "; raise max_connections or lower database.pool_size",
    ),
    (
        &["Connection refused", "No such file or directory", "timeout expired", "No route to host"],
        "; check host and port in database.url, and that the server runs",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_of_libpq_and_of_servers_are_distinguished() {
        for (text, is_libpqs) in [
            ("invalid URI query parameter: \"pgbouncer\"", true),
            ("invalid sslmode value: \"bogus\"", true),
            ("sslmode value \"require\" invalid when SSL support is not compiled in", true),
            ("root certificate file \"/x\" does not exist", true),
            ("definition of service \"x\" not found", true),
            ("could not translate host name \"db\" to address: Name or service not known", false),
            ("connection to server on socket \"/x/.s.PGSQL.5432\" failed: No such file or directory", false),
            (
                "connection to server at \"db\" failed: FATAL:  invalid value for parameter \"x\": \"y\"",
                false,
            ),
        ] {
            assert_eq!(DatabaseFailure::new(text).is_refused_by_libpq(), is_libpqs, "{text}");
        }
    }

    #[test]
    fn failures_are_told_in_one_line() {
        let failure = DatabaseFailure::new("connection failed\n\tIs it running?\n");
        assert_eq!(failure.to_string(), "connection failed; \tIs it running?");
    }
}
