//! The adapters of `portcullis-domain`'s ports: Diesel stores for SQLite and PostgreSQL, JWT, refresh tokens and pseudonyms from
//! one secret, password hashing, the system's clock and randomness. Each is proved by the contract suite of
//! `portcullis-testkit`.
//!
//! A service over a real database. One [`Database`](db::Database) is every storage port: the ports share transactions, so
//! parts of two stores must not be mixed.
//!
//! ```
//! use std::sync::Arc;
//! use portcullis_adapters::db::{Database, DatabaseUrl, PoolConfig};
//! use portcullis_adapters::system::{OsRandom, SystemClock};
//! use portcullis_adapters::{keys::SecretFingerprint, secret::Secret};
//! use portcullis_domain::client::ClientInfo;
//! use portcullis_domain::password::PlaintextPassword;
//! use portcullis_domain::session::Credentials;
//! use portcullis_domain::account::Registration;
//! use portcullis_domain::maintenance::Maintenance;
//! use portcullis_domain::session::LoginOutcome;
//! use portcullis_domain::{AuthConfig, AuthService, Core, Ports};
//!
//! let folder = tempfile::tempdir()?;
//! let url = DatabaseUrl::parse(&format!("sqlite://{}/portcullis.db", folder.path().display()))?;
//! let database = Arc::new(Database::new(url, PoolConfig::default()));
//! database.prepare(SecretFingerprint::of(&Secret::generate(&OsRandom)), &[])?;
//!
//! let ports = Ports {
//!     store: database,
//!     clock: Arc::new(SystemClock::new()),
//!     random: Arc::new(OsRandom),
//!     // Hashes and tokens are fakes here; `hashing`, `token` and `account_keys` have the real ones.
//!     ..portcullis_testkit::ports()
//! };
//! let core = Core::new(ports, AuthConfig::default());
//! let auth = AuthService::new(&core);
//! Maintenance::new(&core).sync()?;
//!
//! let client = ClientInfo::default();
//! let password = || PlaintextPassword::new("Corr3ct-horse battery".to_owned());
//! auth.register(&Registration { username: "alice".to_owned(), password: password() }, &client)?;
//! // Correct passwords are never throttled, however many there are.
//! for _ in 0..8 {
//!     let LoginOutcome::Session(tokens) = auth.login(&Credentials { username: "alice".to_owned(), password: password() }, &client)? else { panic!() };
//!     auth.refresh(&tokens.refresh, &client)?;
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod account_keys;
pub mod audit;
pub mod db;
pub mod files;
pub mod hashing;
pub mod keys;
pub mod secret;
pub mod system;
pub mod token;
