//! Promises of [`AccountKeys`].

use std::collections::HashSet;

use portcullis_domain::account::CanonicalName;
use portcullis_domain::client::Network;
use portcullis_domain::throttle::AccountKeys;

/// One account has one pseudonym, however its name is typed, and one at each network, from whichever address of it.
// MUST account-key-of-name account-key-of-network
pub fn are_the_same_each_time_and_for_every_spelling(account_keys: &dyn AccountKeys) {
    let names = |spellings: [&str; 2]| spellings.map(CanonicalName::of);
    for [one, other] in [names(["alice", "aLICE"]), names(["\u{e9}va", "E\u{301}VA"])] {
        assert_eq!(account_keys.account(&one), account_keys.account(&other));
        for addresses in [["192.0.2.1", "::ffff:192.0.2.1"], ["2001:db8::1", "2001:db8::ffff:1:2"]] {
            let [here, there] = addresses.map(network);
            assert_eq!(account_keys.account_at(&one, here), account_keys.account_at(&other, there));
        }
    }
}

/// Nothing else has it: no other name, no other network, and no account what an account at a network has.
// MUST account-key-of-name account-key-of-network
pub fn differ_for_every_name_and_network(account_keys: &dyn AccountKeys) {
    let names = ["", "a", "alice", "bob", "alice ", "\u{0}", "192.0.2.1alice", &"x".repeat(256)];
    let networks = ["192.0.2.1", "192.0.2.2", "0.0.0.0", "::", "2001:db8::", "2001:db8:0:1::"];
    let mut seen = HashSet::new();
    for name in names.map(CanonicalName::of) {
        assert!(seen.insert(account_keys.account(&name)), "{name:?}");
        for network in networks.map(network) {
            assert!(seen.insert(account_keys.account_at(&name, network)), "{name:?} {network:?}");
        }
    }
}

/// Those of another deployment are others; `other` has another key.
pub fn differ_for_another_key(account_keys: &dyn AccountKeys, other: &dyn AccountKeys) {
    let (name, network) = (CanonicalName::of("alice"), network("192.0.2.1"));
    assert_ne!(account_keys.account(&name), other.account(&name));
    assert_ne!(account_keys.account_at(&name, network), other.account_at(&name, network));
}

fn network(address: &str) -> Network {
    Network::of(address.parse().expect("an address"))
}
