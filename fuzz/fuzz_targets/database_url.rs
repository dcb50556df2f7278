//! `database.url` as operators write it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_adapters::db::url_law;

fuzz_target!(|input: &[u8]| url_law::holds(input));
