use std::fmt;

use crate::account::CanonicalName;
use crate::client::Network;

/// Makes the keys that attempts are counted by. An unknown name gets a key like any other.
#[cfg_attr(feature = "mocks", mockall::automock)]
pub trait AccountKeys: fmt::Debug + Send + Sync {
    /// Returns the key of an account.
    ///
    /// - MUST be the same each time, and another for another name. [account-key-of-name]
    fn account(&self, name: &CanonicalName) -> AccountKey;

    /// Returns the key of an account at a network.
    ///
    /// - MUST be the same each time, and another for another name or network; never that of an account.
    ///   [account-key-of-network]
    fn account_at(&self, name: &CanonicalName, network: Network) -> AccountKey;
}

/// A key that attempts are counted by: that of an account, or of an account at a network. It reveals the name only to
/// those who have the secret. [`AccountKeys`](crate::throttle::AccountKeys) makes them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountKey([u8; 32]);

impl AccountKey {
    /// Wraps what a keyed hash made or a store holds.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes for a store to keep.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for AccountKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccountKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn account_keys_are_not_shown() {
        assert_eq!(format!("{:?}", AccountKey::from_bytes([7; 32])), "AccountKey(..)");
    }
}
