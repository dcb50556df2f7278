//! The adapters of `portcullis-domain`'s ports: Diesel stores for SQLite and PostgreSQL, JWT, refresh tokens and pseudonyms from
//! one secret, password hashing, the system's clock and randomness. Each is proved by the contract suite of
//! `portcullis-testkit`.
//!
//! ```
//! use std::sync::Arc;
//! use portcullis_adapters::db::{Database, DatabaseUrl, PoolConfig};
//! use portcullis_adapters::{keys::KeyCheck, secret::Secret, system::OsEntropy};
//! use portcullis_domain::Ports;
//!
//! let folder = tempfile::tempdir()?;
//! let url = DatabaseUrl::parse(&format!("sqlite://{}/portcullis.db", folder.path().display()))?;
//! let database = Arc::new(Database::new(url, PoolConfig::default()));
//! database.prepare(KeyCheck::of(&Secret::generate(&OsEntropy)), &[])?;
//!
//! // Real stores, all else fake.
//! let ports = Ports { users: database.clone(), sessions: database.clone(), ..portcullis_testkit::ports() };
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod audit;
pub mod db;
pub mod hashing;
pub mod jwt;
pub mod keys;
pub mod pseudonyms;
pub mod refresh_token;
pub mod secret;
pub mod system;
