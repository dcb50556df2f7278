//! Settings as operators write them. The server is a binary, so its source is taken.
#![no_main]

#[expect(dead_code, reason = "the server uses what is not used here")]
#[path = "../../crates/server/src"]
mod server {
    pub(crate) mod advice;
    pub(crate) mod settings;
}

use libfuzzer_sys::fuzz_target;
use server::settings::invariants;

fuzz_target!(|input: &[u8]| invariants::holds(input));
