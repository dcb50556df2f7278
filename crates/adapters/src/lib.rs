#![doc = include_str!("../README.md")]

pub mod account_keys;
pub mod audit;
pub mod db;
pub mod files;
pub mod hashing;
pub mod keys;
mod ports_config;
pub mod secret;
pub mod system;
pub mod token;

pub use self::ports_config::PortsConfig;
