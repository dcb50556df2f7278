use diesel::prelude::*;
use portcullis_domain::ports::{StoreError, StoreHealth, StoreStatus};

use super::connection::AnyConnection;
use super::error::store_error;
use super::schema::sql_types::Moment;
use super::types::DbTime;
use super::{Database, migrations};

impl StoreHealth for Database {
    fn check(&self) -> Result<StoreStatus, StoreError> {
        self.read(|connection| {
            let migrated = !migrations::has_pending(connection)?;
            let time = match connection {
                AnyConnection::Postgres(connection) => {
                    let now: DbTime =
                        diesel::select(clock_timestamp()).get_result(connection).map_err(store_error)?;
                    Some(now.0)
                }
                // SQLite runs on this machine's clock.
                AnyConnection::Sqlite(_) => None,
            };
            Ok(StoreStatus { migrated, time })
        })
    }
}

#[diesel::declare_sql_function]
extern "SQL" {
    /// The server's time now, not that of the transaction's start.
    fn clock_timestamp() -> super::Moment;
}
