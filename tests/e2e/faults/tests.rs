//! A few rounds of each kind.

use super::strace::Fault;
use super::{LONGEST_FAILOVER, boot, new_seed, rounds, strace};
use crate::database::Database;

///
#[test]
fn kill_rounds_on_sqlite_lose_no_acknowledged_write() {
    rounds::on_sqlite(6, new_seed()).assert_clean(100);
}

///
#[test]
fn kill_rounds_on_postgres_lose_no_acknowledged_write() {
    rounds::on_postgres(Database::server_of_its_own(), 6, new_seed()).assert_clean(100);
}

///
#[test]
fn promoted_synchronous_standby_loses_no_acknowledged_write() {
    let (tally, outage) = rounds::on_pair(new_seed());
    tally.assert_clean(20);
    assert!(outage < LONGEST_FAILOVER, "{outage:?}");
}

///
#[test]
fn serving_survives_a_fault_at_a_sync_or_write() {
    for fault in Fault::ALL {
        strace::of_serving(fault, 15, new_seed()).assert_clean(20);
    }
}

///
#[test]
fn first_start_is_completed_after_a_fault() {
    for fault in Fault::ALL {
        strace::of_starting(fault, 5).assert_clean(3);
    }
}

///
#[test]
fn user_is_added_or_not_after_a_fault() {
    for fault in Fault::ALL {
        assert!(strace::of_adding_a_user(fault, 5).assert_clean(0).rounds >= 3);
    }
}

///
#[test]
fn instances_that_start_together_migrate_once() {
    for make in [Database::sqlite, Database::postgres] {
        let schemas = boot::schemas(make);
        // A new database, and one that the version before left.
        for before in [0, schemas.len() / 2, schemas.len() - 2] {
            assert_eq!(boot::together(&make(), before, &schemas), [""; 0]);
        }
    }
}

/// On SQLite [`first_start_is_completed_after_a_fault`] proves it.
#[test]
fn migrations_interrupted_after_a_statement_are_completed() {
    let (rounds, violations) = boot::interrupted(Database::server_of_its_own(), 9);
    assert_eq!(violations, [""; 0]);
    assert!(rounds >= 3, "{rounds}");
}
