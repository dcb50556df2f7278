use portcullis_domain::account::CanonicalName;
use portcullis_domain::client::Network;
use portcullis_domain::throttle::{AccountKey, AccountKeys};

use crate::tokens::checksum;

/// Account keys that are checksums, which need no secret.
#[derive(Debug)]
pub struct PlainAccountKeys {
    key: String,
}

impl PlainAccountKeys {
    /// Those of a deployment with this key.
    pub fn new(key: &str) -> Self {
        Self { key: key.to_owned() }
    }

    fn of(&self, text: &str) -> AccountKey {
        // As many digits as an account key has bytes.
        let digits = checksum(&self.key, text) + &checksum(text, &self.key);
        let mut bytes = [0; 32];
        for (byte, digit) in bytes.iter_mut().zip(digits.bytes()) {
            *byte = digit;
        }
        AccountKey::from_bytes(bytes)
    }
}

impl AccountKeys for PlainAccountKeys {
    fn account(&self, name: &CanonicalName) -> AccountKey {
        self.of(&format!("account {}", name.as_str()))
    }

    fn account_at(&self, name: &CanonicalName, network: Network) -> AccountKey {
        self.of(&format!("account at {} {}", network.address(), name.as_str()))
    }
}
