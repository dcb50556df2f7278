//! Settings: where they come from, what they must be like, and how to say what is wrong with them.

mod database;
#[cfg(any(test, fuzzing))]
pub(crate) mod invariants;
mod sources;
pub(crate) mod text_file;
mod values;
pub(crate) mod wrapping;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::time::Duration;

use actix_web::http::Uri;
use config::ValueKind;
use portcullis_adapters::db::{DatabaseUrl, PoolConfig};
use portcullis_adapters::hashing::{BcryptCost, HashScheme};
use portcullis_adapters::keys::{KeyRotation, PublishedKeys, SigningAlgorithm};
use portcullis_adapters::secret::Secret;
use portcullis_adapters::token::jwt::{JwtConfig, TokenName};
use portcullis_domain::AuthConfig;
use portcullis_domain::password::common::PasswordList;
use portcullis_domain::password::policy::PasswordPolicy;
use portcullis_domain::session::{Lifetimes, MAX_ACCESS_LIFETIME};
use portcullis_http::{AllowedOrigins, Cidr, LimitsConfig, PasswordPoolConfig, Quota, TrustedProxies};

pub(crate) use self::sources::{Environment, Sources};
use self::text_file::read_text;
use self::values::Values;
// By path from here, because the fuzz target includes this module at another place.
use super::advice;

/// Every setting, checked.
#[derive(Debug)]
pub(crate) struct Settings {
    pub environment: Environment,
    /// `None`: to be made at the first start in development.
    pub secret: Option<Secret>,
    pub accepted_secrets: Vec<Secret>,
    pub server: Server,
    pub rules: AuthConfig,
    pub database: DatabaseUrl,
    pub pool: PoolConfig,
    pub tokens: JwtConfig,
    pub hashing: HashScheme,
    pub password_pool: PasswordPoolConfig,
    pub limits: LimitsConfig,
    pub cors: AllowedOrigins,
    pub audit: Audit,
    pub log: Log,
}

#[derive(Debug)]
pub(crate) struct Server {
    pub listen: SocketAddr,
    pub public_url: String,
    pub public_url_origin: PublicUrlOrigin,
    /// How long an idle connection of a client is kept.
    pub keep_alive: Duration,
    pub workers: usize,
    /// How long a stop still answers every request, so that balancers send them elsewhere.
    pub drain_delay: Duration,
    pub shutdown_timeout: Duration,
    pub trusted_proxies: TrustedProxies,
    pub docs: bool,
}

/// The origin of `server.public_url`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PublicUrlOrigin {
    /// A file or a variable sets it.
    Set,
    /// It is not set, and in development it follows `server.listen`.
    FollowsListen,
    /// It is not set outside development, where all instances need the same issuer, regardless of their addresses.
    Unset,
}

/// The address that `server.listen` gives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ListenAddress {
    pub address: SocketAddr,
    /// Whether the command line or a variable names the address or its port, rather than the defaults or the folder of
    /// settings files.
    pub is_named: bool,
}

/// What becomes of security events after they were stored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Audit {
    pub seal: bool,
    /// How long they are kept; `None` for ever.
    pub retention: Option<Duration>,
}

#[derive(Debug)]
pub(crate) struct Log {
    pub level: log::LevelFilter,
    pub format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    Auto,
    Human,
    Json,
}

/// A setting that cannot hold; its text names the setting, where its value came from, and what to write instead.
#[derive(Debug)]
pub(crate) struct InvalidSetting(String);

impl InvalidSetting {
    /// Control characters, which names and texts from files may hold, are shown as what they are not: the text is one line.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into().replace(char::is_control, "\u{fffd}"))
    }
}

impl fmt::Display for InvalidSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InvalidSetting {}

impl Settings {
    /// Reads and checks every setting.
    ///
    /// # Errors
    /// The first setting that cannot hold.
    pub(crate) fn load(sources: &Sources) -> Result<Self, InvalidSetting> {
        let values = Values::load(sources)?;
        let environment = sources.environment.clone();
        let server = server(&values, &environment)?;
        let database = database::database(&values)?;
        let rules = rules(&values)?;
        let secret = secret(&values, &environment, &database)?;
        let hashing = hash_scheme(&values, &environment)?;
        Ok(Self {
            secret,
            accepted_secrets: accepted_secrets(&values, &environment)?,
            tokens: tokens(&values, &server.public_url, rules.lifetimes)?,
            pool: PoolConfig {
                size: values.integer("database.pool_size", 1, 1_000)?,
                group_commit: values.integer("database.group_commit", NonZeroU32::MIN, MOST_TOGETHER)?,
                ..PoolConfig::default()
            },
            hashing,
            password_pool: password_pool(&values, hashing)?,
            limits: limits(&values)?,
            cors: values.list_parsed("cors.allowed_origins", |origins| {
                AllowedOrigins::parse(origins.iter().map(String::as_str))
            })?,
            audit: Audit {
                seal: values.boolean("audit.seal")?,
                retention: values.duration_or(
                    "audit.retention",
                    "forever",
                    Duration::from_hours(24),
                    LONGEST_RETENTION,
                )?,
            },
            log: Log {
                level: values.parsed("log.level", |level| {
                    level.parse().map_err(|_error| "must be off, error, warn, info, debug or trace")
                })?,
                format: values.one_of(
                    "log.format",
                    &[("auto", LogFormat::Auto), ("human", LogFormat::Human), ("json", LogFormat::Json)],
                )?,
            },
            environment,
            server,
            database,
            rules,
        })
    }

    /// Takes the address that the server got, whose port differs from that of `server.listen` if that is 0. A public URL that
    /// follows `server.listen` follows it there, and so does an issuer that is not set.
    pub(crate) fn listening_on(&mut self, address: SocketAddr) -> Result<(), InvalidSetting> {
        if self.server.public_url_origin == PublicUrlOrigin::FollowsListen {
            let before = std::mem::replace(&mut self.server.public_url, url_of(address));
            if self.tokens.issuer.as_str() == before {
                self.tokens.issuer = TokenName::parse(&self.server.public_url)
                    .map_err(|error| InvalidSetting::new(format!("server.public_url {error}")))?;
            }
        }
        self.server.listen = address;
        Ok(())
    }

    /// The file that keeps the secret that development makes for itself: beside the SQLite database.
    pub(crate) fn secret_file(&self) -> Option<PathBuf> {
        match &self.database {
            DatabaseUrl::Sqlite(path) => Some(path.with_file_name("portcullis.secret")),
            DatabaseUrl::Postgres(_) => None,
        }
    }
}

/// Checks every setting and returns a line for each: its value and where that came from, secrets masked.
pub(crate) fn describe(sources: &Sources) -> Result<Vec<String>, InvalidSetting> {
    let Settings { server, tokens, .. } = Settings::load(sources)?;
    let mut values = Values::load(sources)?;
    let derived_from = match server.public_url_origin {
        PublicUrlOrigin::Set => None,
        PublicUrlOrigin::FollowsListen => Some("not set: follows server.listen"),
        PublicUrlOrigin::Unset => Some("not set: must be, for clients to find the service"),
    };
    if let Some(origin) = derived_from {
        values.set("server.public_url", origin, ValueKind::String(server.public_url));
    }
    if values.is_empty("tokens.issuer") {
        let issuer = ValueKind::String(tokens.issuer.as_str().to_owned());
        values.set("tokens.issuer", "not set: server.public_url", issuer);
    }
    Ok(values.describe())
}

/// The address that `server.listen` gives. No other setting is checked and no secret is read, since a health check runs
/// without them.
pub(crate) fn listen_address(sources: &Sources) -> Result<ListenAddress, InvalidSetting> {
    let sources = sources.clone().without_secrets();
    let address = listen(&Values::load(&sources)?)?;
    let is_named = sources.file.is_some()
        || sources.port.is_some()
        || sources.variables().any(|(key, _)| key == "server.listen");
    Ok(ListenAddress { address, is_named })
}

/// The URL of a server that listens on `address`, for clients on the same machine.
pub(crate) fn url_of(address: SocketAddr) -> String {
    let host = match address.ip() {
        ip if ip.is_unspecified() || ip == IpAddr::V4(Ipv4Addr::LOCALHOST) => "localhost".to_owned(),
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    };
    match address.port() {
        80 => format!("http://{host}"),
        port => format!("http://{host}:{port}"),
    }
}

fn secret(
    values: &Values,
    environment: &Environment,
    database: &DatabaseUrl,
) -> Result<Option<Secret>, InvalidSetting> {
    let may_be_made = environment.is_development() && matches!(database, DatabaseUrl::Sqlite(_));
    match values.optional("secret", |text| parse_secret(text, environment))? {
        None if !may_be_made => Err(InvalidSetting::new(
            "secret is not set: put one that `portcullis secret generate` prints into PORTCULLIS_SECRET or into the \
             file that PORTCULLIS_SECRET_FILE names (only PORTCULLIS_ENV=development with an SQLite database makes its \
             own, because several instances need the same one)",
        )),
        secret => Ok(secret),
    }
}

fn accepted_secrets(values: &Values, environment: &Environment) -> Result<Vec<Secret>, InvalidSetting> {
    values.list_parsed("accepted_secrets", |texts| match texts.len() {
        0..=MOST_ACCEPTED_SECRETS => {
            texts.iter().map(|text| parse_secret(text, environment)).collect::<Result<_, _>>()
        }
        _ => Err(format!("must be at most {MOST_ACCEPTED_SECRETS} secrets; remove those replaced long ago")),
    })
}

fn parse_secret(text: &str, environment: &Environment) -> Result<Secret, String> {
    let path = Path::new(text);
    if path.is_absolute() && path.is_file() {
        return Err(
            "is the path of a file; set the variable whose name ends with _FILE to it instead".to_owned()
        );
    }
    let secret = match environment.is_development() {
        true => Secret::parse_for_development(text),
        false => Secret::parse(text),
    };
    secret.map_err(advice::on_secret)
}

fn listen(values: &Values) -> Result<SocketAddr, InvalidSetting> {
    values.parsed("server.listen", |text| {
        text.parse().map_err(|_error| "must be an address and a port, such as 127.0.0.1:8080")
    })
}

fn server(values: &Values, environment: &Environment) -> Result<Server, InvalidSetting> {
    let listen = listen(values)?;
    let (public_url, public_url_origin) = match values.optional("server.public_url", public_url)? {
        Some(url) => (url, PublicUrlOrigin::Set),
        None if environment.is_development() => (url_of(listen), PublicUrlOrigin::FollowsListen),
        None => (PUBLIC_URL_IF_UNSET.to_owned(), PublicUrlOrigin::Unset),
    };
    Ok(Server {
        listen,
        public_url,
        public_url_origin,
        keep_alive: values.duration("server.keep_alive", Duration::from_secs(1), Duration::from_hours(1))?,
        workers: match values.integer("server.workers", 0, MOST_WORKERS)? {
            0 => cores().get().min(MOST_WORKERS),
            workers => workers,
        },
        drain_delay: values.duration("server.drain_delay", Duration::ZERO, LONGEST_DRAIN_DELAY)?,
        shutdown_timeout: values.duration(
            "server.shutdown_timeout",
            Duration::ZERO,
            Duration::from_hours(1),
        )?,
        trusted_proxies: values.list_parsed("server.trusted_proxies", |proxies| {
            proxies
                .iter()
                .map(|proxy| proxy.parse())
                .collect::<Result<Vec<Cidr>, _>>()
                .map(TrustedProxies::new)
        })?,
        docs: values.boolean("server.docs")?,
    })
}

/// A URL whose path is empty, without the slash that would say so.
fn public_url(text: &str) -> Result<String, &'static str> {
    let advice = "must be a URL such as https://auth.example.com, without path, query or user";
    let uri: Uri = text.parse().map_err(|_error| advice)?;
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let has_good_port = !authority.rsplit_once(':').is_some_and(|(_, port)| {
        port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_err()
    });
    let is_plain = uri.path() == "/" && !text.contains(['@', '#', '?']) && has_good_port;
    match (uri.scheme_str(), uri.host()) {
        (Some("http" | "https"), Some(host)) if is_plain && !host.is_empty() => {
            Ok(text.trim_end_matches('/').to_owned())
        }
        _ => Err(advice),
    }
}

fn tokens(values: &Values, public_url: &str, lifetimes: Lifetimes) -> Result<JwtConfig, InvalidSetting> {
    let issuer = values.optional("tokens.issuer", TokenName::parse)?;
    let rotation = values.duration("tokens.key_rotation", Duration::ZERO, Duration::MAX)?;
    Ok(JwtConfig {
        algorithm: values.one_of(
            "tokens.algorithm",
            &SigningAlgorithm::ALL.map(|algorithm| (algorithm.name(), algorithm)),
        )?,
        published_keys: values.one_of(
            "tokens.published_keys",
            &[("both", PublishedKeys::Both), ("signing", PublishedKeys::Signing)],
        )?,
        issuer: match issuer {
            Some(issuer) => issuer,
            None => values.checked("server.public_url", TokenName::parse(public_url))?,
        },
        audience: values.parsed("tokens.audience", TokenName::parse)?,
        key_rotation: values.checked("tokens.key_rotation", KeyRotation::new(rotation, lifetimes.access))?,
        cache: values.integer("tokens.cache", 0, MOST_CACHED_TOKENS)?,
    })
}

fn rules(values: &Values) -> Result<AuthConfig, InvalidSetting> {
    let day = Duration::from_hours(24);
    let idle = values.duration("tokens.refresh_idle", Duration::from_mins(1), day * 365)?;
    Ok(AuthConfig {
        registration_enabled: values.boolean("registration.enabled")?,
        password: password_policy(values)?,
        lifetimes: Lifetimes {
            access: values.duration("tokens.access_lifetime", Duration::from_secs(1), MAX_ACCESS_LIFETIME)?,
            refresh_idle: idle,
            refresh_absolute: values.duration("tokens.refresh_absolute", idle, day * 3_650)?,
            refresh_grace: values.duration("tokens.refresh_grace", Duration::ZERO, Duration::from_mins(1))?,
        },
        max_sessions_per_user: values.integer("sessions.max_per_user", NonZeroU32::MIN, MOST_SESSIONS)?,
    })
}

fn password_policy(values: &Values) -> Result<PasswordPolicy, InvalidSetting> {
    let forbid_common = values.boolean("password.common_list")?;
    let also_common = values.optional("password.common_file", password_list)?.unwrap_or_default();
    let specification = PasswordPolicy {
        min_length: values.integer("password.min_length", PasswordPolicy::LOWEST_MIN_LENGTH, 64)?,
        require_upper: values.boolean("password.require_upper")?,
        require_lower: values.boolean("password.require_lower")?,
        require_digit: values.boolean("password.require_digit")?,
        require_special: values.boolean("password.require_special")?,
        forbid_common,
        also_common: also_common.clone(),
    };
    let nist = PasswordPolicy { forbid_common, also_common, ..PasswordPolicy::nist() };
    values.one_of("password.preset", &[("specification", specification), ("nist", nist)])
}

/// Reads an operator's list of passwords.
fn password_list(path: &str) -> Result<PasswordList, String> {
    let text = read_text(Path::new(path), LONGEST_PASSWORD_LIST).map_err(|error| error.to_string())?;
    PasswordList::parse(text.trim_start_matches('\u{feff}')).map_err(|error| error.to_string())
}

fn hash_scheme(values: &Values, environment: &Environment) -> Result<HashScheme, InvalidSetting> {
    let lowest = if environment.is_development() { BcryptCost::MIN } else { 10 };
    let cost = values.integer("hashing.bcrypt_cost", lowest, BcryptCost::MAX)?;
    let cost =
        values.checked("hashing.bcrypt_cost", BcryptCost::new(cost).ok_or("is not a cost of bcrypt"))?;
    values.one_of(
        "hashing.algorithm",
        &[("bcrypt", HashScheme::BcryptSha256 { cost }), ("argon2id", HashScheme::Argon2id)],
    )
}

fn password_pool(values: &Values, scheme: HashScheme) -> Result<PasswordPoolConfig, InvalidSetting> {
    let threads = NonZeroUsize::new(values.integer("hashing.threads", 0, 1_024)?).unwrap_or_else(cores);
    let queue = NonZeroUsize::new(values.integer("hashing.queue", 0, 100_000)?);
    let least = PasswordPoolConfig { hashing_threads: threads, queue: NonZeroUsize::MIN };
    Ok(PasswordPoolConfig { queue: queue.unwrap_or_else(|| queue_of_a_second(least, scheme)), ..least })
}

/// As many as the threads hash in a second, without those that are under way in the pool and without one who finds it full
/// and comes back as soon as it is not: even that one is answered within about a second, and a second after a storm there
/// is nothing left of it.
fn queue_of_a_second(pool: PasswordPoolConfig, scheme: HashScheme) -> NonZeroUsize {
    let a_second = Duration::from_secs(1).as_nanos();
    let hashed = a_second * pool.hashing_threads.get() as u128 / scheme.usual_time().as_nanos();
    let queue = usize::try_from(hashed).unwrap_or(usize::MAX).saturating_sub(pool.threads().get() + 1);
    NonZeroUsize::new(queue).unwrap_or(NonZeroUsize::MIN)
}

fn limits(values: &Values) -> Result<LimitsConfig, InvalidSetting> {
    let quota = |route: &str| {
        let key = |name: &str| format!("limits.{route}.{name}");
        Ok(Quota {
            count: values.integer(&key("requests"), NonZeroU32::MIN, MOST_REQUESTS)?,
            per: values.duration(&key("per"), Duration::from_secs(1), Duration::from_hours(24))?,
            burst: values.integer(&key("burst"), NonZeroU32::MIN, MOST_REQUESTS)?,
        })
    };
    Ok(LimitsConfig {
        enabled: values.boolean("limits.enabled")?,
        register: quota("register")?,
        login: quota("login")?,
        refresh: quota("refresh")?,
        session_refresh: quota("session_refresh")?,
        password: quota("password")?,
    })
}

/// The public URL if none is set outside development. Clients cannot use it, so the service warns at the start. It is the
/// same for all instances, so that each of them accepts the tokens of the others.
const PUBLIC_URL_IF_UNSET: &str = "http://localhost:8080";

/// The longest drain before a stop. Balancers notice within seconds; a longer delay only keeps a deployment waiting.
const LONGEST_DRAIN_DELAY: Duration = Duration::from_mins(10);

/// The most workers among which the HTTP stack can distribute connections.
const MOST_WORKERS: usize = 512;

/// The longest file of passwords, in bytes.
const LONGEST_PASSWORD_LIST: u64 = 20_000_000;

/// What one user can list in one answer.
const MOST_SESSIONS: NonZeroU32 = NonZeroU32::new(1_000).unwrap();

/// A hundred years.
const LONGEST_RETENTION: Duration = Duration::from_hours(24 * 36_500);

/// A replacement needs one; a second one may begin before the first is over. Each adds six keys to the published set,
/// which stays below 13 KB.
const MOST_ACCEPTED_SECRETS: usize = 8;

/// Some 128 MB of them.
const MOST_CACHED_TOKENS: usize = 1_000_000;

/// Far beyond how many can wait.
const MOST_TOGETHER: NonZeroU32 = NonZeroU32::new(10_000).unwrap();

/// Far beyond what one address can ask for; higher means no limit.
const MOST_REQUESTS: NonZeroU32 = NonZeroU32::new(1_000_000).unwrap();

fn cores() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

#[cfg(test)]
mod tests;
