use portcullis_domain::account::CanonicalName;
use portcullis_domain::client::Network;
use portcullis_domain::throttle::{Pseudonym, Pseudonyms};

use crate::tokens::checksum;

/// Pseudonyms that are checksums: anybody can make them.
#[derive(Debug)]
pub struct PlainPseudonyms {
    key: String,
}

impl PlainPseudonyms {
    /// Those of a deployment with this key.
    pub fn new(key: &str) -> Self {
        Self { key: key.to_owned() }
    }

    fn of(&self, text: &str) -> Pseudonym {
        // As many digits as a pseudonym has bytes.
        let digits = checksum(&self.key, text) + &checksum(text, &self.key);
        let mut bytes = [0; 32];
        for (byte, digit) in bytes.iter_mut().zip(digits.bytes()) {
            *byte = digit;
        }
        Pseudonym::from_bytes(bytes)
    }
}

impl Pseudonyms for PlainPseudonyms {
    fn account(&self, name: &CanonicalName) -> Pseudonym {
        self.of(&format!("account {}", name.as_str()))
    }

    fn account_at(&self, name: &CanonicalName, network: Network) -> Pseudonym {
        self.of(&format!("account at {} {}", network.address(), name.as_str()))
    }
}
