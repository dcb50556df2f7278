use portcullis_domain::ports::{StoreError, StoreHealth, StoreStatus};

use super::error::store_error;
use super::{Database, deployment};

impl StoreHealth for Database {
    fn check(&self) -> Result<StoreStatus, StoreError> {
        let shared = self.read(|connection| deployment::look(connection).map_err(store_error))?;
        // The stores open when every migration of this build is applied, and stay open.
        Ok(StoreStatus { migrated: true, time: Some(shared.time) })
    }
}
