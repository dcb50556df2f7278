//! Refresh tokens as clients send them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_adapters::token::refresh::invariants;

fuzz_target!(|input: &[u8]| invariants::holds(input));
