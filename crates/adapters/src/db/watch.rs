//! The connection by which an instance learns of the others' doings. It stands outside the pool, so that no number of
//! callers keeps it waiting.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use portcullis_domain::ports::StoreError;

use super::DatabaseUrl;
use super::connection::AnyConnection;
use super::error::unavailable;

/// One connection, made when it is needed and given up at the first error.
#[derive(Default)]
pub(super) struct Watch {
    connection: Mutex<Option<AnyConnection>>,
}

impl Watch {
    /// Runs queries that read.
    pub(super) fn look<T>(
        &self,
        url: &DatabaseUrl,
        work: impl FnOnce(&mut AnyConnection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut kept = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let mut connection = match kept.take() {
            Some(connection) => connection,
            None => AnyConnection::connect_to_watch(url).map_err(unavailable)?,
        };
        let seen = work(&mut connection)?;
        *kept = Some(connection);
        Ok(seen)
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watch(..)")
    }
}
