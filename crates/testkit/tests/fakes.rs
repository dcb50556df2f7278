//! The fakes honour the contract too.

use std::sync::Arc;

use portcullis_domain::account::Registration;
use portcullis_domain::{AuthConfig, AuthService, Core};
use portcullis_testkit::contract::{
    access_token_codec, account_keys, clock, password_hasher, random, refresh_token_codec,
};
use portcullis_testkit::fixtures::{self, NOW};
use portcullis_testkit::{
    FixedClock, MemoryStore, PlainAccessTokens, PlainAccountKeys, PlainHasher, PlainRefreshTokens,
    SeededRandom,
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
    refresh_token_codec::verifies_what_it_issued(&codec);
    refresh_token_codec::issues_the_same_token_each_time(&codec);
    refresh_token_codec::refuses_changed_tokens(&codec);
    refresh_token_codec::refuses_tokens_of_another_key(&codec, &PlainRefreshTokens::new("theirs"));
}

#[test]
fn plain_account_keys() {
    let account_keys = PlainAccountKeys::new("ours");
    account_keys::are_the_same_each_time_and_for_every_spelling(&account_keys);
    account_keys::differ_for_every_name_and_network(&account_keys);
    account_keys::differ_for_another_key(&account_keys, &PlainAccountKeys::new("theirs"));
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
fn fixed_clock_and_seeded_random() {
    clock::never_goes_backwards(&FixedClock::at(NOW));
    clock::never_shows_a_time_before_the_newest_mark(&FixedClock::at(NOW));
    let clock = FixedClock::at(NOW);
    clock::uptime_advances_with_real_time(&clock, &|time| clock.advance(time));
    random::gives_different_bytes_each_time(&SeededRandom::new(1));
    random::fills_buffers_of_any_length(&SeededRandom::new(1));
}

#[test]
fn two_services_over_one_store_make_different_ids() {
    let store = Arc::new(MemoryStore::new());
    let services = [(); 2].map(|()| {
        let core = Core::new(portcullis_testkit::ports_over(&store), AuthConfig::default());
        AuthService::new(&core)
    });
    for (service, name) in services.iter().zip(["alice", "bob"]) {
        let form = Registration { username: name.to_owned(), ..fixtures::alice() };
        service.register(&form, &fixtures::client()).unwrap();
    }
}
