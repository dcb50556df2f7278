//! `X-Forwarded-For` as clients and proxies write it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_http::forwarded_invariants;

fuzz_target!(|input: &[u8]| forwarded_invariants::holds(input));
