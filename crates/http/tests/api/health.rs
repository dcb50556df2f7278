use std::sync::Arc;
use std::time::Duration;

use portcullis_domain::ports::{StoreError, StoreErrorKind, StoreHealth, StoreStatus};
use portcullis_domain::time::StoreTime;
use portcullis_testkit::fixtures::NOW;
use serde_json::json;

use crate::rig::{Rig, Setup};

#[actix_web::test]
async fn the_process_lives() {
    let answer = Rig::new().await.get("/health").await;
    answer.check(200, &json!({"status": "ok"}));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}

#[actix_web::test]
async fn a_service_that_works_is_ready() {
    let ok = json!({"database": "ok", "migrations": "ok", "revocations": "ok", "clock": "ok"});
    Rig::new().await.get("/ready").await.check(200, &json!({"status": "ok", "checks": ok}));
}

#[actix_web::test]
async fn the_checks_that_fail_are_named() {
    type Check = Box<dyn Fn() -> Result<StoreStatus, StoreError> + Send + Sync>;

    struct Health(Check);

    impl std::fmt::Debug for Health {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("Health")
        }
    }

    impl StoreHealth for Health {
        fn check(&self) -> Result<StoreStatus, StoreError> {
            (self.0)()
        }
    }

    let status = |migrated, now: Option<_>| {
        let time = now.map(|now| StoreTime { now, newest: NOW });
        move || Ok(StoreStatus { migrated, time })
    };
    let down = || Err(StoreError::new(StoreErrorKind::Unavailable, "postgres://user:hunter2@db refused"));
    let cases: [(Check, bool, serde_json::Value); 4] = [
        (
            Box::new(down),
            true,
            json!({"database": "failing", "migrations": "failing", "revocations": "ok", "clock": "failing"}),
        ),
        (
            Box::new(status(false, None)),
            true,
            json!({"database": "ok", "migrations": "failing", "revocations": "ok", "clock": "ok"}),
        ),
        (
            Box::new(status(true, Some(NOW + Duration::from_secs(6)))),
            true,
            json!({"database": "ok", "migrations": "ok", "revocations": "ok", "clock": "failing"}),
        ),
        (
            Box::new(status(true, Some(NOW))),
            false,
            json!({"database": "ok", "migrations": "ok", "revocations": "failing", "clock": "ok"}),
        ),
    ];
    for (check, knows_revocations, checks) in cases {
        let mut setup = Setup { knows_revocations, ..Setup::new() };
        setup.ports.health = Arc::new(Health(check));
        let rig = setup.start().await;
        let answer = rig.get("/ready").await;
        answer.check(503, &json!({"status": "failing", "checks": checks}));
        assert_eq!(answer.header("retry-after"), Some("1"));
        assert_eq!(rig.get("/health").await.status, 200, "it lives all the same");
    }
}
