use std::fmt;

use crate::account::CanonicalName;
use crate::client::Network;
use crate::throttle::AccountKey;

/// Makes what stands for accounts where attempts are counted. A name that no account has gets one like any other.
#[cfg_attr(feature = "mocks", mockall::automock)]
pub trait AccountKeys: fmt::Debug + Send + Sync {
    /// What stands for an account.
    ///
    /// - MUST be the same each time, and another for another name. [account-key-of-name]
    fn account(&self, name: &CanonicalName) -> AccountKey;

    /// What stands for an account at a network.
    ///
    /// - MUST be the same each time, and another for another name or network; never that of an account.
    ///   [account-key-of-network]
    fn account_at(&self, name: &CanonicalName, network: Network) -> AccountKey;
}
