//! The fakes honour the contract too.

use portcullis_testkit::contract::{
    access_token_codec, clock, entropy, password_hasher, pseudonyms, refresh_token_codec,
};
use portcullis_testkit::fixtures::NOW;
use portcullis_testkit::{
    FixedClock, PlainAccessTokens, PlainHasher, PlainPseudonyms, PlainRefreshTokens, SeededEntropy,
};

#[test]
fn plain_access_tokens() {
    let codec = PlainAccessTokens::new("ours");
    access_token_codec::verifies_what_it_signed(&codec);
    access_token_codec::refuses_changed_tokens(&codec);
    access_token_codec::does_not_judge_dates(&codec);
    access_token_codec::expired_tokens_name_their_session(&codec);
    access_token_codec::publishes_its_keys(&codec);
    let theirs = PlainAccessTokens::new("theirs");
    access_token_codec::refuses_tokens_that_are_not_from_here_or_not_for_here(&codec, &[&theirs]);
}

#[test]
fn plain_refresh_tokens() {
    let codec = PlainRefreshTokens::new("ours");
    refresh_token_codec::opens_what_it_sealed(&codec);
    refresh_token_codec::seals_the_same_token_each_time(&codec);
    refresh_token_codec::refuses_changed_tokens(&codec);
    refresh_token_codec::refuses_tokens_of_another_key(&codec, &PlainRefreshTokens::new("theirs"));
}

#[test]
fn plain_pseudonyms() {
    let pseudonyms = PlainPseudonyms::new("ours");
    pseudonyms::are_the_same_each_time_and_for_every_spelling(&pseudonyms);
    pseudonyms::differ_for_every_name_and_network(&pseudonyms);
    pseudonyms::differ_for_another_key(&pseudonyms, &PlainPseudonyms::new("theirs"));
}

#[test]
fn plain_hasher() {
    let hasher = PlainHasher::new();
    password_hasher::verifies_what_it_made(&hasher);
    password_hasher::salts(&hasher);
    password_hasher::tells_every_character_apart(&hasher);
    password_hasher::refuses_unusable_hashes(&hasher);
    password_hasher::hashes_the_password_in_nfc(&hasher);
}

#[test]
fn fixed_clock_and_seeded_entropy() {
    clock::never_goes_backwards(&FixedClock::at(NOW));
    clock::never_shows_a_time_before_the_newest_mark(&FixedClock::at(NOW));
    let clock = FixedClock::at(NOW);
    clock::uptime_advances_with_real_time(&clock, &|time| clock.advance(time));
    entropy::gives_different_bytes_each_time(&SeededEntropy::new(1));
    entropy::fills_buffers_of_any_length(&SeededEntropy::new(1));
}
