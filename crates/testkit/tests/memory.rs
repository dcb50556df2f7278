//! The stores in memory honour the contract.

use std::sync::Arc;

use portcullis_testkit::MemoryStore;
use portcullis_testkit::fixtures::NOW;

portcullis_testkit::store_contract!(|| {
    let store = MemoryStore::new();
    store.set_time(NOW);
    Arc::new(store)
});
