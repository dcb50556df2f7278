//! What an operator decides about the HTTP side.

use std::num::NonZeroUsize;

use crate::blocking::password::PasswordPoolConfig;
use crate::extract::forwarded::TrustedProxies;
use crate::limit::quota::LimitsConfig;
use crate::middleware::cors::AllowedOrigins;

/// What an operator decides about the HTTP side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpConfig {
    /// Where clients find the service, without a slash at the end. One with `https` is never to be reached without.
    pub public_url: String,
    /// The issuer that access tokens name.
    pub issuer: String,
    /// Whether `/openapi.json` and the page that shows it are served.
    pub docs: bool,
    /// Whose word is taken for the address of a client.
    pub trusted_proxies: TrustedProxies,
    /// Whose pages may read the answers.
    pub allowed_origins: AllowedOrigins,
    /// How often one address may call what costs most.
    pub limits: LimitsConfig,
    /// How many threads read, and how many others write, for work that needs no password: as many as the store has connections.
    pub data_threads: NonZeroUsize,
    /// How much password work is taken on.
    pub password_pool: PasswordPoolConfig,
}

/// A service of its own machine.
impl Default for HttpConfig {
    fn default() -> Self {
        let data_threads = const { NonZeroUsize::new(16).unwrap() };
        let public_url = "http://127.0.0.1:8080".to_owned();
        Self {
            issuer: public_url.clone(),
            public_url,
            docs: true,
            trusted_proxies: TrustedProxies::default(),
            allowed_origins: AllowedOrigins::default(),
            limits: LimitsConfig::default(),
            data_threads,
            password_pool: PasswordPoolConfig::default(),
        }
    }
}
