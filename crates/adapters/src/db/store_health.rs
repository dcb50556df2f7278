use diesel::prelude::*;
use portcullis_domain::ports::{StoreError, StoreHealth, StoreStatus};

use super::Database;
use super::connection::AnyConnection;
use super::error::store_error;
use super::schema::deployment;
use super::schema::sql_types::Moment;
use super::types::DbTime;

impl StoreHealth for Database {
    fn check(&self) -> Result<StoreStatus, StoreError> {
        self.read(|connection| {
            let time = match connection {
                AnyConnection::Postgres(connection) => {
                    let now: DbTime =
                        diesel::select(clock_timestamp()).get_result(connection).map_err(store_error)?;
                    Some(now.0)
                }
                AnyConnection::Sqlite(connection) => {
                    // It runs on this machine's clock; the question is whether the file can be read.
                    let _id: i32 =
                        deployment::table.select(deployment::id).first(connection).map_err(store_error)?;
                    None
                }
            };
            // The stores open when every migration of this build is applied, and stay open.
            Ok(StoreStatus { migrated: true, time })
        })
    }
}

#[diesel::declare_sql_function]
extern "SQL" {
    /// The server's time now, not that of the transaction's start.
    fn clock_timestamp() -> super::Moment;
}
