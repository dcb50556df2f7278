//! What the database or its library said when it could not be used, and the causes that are recognised in it.

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

    /// Returns the cause, if the message shows it. Only English messages of servers are recognised.
    pub fn cause(&self) -> Option<FailureCause> {
        let text = self.0.to_string();
        let known = CAUSES.iter().find(|(words, _)| words.iter().any(|words| text.contains(words)));
        known.map(|(_, cause)| *cause)
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

    /// Whether PostgreSQL gave up waiting for a lock (55P03) or ended a deadlock (40P01). Diesel passes no error codes, so
    /// only English messages are recognised.
    pub(super) fn is_lock_wait(&self) -> bool {
        let text = self.0.to_string();
        ["canceling statement due to lock timeout", "deadlock detected"]
            .iter()
            .any(|words| text.contains(words))
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

/// Why a PostgreSQL server cannot be used, where its administrator or the URL can change that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureCause {
    /// The server asks for another authentication method than the option `require_auth` allows.
    AuthenticationMethod,
    /// The server does not know a parameter of the session, or refuses its value.
    SessionParameter,
    /// The password is wrong or missing.
    Credentials,
    /// The server's `pg_hba.conf` does not admit this user, database and address.
    HostBasedAuthentication,
    /// The role does not exist or may not log in.
    Role,
    /// The server has no such database.
    MissingDatabase,
    /// The role may not connect to the database.
    ConnectPrivilege,
    /// The name of the host is not known.
    HostName,
    /// Something else than a PostgreSQL server listens there.
    NotPostgres,
    /// The server has no TLS.
    NoTls,
    /// The certificate of the server is not trusted, or names another host.
    Certificate,
    /// A pooler does not know an option of the URL.
    StartupParameter,
    /// The server has no connection left.
    TooManyConnections,
    /// No server answers.
    NoServer,
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

/// Parts of messages of servers and libpq, each with its cause.
const CAUSES: &[(&[&str], FailureCause)] = &[
    (&["authentication method requirement"], FailureCause::AuthenticationMethod),
    (
        &[
            "unrecognized configuration parameter",
            "invalid value for parameter",
            "invalid command-line argument",
            "requires a value",
            "permission denied to set parameter",
        ],
        FailureCause::SessionParameter,
    ),
    (
        &["password authentication failed", "no password supplied", "authentication failed", "SASL"],
        FailureCause::Credentials,
    ),
    (&["no pg_hba.conf entry", "pg_hba.conf rejects"], FailureCause::HostBasedAuthentication),
    (&["role \"", "is not permitted to log in"], FailureCause::Role),
    (&["does not exist", "no such database"], FailureCause::MissingDatabase),
    (&["permission denied for database", "does not have CONNECT privilege"], FailureCause::ConnectPrivilege),
    (&["could not translate host name"], FailureCause::HostName),
    (
        &["received invalid response to", "expected authentication request", "unsupported frontend protocol"],
        FailureCause::NotPostgres,
    ),
    (&["server does not support SSL"], FailureCause::NoTls),
    (&["certificate verify failed", "does not match host name"], FailureCause::Certificate),
    (&["unsupported startup parameter"], FailureCause::StartupParameter),
    (
        &[
            "too many clients",
            "too many connections",
            "remaining connection slots",
            "no more connections allowed",
        ],
        FailureCause::TooManyConnections,
    ),
    (
        &["Connection refused", "No such file or directory", "timeout expired", "No route to host"],
        FailureCause::NoServer,
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
