//! A PostgreSQL database, and how this process reaches it.

use std::fmt;
use std::sync::Arc;

use super::hosts::hosts_of;
use super::{DatabaseUrl, InvalidDatabaseUrl};
use crate::db::postgres::hosts::Hosts;

/// What stands between this process and PostgreSQL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pooler {
    /// Nothing, or a pooler in session mode: a connection keeps its server process and what is set there.
    #[default]
    None,
    /// A pooler in transaction mode: each transaction may run in another server process. Nothing is prepared there, and
    /// only the time zone and the encoding are set, which PgBouncer tracks. So the role must bring the other settings.
    Transaction,
}

/// A PostgreSQL database, and how this process reaches it. Clones share what the process learns about the hosts.
#[derive(Clone)]
pub struct PostgresUrl {
    text: String,
    hosts: Arc<Hosts>,
    pooler: Pooler,
    /// The URL for what needs a session, if it is another.
    direct: Option<Arc<DatabaseUrl>>,
}

impl PostgresUrl {
    /// Takes a URL that has every option that bounds a wait.
    pub(super) fn new(text: String) -> Result<Self, InvalidDatabaseUrl> {
        let hosts = Arc::new(Hosts::new(hosts_of(&text)?));
        Ok(Self { text, hosts, pooler: Pooler::None, direct: None })
    }

    /// Sets what stands between this process and PostgreSQL, and the URL of the same database for what needs a session of
    /// its own: preparing the database under its lock.
    #[must_use]
    pub fn reached(self, pooler: Pooler, direct: Option<PostgresUrl>) -> Self {
        Self { pooler, direct: direct.map(|direct| Arc::new(DatabaseUrl::Postgres(direct))), ..self }
    }

    /// Returns the URL as libpq reads it. It may contain a password.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub(in crate::db) fn hosts(&self) -> &Hosts {
        &self.hosts
    }

    pub(in crate::db) fn pooler(&self) -> Pooler {
        self.pooler
    }

    pub(in crate::db) fn direct(&self) -> Option<&DatabaseUrl> {
        self.direct.as_deref()
    }
}

impl fmt::Debug for PostgresUrl {
    /// Leaves out user name and password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        DatabaseUrl::Postgres(self.clone()).fmt(f)
    }
}
