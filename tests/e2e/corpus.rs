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
pub(crate) mod forgery;
mod framing;
#[path = "../support/functions.rs"]
mod functions;
mod guessing;
mod list;
mod passwords;
mod privileges;
mod sessions;
mod state;
mod usernames;
mod wire;

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use attack::{Attack, BYSTANDER, CANARY, Expected, answered, refused};
use list::List;
use passwords::register;
use wire::Request;

use crate::database::{Database, Kind};
use crate::on_both_databases;
use crate::server::PASSWORD;

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
                faults.push(format!("{id}: {}", text_of(&*panic)));
                attack.recover();
            }
        }
        let outcome = attack.end();
        faults.extend(outcome.faults);
        let name = if matches!(database.kind, Kind::Sqlite) { "SQLite" } else { "PostgreSQL" };
        let (requests, secrets, grown) = (outcome.requests, outcome.secrets, outcome.grown >> 10);
        println!(
            "{name}: {count} cases, {requests} requests, {secrets} secrets looked for, {grown} KiB more, {:?}",
            begun.elapsed()
        );
        assert!(count > 0 && faults.is_empty(), "{} faults\n{}", faults.len(), faults.join("\n"));
    }
}

/// A judge that finds nothing would find nothing.
#[test]
fn what_is_not_as_it_should_be_is_found() {
    let database = Database::sqlite();
    let mut attack = Attack::begin(&database);
    let found = |attack: &mut Attack<'_>, case: &dyn Fn(&mut Attack<'_>)| {
        let panic = catch_unwind(AssertUnwindSafe(|| case(attack))).expect_err("nothing was found");
        attack.recover();
        text_of(&*panic).chars().take(300).collect::<String>()
    };
    let registers = |expected: Expected| {
        move |attack: &mut Attack<'_>| {
            let name = attack.name();
            attack.tries(&register(&name, PASSWORD), &expected);
        }
    };
    for (rule, case) in [
        ("G1", &registers(answered(200)) as &dyn Fn(&mut Attack<'_>)),
        ("G1", &registers(refused(201, "invalid_request"))),
        ("G2", &registers(answered(201).recording(&["user_registered"]))),
        ("G2", &registers(answered(201).changing(&["sessions", "users"]).recording(&["user_registered"]))),
        ("G3", &registers(answered(201).changing(&["users"]))),
        ("G3", &registers(answered(201).changing(&["users"]).recording(&["user_deleted"]))),
        ("G4", &|attack| {
            // Its name is told to whoever sent it.
            let body = format!(r#"{{"{CANARY}":1}}"#);
            attack.tries(&Request::post("/login", body), &refused(422, "invalid_request"));
        }),
        ("G6", &|attack| {
            attack.operate(&["user", "sessions", BYSTANDER, "--end"]);
            attack.until_bystander_is_refused();
            attack.tries(&Request::get("/health"), &answered(200));
        }),
        ("there is nothing to tell", &|attack| {
            attack.tries(&Request::raw("GET /health HTTP/1.1\r\nhost: x\r\n\r\n"), &answered(200));
        }),
    ] {
        let fault = found(&mut attack, case);
        assert!(fault.contains(rule), "{rule} and not {fault}");
    }
    for told in ["user_registered", "listening on http"] {
        attack.tries(&Request::get("/health").secret(told), &answered(200));
    }
    let faults = attack.end().faults;
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(faults[0].contains("is in the log") && faults[1].contains("is stored"), "{faults:?}");
}

fn text_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or_default()
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
