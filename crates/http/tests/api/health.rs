use std::sync::Arc;
use std::time::Duration;

use portcullis_domain::ports::{StoreError, StoreErrorKind, StoreHealth, StoreStatus};
use portcullis_domain::time::StoreTime;
use portcullis_testkit::FaultyStore;
use portcullis_testkit::fixtures::NOW;
use serde_json::json;

use crate::test_app::{Setup, TestApp};

#[actix_web::test]
async fn the_process_lives() {
    let answer = TestApp::new().await.get("/health").await;
    answer.check(200, &json!({"status": "ok"}));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}

#[actix_web::test]
async fn a_service_that_works_is_ready() {
    let ok = json!({"database": "ok", "migrations": "ok", "writes": "ok", "revocations": "ok", "clock": "ok", "draining": "ok"});
    TestApp::new().await.get("/ready").await.check(200, &json!({"status": "ok", "checks": ok}));
}

#[actix_web::test]
async fn the_checks_that_fail_are_named() {
    type Check = Box<dyn Fn() -> Result<StoreStatus, StoreError> + Send + Sync>;

    struct Health(Check, bool);

    impl std::fmt::Debug for Health {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("Health")
        }
    }

    impl StoreHealth for Health {
        fn check(&self) -> Result<StoreStatus, StoreError> {
            (self.0)()
        }

        fn check_writes(&self) -> Result<(), StoreError> {
            match self.1 {
                true => Ok(()),
                false => Err(StoreError::new(StoreErrorKind::Unavailable, "read-only")),
            }
        }

        fn oldest_write(&self) -> Option<Duration> {
            None
        }
    }

    let status = |migrated, now: Option<_>| {
        let time = now.map(|now| StoreTime { now, high_water_mark: NOW });
        move || Ok(StoreStatus { migrated, time })
    };
    let down = || Err(StoreError::new(StoreErrorKind::Unavailable, "postgres://user:hunter2@db refused"));
    let cases: [(Check, bool, bool, &[&str]); 5] = [
        (Box::new(down), true, true, &["database", "migrations", "clock"]),
        (Box::new(status(false, None)), true, true, &["migrations"]),
        (Box::new(status(true, Some(NOW + Duration::from_secs(6)))), true, true, &["clock"]),
        (Box::new(status(true, Some(NOW))), true, false, &["revocations"]),
        (Box::new(status(true, Some(NOW))), false, true, &["writes"]),
    ];
    for (check, can_write, knows_revocations, failing) in cases {
        let mut setup = Setup { knows_revocations, ..Setup::new() };
        let health = Arc::new(Health(check, can_write));
        setup.ports = FaultyStore::within(setup.ports, |store| FaultyStore { health, ..store });
        let outcome = |check| (check, if failing.contains(&check) { "failing" } else { "ok" });
        let checks = ["database", "migrations", "writes", "revocations", "clock", "draining"].map(outcome);
        let checks = serde_json::Value::from_iter(checks);
        let app = setup.start().await;
        let answer = app.get("/ready").await;
        answer.check(503, &json!({"status": "failing", "checks": checks}));
        assert_eq!(answer.header("retry-after"), Some("1"));
        assert_eq!(app.get("/health").await.status, 200, "it lives all the same");
    }
}

#[actix_web::test]
async fn draining_instance_is_unready_and_answers() {
    let app = TestApp::new().await;
    assert_eq!(app.get("/ready").await.status, 200, "which is reused for a second");
    app.api.start_draining();
    let answer = app.get("/ready").await;
    let checks = json!({"database": "ok", "migrations": "ok", "writes": "ok", "revocations": "ok", "clock": "ok",
        "draining": "failing"});
    answer.check(503, &json!({"status": "failing", "checks": checks}));
    assert_eq!(app.get("/health").await.status, 200);
    assert_eq!(app.get("/password-policy").await.status, 200);
}
