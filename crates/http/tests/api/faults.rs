//! What a client learns of what breaks behind the API: that it broke, and no more.

use std::sync::Arc;
use std::time::Duration;

use actix_web::test::TestRequest;
use portcullis_domain::account::{
    CanonicalName, ChangeUserError, InsertUserError, NewUser, Reauthentication, User, UserDeleted, UserStore,
};
use portcullis_domain::audit::{AuditLog, EventsOf, SecurityEvent, StoredEvent};
use portcullis_domain::id::{EventId, SessionId, UserId};
use portcullis_domain::maintenance::{ClockNotTrusted, PurgeOutcome, PurgeRequest, SyncError};
use portcullis_domain::password::PasswordHash;
use portcullis_domain::ports::{StoreError, StoreErrorKind};
use portcullis_domain::session::{
    Cursor, EndOutcome, NewSession, OpenSessionError, RotateOutcome, RotateRequest, Session, SessionChanges,
    SessionOpened, SessionStore,
};
use portcullis_domain::time::UnixTime;
use portcullis_domain::token::{
    AccessToken, AccessTokenCodec, Claims, InvalidToken, SignError, SignedClaims, VerificationKey,
};
use portcullis_http::{AllowedOrigins, ProblemCode};
use portcullis_testkit::FaultyStore;
use portcullis_testkit::fixtures::{NOW, PASSWORD};
use serde_json::json;

use crate::access_log::logged;
use crate::test_app::{Setup, TestApp, Tokens, bearer, named, post};

const CAUSE: &str = "SELECT * FROM users: could not connect to postgres://app:hunter2@10.0.0.5/db";

fn failure(kind: StoreErrorKind) -> StoreError {
    StoreError::new(kind, CAUSE)
}

/// Users and sessions that cannot be had, and no news of them.
#[derive(Debug)]
struct Failing(StoreErrorKind);

impl UserStore for Failing {
    fn insert_user(&self, _: &NewUser, _: &SecurityEvent) -> Result<(), InsertUserError> {
        Err(failure(self.0).into())
    }

    fn find_user_by_name(&self, _: &CanonicalName) -> Result<Option<User>, StoreError> {
        Err(failure(self.0))
    }

    fn find_user(&self, _: UserId) -> Result<Option<User>, StoreError> {
        Err(failure(self.0))
    }

    fn upgrade_hash(
        &self,
        _: UserId,
        _: &PasswordHash,
        _: &PasswordHash,
        _: &SecurityEvent,
    ) -> Result<bool, StoreError> {
        Err(failure(self.0))
    }

    fn set_password(
        &self,
        _: UserId,
        _: &PasswordHash,
        _: &SecurityEvent,
    ) -> Result<Vec<SessionId>, ChangeUserError> {
        Err(failure(self.0).into())
    }

    fn change_password(
        &self,
        _: SessionId,
        _: &PasswordHash,
        _: &NewSession,
        _: &dyn EventsOf<SessionOpened>,
    ) -> Result<SessionOpened, OpenSessionError> {
        Err(failure(self.0).into())
    }

    fn disable_user(&self, _: UserId, _: &SecurityEvent) -> Result<Vec<SessionId>, ChangeUserError> {
        Err(failure(self.0).into())
    }

    fn enable_user(&self, _: UserId, _: &SecurityEvent) -> Result<(), ChangeUserError> {
        Err(failure(self.0).into())
    }

    fn delete_user(
        &self,
        _: UserId,
        _: Option<Reauthentication>,
        _: UnixTime,
        _: &dyn EventsOf<UserDeleted>,
    ) -> Result<UserDeleted, ChangeUserError> {
        Err(failure(self.0).into())
    }
}

impl SessionStore for Failing {
    fn open_session(
        &self,
        _: &NewSession,
        _: &dyn EventsOf<SessionOpened>,
    ) -> Result<SessionOpened, OpenSessionError> {
        Err(failure(self.0).into())
    }

    fn rotate(&self, _: &RotateRequest, _: &dyn EventsOf<UserId>) -> Result<RotateOutcome, StoreError> {
        Err(failure(self.0))
    }

    fn end_session(
        &self,
        _: SessionId,
        _: Option<UserId>,
        _: UnixTime,
        _: &dyn EventsOf<UserId>,
    ) -> Result<EndOutcome, StoreError> {
        Err(failure(self.0))
    }

    fn end_sessions(
        &self,
        _: UserId,
        _: Option<SessionId>,
        _: &SecurityEvent,
    ) -> Result<Vec<SessionId>, StoreError> {
        Err(failure(self.0))
    }

    fn end_again(&self, _: &[SessionId], _: UnixTime, _: UnixTime) -> Result<Vec<SessionId>, StoreError> {
        Err(failure(self.0))
    }

    fn invalidate_sessions(&self, _: &SecurityEvent) -> Result<UnixTime, StoreError> {
        Err(failure(self.0))
    }

    fn find_session(&self, _: SessionId, _: UnixTime) -> Result<Option<Session>, StoreError> {
        Err(failure(self.0))
    }

    fn list_sessions(&self, _: UserId, _: UnixTime) -> Result<Vec<Session>, StoreError> {
        Err(failure(self.0))
    }

    fn session_changes(&self, _: Option<Cursor>, _: UnixTime, _: u32) -> Result<SessionChanges, StoreError> {
        Ok(SessionChanges::default())
    }

    fn purge_sessions(&self, _: &PurgeRequest) -> Result<PurgeOutcome, StoreError> {
        Err(failure(self.0))
    }
}

impl AuditLog for Failing {
    /// The other stores are what fails.
    fn record_event(&self, _: &SecurityEvent) -> Result<(), StoreError> {
        Ok(())
    }

    fn list_events(&self, _: UserId, _: Option<EventId>, _: u32) -> Result<Vec<StoredEvent>, StoreError> {
        Err(failure(self.0))
    }
}

/// A service whose stores fail, and the good tokens of one that worked.
async fn broken(kind: StoreErrorKind) -> (TestApp, Tokens) {
    let tokens = TestApp::new().await.alice().await;
    let mut setup = Setup::new();
    setup.ports = FaultyStore::within(setup.ports, |store| FaultyStore {
        users: Arc::new(Failing(kind)),
        sessions: Arc::new(Failing(kind)),
        audit_log: Arc::new(Failing(kind)),
        ..store
    });
    (setup.start().await, tokens)
}

#[actix_web::test]
async fn a_store_that_fails_is_a_503_and_no_more() {
    for (kind, code) in [
        (StoreErrorKind::Unavailable, ProblemCode::StorageUnavailable),
        (StoreErrorKind::Full, ProblemCode::StorageFull),
        (StoreErrorKind::Internal, ProblemCode::InternalError),
        (StoreErrorKind::Corrupt, ProblemCode::StorageUnavailable),
    ] {
        let (app, tokens) = broken(kind).await;
        let answers = [
            app.register("Alice", PASSWORD).await,
            app.refresh(&tokens.refresh).await,
            app.post("/logout", json!({"refresh_token": tokens.refresh})).await,
            app.post("/logout?scope=others", json!({"refresh_token": tokens.refresh})).await,
            app.send(
                named(TestRequest::post()).uri("/logout?scope=all").insert_header(bearer(&tokens.access)),
            )
            .await,
            app.get_as("/me", &tokens.access).await,
            app.get_as("/me/sessions", &tokens.access).await,
            app.get_as("/me/activity", &tokens.access).await,
            app.delete_as(&format!("/me/sessions/{}", tokens.session), &tokens.access).await,
            app.change_password(&tokens.access, PASSWORD, "An0ther-horse battery").await,
            app.delete_account(&tokens.access, PASSWORD).await,
        ];
        for answer in answers {
            answer.check_problem(code);
        }
        assert_eq!(app.get_as("/protected", &tokens.access).await.status, 200, "from memory");
        app.wait(6);
        app.get_as("/protected", &tokens.access).await.check_problem(code);
        match kind {
            // To a login, a row that does not parse is a user whom nobody can log in to.
            StoreErrorKind::Corrupt => {
                app.login("Alice", PASSWORD).await.check_problem(ProblemCode::InvalidCredentials);
            }
            _ => app.login("Alice", PASSWORD).await.check_problem(code),
        }
        assert_eq!(app.get("/health").await.status, 200);
    }
}

// ASVS 16.5.1
#[actix_web::test]
async fn the_cause_is_logged_once_and_never_sent() {
    let (app, _) = broken(StoreErrorKind::Unavailable).await;
    let body = json!({"username": "Alice", "password": PASSWORD});
    let answer = app.send(post("/register", body).insert_header(("x-request-id", "cause"))).await;
    assert_eq!(answer.status, 503);
    for part in ["SELECT", "postgres", "hunter2", "10.0.0.5"] {
        assert!(!answer.body.contains(part), "{answer:?}"); // ASVS 13.4.2
    }
    let lines = logged("cause"); // ASVS 16.3.4
    assert_eq!(lines.iter().filter(|line| line.contains(CAUSE)).count(), 1, "{lines:?}");
}

#[actix_web::test]
async fn no_token_is_given_out_before_the_clock_is_set_or_while_it_is_far_off() {
    async fn check(app: &TestApp, tokens: &Tokens) {
        let work = app.hasher.work();
        let login = app.login("alice", PASSWORD).await;
        login.check_problem(ProblemCode::NotReady);
        assert_eq!(login.header("retry-after"), Some("1"));
        app.refresh(&tokens.refresh).await.check_problem(ProblemCode::NotReady);
        assert_eq!(app.hasher.work(), work, "nothing was hashed for nothing");
    }

    let app = Setup { knows_revocations: false, ..Setup::new() }.start().await;
    assert_eq!(app.register("Alice", PASSWORD).await.status, 201);
    let tokens = TestApp::new().await.alice().await;
    check(&app, &tokens).await;

    app.maintenance.sync().unwrap();
    let tokens = app.login("alice", PASSWORD).await.tokens();
    app.store.set_time(NOW + Duration::from_secs(61));
    let result = app.maintenance.sync();
    assert!(matches!(result, Err(SyncError::Clock(ClockNotTrusted::Behind(61)))), "{result:?}");
    check(&app, &tokens).await;
    let change = app.change_password(&tokens.access, PASSWORD, "An0ther-horse battery").await;
    change.check_problem(ProblemCode::NotReady);
    assert_eq!(app.get_as("/protected", &tokens.access).await.status, 200, "what was given out is good");
}

/// Access tokens that cannot be signed, and panic when they are verified.
#[derive(Debug)]
struct BrokenTokens;

impl AccessTokenCodec for BrokenTokens {
    fn sign(&self, _: &Claims) -> Result<AccessToken, SignError> {
        Err(SignError(CAUSE.into()))
    }

    fn verify(&self, _: &str, _: UnixTime) -> Result<SignedClaims, InvalidToken> {
        panic!("on purpose")
    }

    fn verification_keys(&self, _: UnixTime) -> Vec<VerificationKey> {
        Vec::new()
    }
}

///
// ASVS 16.5.4
#[actix_web::test]
async fn a_panic_is_one_requests_500() {
    let mut setup = Setup::new();
    setup.ports.access_tokens = Arc::new(BrokenTokens);
    let app = setup.start().await;
    app.get_as("/protected", "x").await.check_problem(ProblemCode::InternalError);
    assert_eq!(app.get("/health").await.status, 200, "the worker lives on");
}

// ASVS 16.3.4 16.5.4
#[actix_web::test]
async fn a_panic_is_logged_with_its_route_and_may_be_read_by_pages() {
    let mut setup = Setup::new();
    setup.ports.access_tokens = Arc::new(BrokenTokens);
    setup.config.allowed_origins = AllowedOrigins::Any;
    let app = setup.start().await;
    let request = TestRequest::get()
        .uri("/protected?secret")
        .insert_header(("x-request-id", "panic"))
        .insert_header(("origin", "https://app.example.com"))
        .insert_header(("authorization", "Bearer x"));
    let answer = app.send(request).await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (500, Some("*")));
    let lines = logged("panic");
    let is_named = |line: &String| line.contains("a request handler panicked route=/protected");
    assert_eq!(lines.iter().filter(|line| is_named(line)).count(), 1, "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("method=GET route=/protected status=500")), "{lines:?}");
}

// ASVS 11.2.5
#[actix_web::test]
async fn a_token_that_cannot_be_signed_is_a_500() {
    let mut setup = Setup::new();
    setup.ports.access_tokens = Arc::new(BrokenTokens);
    let app = setup.start().await;
    assert_eq!(app.register("Alice", PASSWORD).await.status, 201);
    app.login("Alice", PASSWORD).await.check_problem(ProblemCode::InternalError);
}

/// Says in the log that it looks somebody up.
#[derive(Debug)]
pub(crate) struct LoggingUsers(pub(crate) Arc<dyn UserStore>);

impl UserStore for LoggingUsers {
    fn insert_user(&self, user: &NewUser, event: &SecurityEvent) -> Result<(), InsertUserError> {
        self.0.insert_user(user, event)
    }

    fn find_user_by_name(&self, name: &CanonicalName) -> Result<Option<User>, StoreError> {
        log::info!("looking up a name");
        self.0.find_user_by_name(name)
    }

    fn find_user(&self, id: UserId) -> Result<Option<User>, StoreError> {
        log::info!("looking up an id");
        self.0.find_user(id)
    }

    fn upgrade_hash(
        &self,
        id: UserId,
        old: &PasswordHash,
        new: &PasswordHash,
        event: &SecurityEvent,
    ) -> Result<bool, StoreError> {
        self.0.upgrade_hash(id, old, new, event)
    }

    fn set_password(
        &self,
        id: UserId,
        new: &PasswordHash,
        event: &SecurityEvent,
    ) -> Result<Vec<SessionId>, ChangeUserError> {
        self.0.set_password(id, new, event)
    }

    fn change_password(
        &self,
        acting: SessionId,
        new: &PasswordHash,
        session: &NewSession,
        events: &dyn EventsOf<SessionOpened>,
    ) -> Result<SessionOpened, OpenSessionError> {
        self.0.change_password(acting, new, session, events)
    }

    fn disable_user(&self, id: UserId, event: &SecurityEvent) -> Result<Vec<SessionId>, ChangeUserError> {
        self.0.disable_user(id, event)
    }

    fn enable_user(&self, id: UserId, event: &SecurityEvent) -> Result<(), ChangeUserError> {
        self.0.enable_user(id, event)
    }

    fn delete_user(
        &self,
        id: UserId,
        reauthentication: Option<Reauthentication>,
        at: UnixTime,
        events: &dyn EventsOf<UserDeleted>,
    ) -> Result<UserDeleted, ChangeUserError> {
        self.0.delete_user(id, reauthentication, at, events)
    }
}
