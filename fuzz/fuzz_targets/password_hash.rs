//! Hashes as imports and other hands left them in the database.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_adapters::hashing::invariants;

fuzz_target!(|input: &[u8]| invariants::holds(input));
