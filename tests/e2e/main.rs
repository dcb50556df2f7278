//! The real binary, on a port of its own, over SQLite and over PostgreSQL, called by real clients.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "in tests, and in their helpers, it fails the test"
)]

mod algorithm;
mod audit;
mod backup;
mod clock;
mod command_line;
mod connections;
mod corpus;
mod database;
mod db_copy;
mod durability;
mod failover;
mod faults;
mod flows;
mod hanging;
mod history;
mod hostile;
mod image;
mod imports;
mod litestream;
mod logs;
mod machine;
mod migrating;
mod nginx;
mod open_standards;
mod outages;
mod pgbouncer;
mod point_in_time;
mod proxy;
mod races;
mod readiness;
mod replacement;
mod restored;
mod revocation;
mod rolling;
mod server;
mod sessions;
mod standby;
mod startup;
mod storage;
mod terminal;
mod throttle;
mod upgrades;

/// Makes one test for each database of functions that take one.
macro_rules! on_both_databases {
    ($($(#[$attribute:meta])* fn $name:ident($database:ident: &Database) $body:block)+) => {
        mod sqlite {
            use super::*;
            $(
                #[test]
                $(#[$attribute])*
                fn $name() {
                    let $database = &Database::sqlite();
                    $body
                }
            )+
        }
        mod postgres {
            use super::*;
            $(
                #[test]
                $(#[$attribute])*
                fn $name() {
                    let $database = &Database::postgres();
                    $body
                }
            )+
        }
    };
}
use on_both_databases;
