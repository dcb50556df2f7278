//! Bodies as clients send them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_http::strict_json_law;

fuzz_target!(|input: &[u8]| strict_json_law::holds(input));
