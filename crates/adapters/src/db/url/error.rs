/// Not a database that this build can use. The text never repeats the URL, which may hold a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDatabaseUrl {
    /// The scheme is neither `sqlite` nor `postgres`.
    #[error("must start with sqlite:// or postgres://")]
    Scheme,
    /// There is no path after `sqlite://`.
    #[error(
        "must name a file after sqlite://, such as sqlite://data/portcullis.db (a database in memory would be lost)"
    )]
    SqlitePath,
    /// libpq would split it in another way than it was meant, or not at all.
    #[error(
        "must be postgres://user:password@host:port/database?options, with every `@`, `/`, `%`, `?`, `#` and space of user and \
         password percent-encoded (`@` is %40, `/` is %2F, `%` is %25)"
    )]
    Postgres,
    /// libpq would take another option, or another value of it, than is looked at here.
    #[error("must have options of the form name=value, each once and without percent-encoding in its name")]
    Options,
    /// libpq does not know an option. The name is left out if a part of a password could hide in it.
    #[error("has an option{} that libpq does not know: {advice}", .name.as_ref().map(|name| format!(" {name}")).unwrap_or_default())]
    UnknownOption {
        /// The option's name.
        name: Option<String>,
        /// Advice for the operator.
        advice: String,
    },
    /// The size of a pool, which is no option of libpq: the service's is set elsewhere.
    #[error("has an option {name} that libpq does not know: leave it out")]
    PoolSizeOption {
        /// The option's name.
        name: String,
    },
    /// libpq, or a service that writes, cannot use an option's value.
    #[error("has a value for the option {name} that cannot be used: it {expected}")]
    OptionValue {
        /// The option's name.
        name: &'static str,
        /// The allowed values, or the reason why this one is refused.
        expected: String,
    },
    /// The lists of hosts, ports and addresses do not belong together.
    #[error("must have one port, or one for each host, and as many addresses in hostaddr as hosts")]
    Hosts,
    /// The authority has a port that is not a port number.
    #[error("has a port that is not a number from 1 to 65535")]
    Port,
    /// The URL asks for TLS and this build lacks it.
    #[error("has an sslmode that requires TLS, which this build (without the feature postgres-tls) lacks")]
    NoTls,
    /// A file named by an option does not exist or cannot be read.
    #[error("names a file by its option {option} that cannot be read: {reason}")]
    File {
        /// The option's name.
        option: &'static str,
        /// Why the file cannot be read.
        reason: String,
    },
    /// `sslmode` is none of libpq's.
    #[error("has an unknown sslmode: use disable, allow, prefer, require, verify-ca or verify-full")]
    SslMode,
    /// The server is on another machine and the connection would not be encrypted.
    #[error(
        "names a PostgreSQL server on another machine, which this build (without the feature postgres-tls) \
         could only reach unencrypted; use a build with TLS, or add ?sslmode=disable if the network is private"
    )]
    PlainTextPostgres,
    /// The server is on another machine and the connection might not be encrypted.
    #[error(
        "names a PostgreSQL server on another machine and leaves open whether the connection is encrypted; add \
         ?sslmode=verify-full (require checks no certificate), or ?sslmode=disable if the network is private"
    )]
    UnsureSslMode,
}
