//! The stores in memory honour the contract.

use std::sync::Arc;

use portcullis_testkit::MemoryStore;
use portcullis_testkit::contract::Stores;

portcullis_testkit::store_contract!(|| Stores::of(Arc::new(MemoryStore::new())));
