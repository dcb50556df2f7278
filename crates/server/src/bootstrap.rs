//! Puts the service together: where adapters meet ports.

mod backend;
mod command;
mod database;
mod instance;
mod secrets;

pub(crate) use self::backend::{Backend, Seal};
pub(crate) use self::command::{database, for_command, sealer_for_command, verify_audit};
pub(crate) use self::database::{DatabaseBackend, Purpose};
pub(crate) use self::instance::Instance;
pub(crate) use self::secrets::known_secrets;
