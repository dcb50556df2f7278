//! Refresh tokens as clients send them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_adapters::refresh_token::law;

fuzz_target!(|input: &[u8]| law::holds(input));
