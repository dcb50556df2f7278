//! The corpus of attacks: every case of `docs/security/attacks.toml` that concerns what exists, against a real server over
//! each database. Whatever a request is, afterwards (see `docs/security/attacks.md`)
//!
//! - G1: it got the answer expected, and no 5xx but a 503 that says when to come back;
//! - G2: no table has changed but those that the case names;
//! - G3: exactly the events that the case names were recorded;
//! - G4: no secret of it is in an answer, a line of the log at its most talkative, or a row;
//! - G5: the answer took less than a second, and all of them little memory;
//! - G6: somebody else is served.

mod addresses;
mod attack;
mod bearer;
mod bodies;
mod browsers;
mod forgery;
mod framing;
#[path = "../asvs/functions.rs"]
mod functions;
mod guessing;
mod list;
mod passwords;
mod privileges;
mod sessions;
mod state;
mod usernames;
mod wire;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use attack::Attack;
use list::List;

use crate::database::{Database, Kind};
use crate::on_both_databases;

/// The number of a case, and what it does.
type Case = (&'static str, fn(&mut Attack<'_>));

/// The cases by family.
const FAMILIES: &[&[Case]] = &[
    bearer::CASES,
    passwords::CASES,
    usernames::CASES,
    bodies::CASES,
    framing::CASES,
    addresses::CASES,
    guessing::CASES,
    sessions::CASES,
    browsers::CASES,
    privileges::CASES,
];

fn cases() -> impl Iterator<Item = Case> {
    FAMILIES.iter().copied().flatten().copied()
}

on_both_databases! {
    fn whatever_is_tried_leaves_all_as_it_was(database: &Database) {
        let begun = Instant::now();
        // The cases whose number begins so, all of them if nothing is said.
        let wanted = std::env::var("CASES").unwrap_or_default();
        let mut attack = Attack::begin(database);
        let mut faults = Vec::new();
        let mut count = 0;
        for (id, case) in cases().filter(|(id, _)| id.starts_with(&wanted)) {
            count += 1;
            let held = catch_unwind(AssertUnwindSafe(|| {
                case(&mut attack);
                attack.serves();
            }));
            if let Err(panic) = held {
                let fault = panic.downcast_ref::<String>().cloned().unwrap_or_else(|| panic.downcast_ref::<&str>().copied().unwrap_or_default().to_owned());
                faults.push(format!("{id}: {fault}"));
                attack.recover();
            }
        }
        let requests = attack.requests;
        faults.extend(attack.end());
        let name = if matches!(database.kind, Kind::Sqlite) { "SQLite" } else { "PostgreSQL" };
        println!("{name}: {count} cases, {requests} requests, {:?}", begun.elapsed());
        assert!(count > 0 && faults.is_empty(), "{} faults\n{}", faults.len(), faults.join("\n"));
    }
}

#[test]
fn every_case_is_run_or_proved_elsewhere_or_has_a_reason() {
    let list = List::read();
    let mut registered = BTreeMap::new();
    for (id, _) in cases() {
        *registered.entry(id).or_insert(0) += 1;
    }
    let faults = list.faults(&registered);
    println!("{list}");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
