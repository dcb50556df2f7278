//! The machine's clock and randomness honour the contract.

use portcullis_adapters::system::{OsRandom, SystemClock};
use portcullis_testkit::contract::{clock, random};

#[test]
fn clock_never_goes_backwards() {
    clock::never_goes_backwards(&SystemClock::new());
}

#[test]
fn clock_uptime_advances_with_real_time() {
    clock::uptime_advances_with_real_time(&SystemClock::new(), &std::thread::sleep);
}

#[test]
fn clock_never_shows_a_time_before_the_newest_mark() {
    clock::never_shows_a_time_before_the_newest_mark(&SystemClock::new());
}

#[test]
fn entropy_gives_different_bytes_each_time() {
    random::gives_different_bytes_each_time(&OsRandom);
}

#[test]
fn entropy_fills_buffers_of_any_length() {
    random::fills_buffers_of_any_length(&OsRandom);
}
