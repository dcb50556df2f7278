//! What stands for accounts where attempts are counted: a keyed hash, so that a stolen database tells nobody which names
//! were tried, and from where, without the secret.
//!
//! It is the HMAC-SHA-256, with a key of its own, of
//!
//! | of an account | of an account at a network |
//! |---|---|
//! | the byte 0 | the byte 4 or 6, of IPv4 or IPv6 |
//! | | the 4 bytes of the address, or the first 8 |
//! | the canonical name in UTF-8 | the canonical name in UTF-8 |

use std::net::IpAddr;

use aws_lc_rs::hmac;
use portcullis_domain::account::CanonicalName;
use portcullis_domain::client::Network;
use portcullis_domain::throttle::{AccountKey, AccountKeys};

use crate::keys::RootKey;
use crate::secret::Secrets;

/// Makes account keys with a MAC key of the current secret.
#[derive(Debug)]
pub struct MacAccountKeys {
    key: hmac::Key,
}

impl MacAccountKeys {
    /// Those of a deployment with these secrets.
    pub fn new(secrets: &Secrets) -> Self {
        let key = RootKey::of(secrets.current()).derive("pseudonyms");
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, key.as_ref()) }
    }

    fn of(&self, kind: u8, network: &[u8], name: &CanonicalName) -> AccountKey {
        let mut mac = hmac::Context::with_key(&self.key);
        mac.update(&[kind]);
        mac.update(network);
        mac.update(name.as_str().as_bytes());
        let mut bytes = [0; 32];
        bytes.copy_from_slice(mac.sign().as_ref());
        AccountKey::from_bytes(bytes)
    }
}

impl AccountKeys for MacAccountKeys {
    fn account(&self, name: &CanonicalName) -> AccountKey {
        self.of(0, &[], name)
    }

    fn account_at(&self, name: &CanonicalName, network: Network) -> AccountKey {
        match network.address() {
            IpAddr::V4(address) => self.of(4, &address.octets(), name),
            IpAddr::V6(address) => self.of(6, &address.octets()[..8], name),
        }
    }
}

#[cfg(test)]
mod tests {
    use base16ct::lower::encode_string;

    use super::*;
    use crate::secret::Secret;

    const SECRET: &str = "pcs_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

    fn account_keys(current: &str, accepted: &[&str]) -> MacAccountKeys {
        let secret = |text: &str| Secret::parse_for_development(text).unwrap();
        MacAccountKeys::new(&Secrets::new(secret(current), accepted.iter().map(|text| secret(text))))
    }

    fn hex(key: AccountKey) -> String {
        encode_string(key.as_bytes())
    }

    /// Checked against Python's `hmac`.
    #[test]
    fn account_keys_are_the_same_in_every_version() {
        let account_keys = account_keys(SECRET, &[]);
        let name = CanonicalName::of("Al\u{ed}ce");
        let at = |address: &str| hex(account_keys.account_at(&name, Network::of(address.parse().unwrap())));
        assert_eq!(
            hex(account_keys.account(&name)),
            "6a7e785b96e37daf8ee66f10cfa31c04484c299fbba2ed4522b460a704a08ab5"
        );
        assert_eq!(at("192.0.2.7"), "f56fb0b2877432ba07da385c3129459856144fef096fc4255beece0f01c66f26");
        assert_eq!(
            at("2001:db8:1:2:3:4:5:6"),
            "82deba2237a4a826948b3864056d849155445dc09859eec15b2842ca6fa51440"
        );
    }

    #[test]
    fn only_the_current_secret_counts() {
        let name = CanonicalName::of("alice");
        let of = |current, accepted: &[&str]| account_keys(current, accepted).account(&name);
        assert_eq!(of("one", &["other"]), of("one", &[]));
        assert_ne!(of("one", &["other"]), of("other", &["one"]));
    }

    #[test]
    fn debug_shows_no_key() {
        let shown = format!("{:?}", account_keys(SECRET, &[]));
        assert!(!shown.contains("f1b709ab") && !shown.contains("[241"), "{shown}");
    }
}
