//! Promises of [`StoreHealth`](portcullis_domain::ports::StoreHealth).

use super::Stores;

/// A store that was just made has the schema of this build.
pub fn a_fresh_store_is_migrated(stores: &Stores) {
    assert!(stores.health.check().unwrap().migrated);
}
