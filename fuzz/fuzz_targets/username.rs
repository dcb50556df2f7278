//! Names as registrations and logins bring them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_domain::account::username_invariants;

fuzz_target!(|input: &[u8]| username_invariants::holds(input));
