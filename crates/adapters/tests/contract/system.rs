//! The machine's clock and randomness honour the contract.

use portcullis_adapters::system::{OsEntropy, SystemClock};
use portcullis_domain::time::UnixTime;
use portcullis_testkit::contract::{clock, entropy};

#[test]
fn clock_never_goes_backwards() {
    clock::never_goes_backwards(&SystemClock::starting_at_least(UnixTime::EPOCH));
}

#[test]
fn entropy_gives_different_bytes_each_time() {
    entropy::gives_different_bytes_each_time(&OsEntropy);
}

#[test]
fn entropy_fills_buffers_of_any_length() {
    entropy::fills_buffers_of_any_length(&OsEntropy);
}
