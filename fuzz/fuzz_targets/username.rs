//! Names as registrations and logins bring them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_domain::username::law;

fuzz_target!(|input: &[u8]| law::holds(input));
