//! How long single functions take: what every request pays (tokens), what a registration pays (the policy), and what a
//! refresh waits for (the rotation statement on both databases).
#![expect(clippy::unwrap_used, reason = "a function that fails has no time to be told")]

use std::cell::Cell;
use std::fmt;
use std::time::Duration;

use divan::{Bencher, black_box};
use portcullis_adapters::db::{Database, DatabaseUrl, PoolConfig};
use portcullis_adapters::keys::{KeyRing, KeyRotation, SecretFingerprint, SigningAlgorithm};
use portcullis_adapters::secret::{Secret, Secrets};
use portcullis_adapters::token::jwt::{JwtCodec, TokenName};
use portcullis_adapters::token::refresh::MacRefreshTokenCodec;
use portcullis_domain::account::UserStore as _;
use portcullis_domain::audit::EventKind;
use portcullis_domain::id::{SessionId, TokenId, UserId};
use portcullis_domain::password::PlaintextPassword;
use portcullis_domain::password::policy::PasswordPolicy;
use portcullis_domain::session::{Generation, RotateOutcome, RotateRequest, SessionStore as _};
use portcullis_domain::token::{
    AccessTokenCodec as _, Claims, RefreshClaims, RefreshToken, RefreshTokenCodec as _,
};
use portcullis_testkit::SeededRandom;
use portcullis_testkit::fixtures::{IDLE, NOW, PASSWORD, event, new_session, new_user, opening_events};
use portcullis_testkit::postgres::ThrowawayPostgres;
use tempfile::TempDir;

fn main() {
    divan::main();
}

/// Derives the keys of both algorithms, as every start and every new epoch does.
#[divan::bench]
fn derive_key_ring(bencher: Bencher<'_, '_>) {
    let secrets = secrets();
    bencher.bench_local(|| KeyRing::new(&secrets, SigningAlgorithm::Es256, KeyRotation::default(), NOW));
}

#[divan::bench(args = SigningAlgorithm::ALL)]
fn sign_access_token(bencher: Bencher<'_, '_>, algorithm: SigningAlgorithm) {
    let codec = codec(algorithm, 0);
    let claims = claims();
    bencher.bench_local(|| codec.sign(black_box(&claims)).unwrap());
}

/// How an access token is verified.
#[derive(Clone, Copy, Debug)]
enum Verification {
    Es256,
    EdDsa,
    /// The other algorithm while ES256 signs: its key comes last in the ring.
    Other,
    /// It was verified before, and is remembered.
    Remembered,
}

#[divan::bench(args = [Verification::Es256, Verification::EdDsa, Verification::Other, Verification::Remembered])]
fn verify_access_token(bencher: Bencher<'_, '_>, how: Verification) {
    let (algorithm, signs, remembered) = match how {
        Verification::Es256 => (SigningAlgorithm::Es256, SigningAlgorithm::Es256, 0),
        Verification::EdDsa => (SigningAlgorithm::EdDsa, SigningAlgorithm::EdDsa, 0),
        Verification::Other => (SigningAlgorithm::EdDsa, SigningAlgorithm::Es256, 0),
        Verification::Remembered => (SigningAlgorithm::Es256, SigningAlgorithm::Es256, 16),
    };
    let token = codec(algorithm, 0).sign(&claims()).unwrap();
    let codec = codec(signs, remembered);
    codec.verify(token.expose(), NOW).unwrap();
    bencher.bench_local(|| codec.verify(black_box(token.expose()), NOW).unwrap());
}

fn codec(algorithm: SigningAlgorithm, remembered: usize) -> JwtCodec {
    let keys = KeyRing::new(&secrets(), algorithm, KeyRotation::default(), NOW);
    let name = |text| TokenName::parse(text).unwrap();
    JwtCodec::new(keys, name("https://id.example.org"), name("portcullis")).remembering(remembered)
}

#[divan::bench]
fn open_refresh_token(bencher: Bencher<'_, '_>) {
    let (codec, token) = refresh_token();
    bencher.bench_local(|| codec.verify(black_box(&token)).unwrap());
}

#[divan::bench]
fn refuse_forged_refresh_token(bencher: Bencher<'_, '_>) {
    let (codec, token) = refresh_token();
    let (rest, last) = token.expose().split_at(token.expose().len() - 2);
    let forged = RefreshToken::new(format!("{rest}{}", if last == "AA" { "BA" } else { "AA" }));
    bencher.bench_local(|| codec.verify(black_box(&forged)).unwrap_err());
}

#[divan::bench(args = [PASSWORD, "password"])]
fn check_password(bencher: Bencher<'_, '_>, password: &str) {
    let policy = PasswordPolicy::default();
    let attempt = PlaintextPassword::new(password.to_owned());
    bencher.bench_local(|| policy.accept(black_box(&attempt), "alice").is_ok());
}

/// Where a rotation is committed.
#[derive(Clone, Copy)]
enum Store {
    /// A file on the disk with the build, synced with every commit.
    Sqlite,
    /// A server of its own, over TCP, synced with every commit.
    Postgres,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "PostgreSQL",
        })
    }
}

/// One rotation after the other, of one session.
#[divan::bench(args = [Store::Sqlite, Store::Postgres], max_time = 3)]
fn rotate_session(bencher: Bencher<'_, '_>, store: Store) {
    let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (_server, url) = match store {
        Store::Sqlite => (None, format!("sqlite://{}", folder.path().join("rotations.db").display())),
        Store::Postgres => {
            let server = ThrowawayPostgres::start_durable().unwrap();
            let url = server.create_database();
            (Some(server), url)
        }
    };
    let database = Database::new(DatabaseUrl::parse(&url).unwrap(), PoolConfig::default());
    database.prepare(SecretFingerprint::from_bytes([1; 32]), &[]).unwrap();
    let random = SeededRandom::new(1);
    let user = new_user("alice", &random);
    database.insert_user(&user, &event(EventKind::UserRegistered, NOW, &random)).unwrap();
    let session = new_session(user.id, NOW, &random);
    database.open_session(&session, &opening_events(&session, &random)).unwrap();
    let reused = event(EventKind::RefreshTokenReused, NOW, &random);
    let next = Cell::new(0);
    bencher.bench_local(|| {
        let generation = Generation::new(next.replace(next.get() + 1));
        let presented =
            RotateRequest { session: session.id, generation, now: NOW, grace: Duration::ZERO, idle: IDLE };
        let rotation = database.rotate(&presented, &reused).unwrap();
        assert!(matches!(rotation, RotateOutcome::Rotated(_)), "{rotation:?}");
    });
}

fn secrets() -> Secrets {
    Secrets::new(Secret::parse_for_development("a secret").unwrap(), [])
}

fn claims() -> Claims {
    let random = SeededRandom::new(1);
    Claims {
        user: UserId::new(NOW, &random),
        session: SessionId::new(NOW, &random),
        token: TokenId::new(NOW, &random),
        opened_at: NOW,
        issued_at: NOW,
        not_before: NOW,
        expires_at: NOW + Duration::from_mins(15),
    }
}

fn refresh_token() -> (MacRefreshTokenCodec, RefreshToken) {
    let codec = MacRefreshTokenCodec::new(&secrets());
    let session = SessionId::new(NOW, &SeededRandom::new(1));
    let token = codec.issue(RefreshClaims { session, generation: Generation::FIRST });
    (codec, token)
}
