//! Seeds and inputs near them are replayed, and an input that breaks an invariant is reported.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::panic::catch_unwind;

use portcullis_testkit::replay;

const SEEDS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/memory");

fn replayed(near: usize) -> Vec<Vec<u8>> {
    let inputs = RefCell::new(Vec::new());
    replay(SEEDS, near, |input| inputs.borrow_mut().push(input.to_vec()));
    inputs.into_inner()
}

#[test]
fn every_seed_is_replayed_and_then_as_many_others_as_asked_for() {
    let (seeds, all) = (replayed(0), replayed(200));
    assert_eq!(seeds.len(), std::fs::read_dir(SEEDS).unwrap().count());
    assert_eq!(all[..seeds.len()], seeds);
    assert_eq!(all.len(), seeds.len() + 200);
    let different: BTreeSet<_> = all.iter().collect();
    assert!(different.len() > all.len() * 9 / 10, "{} of {}", different.len(), all.len());
}

#[test]
fn every_run_has_the_same_inputs() {
    assert_eq!(replayed(50), replayed(50));
}

#[test]
fn the_input_that_breaks_an_invariant_is_named() {
    let invariant = |input: &[u8]| assert!(!input.contains(&0xff));
    let report = catch_unwind(|| replay(SEEDS, 1_000, invariant)).unwrap_err();
    let report = report.downcast_ref::<String>().unwrap();
    assert!(report.contains("near the seeds") && report.contains(r"\xff"), "{report}");
}

#[test]
#[should_panic(expected = "has seeds")]
fn a_folder_without_seeds_proves_nothing() {
    let empty = std::env::temp_dir().join(format!("portcullis-no-seeds-{}", std::process::id()));
    std::fs::create_dir_all(&empty).unwrap();
    replay(empty.to_str().unwrap(), 1, |_| ());
}
