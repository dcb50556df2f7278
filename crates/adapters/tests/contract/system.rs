//! The machine's clock and randomness honour the contract.

use portcullis_adapters::system::{OsEntropy, SystemClock};
use portcullis_testkit::contract::{clock, entropy};

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
    entropy::gives_different_bytes_each_time(&OsEntropy);
}

#[test]
fn entropy_fills_buffers_of_any_length() {
    entropy::fills_buffers_of_any_length(&OsEntropy);
}
