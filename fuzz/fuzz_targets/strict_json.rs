//! Bodies as clients send them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_http::json_invariants;

fuzz_target!(|input: &[u8]| json_invariants::holds(input));
