//! The store in memory honours the contract, and so does a store that passes every call on to it.

mod memory {
    use std::sync::Arc;

    use portcullis_testkit::MemoryStore;
    use portcullis_testkit::fixtures::NOW;

    portcullis_testkit::store_contract!(|| {
        let store = MemoryStore::new();
        store.set_time(NOW);
        Arc::new(store)
    });
}

mod faulty {
    use std::sync::Arc;

    use portcullis_domain::id::SessionId;
    use portcullis_domain::ports::Store;
    use portcullis_domain::time::UnixTime;
    use portcullis_testkit::contract::{OpenTransaction, RecordedEvent, TestBackend};
    use portcullis_testkit::fixtures::NOW;
    use portcullis_testkit::{FaultyStore, MemoryStore};

    struct Delegating(Arc<MemoryStore>);

    impl TestBackend for Delegating {
        fn store(&self) -> Arc<dyn Store> {
            Arc::new(FaultyStore::over(self.0.store()))
        }

        fn reopen(&self) -> Option<Arc<dyn Store>> {
            None
        }

        fn recorded(&self) -> Vec<RecordedEvent> {
            self.0.recorded()
        }

        fn begin_end(&self, session: SessionId, at: UnixTime) -> OpenTransaction {
            TestBackend::begin_end(&self.0, session, at)
        }
    }

    portcullis_testkit::store_contract!(|| {
        let store = MemoryStore::new();
        store.set_time(NOW);
        Delegating(Arc::new(store))
    });
}
