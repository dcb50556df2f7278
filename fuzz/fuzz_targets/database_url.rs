//! `database.url` as operators write it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_adapters::db::url_invariants;

fuzz_target!(|input: &[u8]| url_invariants::holds(input));
