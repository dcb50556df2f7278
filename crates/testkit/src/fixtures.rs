//! People and things that tests need again and again.

use std::num::NonZeroU32;
use std::time::Duration;

use portcullis_domain::account::{CredentialVersion, NewUser, Registration, Username};
use portcullis_domain::audit::{EventKind, SecurityEvent};
use portcullis_domain::client::ClientInfo;
use portcullis_domain::id::{EventId, SessionId, UserId, Uuid, uuid_v7};
use portcullis_domain::password::{PasswordHash, PlaintextPassword};
use portcullis_domain::ports::SecureRandom;
use portcullis_domain::session::{Credentials, NewSession, Proof, SessionOpened};
use portcullis_domain::throttle::{AccountKey, SuccessfulAttempt};
use portcullis_domain::time::UnixTime;

/// When tests happen, to the microsecond: 2027-01-15T08:00:00.123456Z.
pub const NOW: UnixTime = UnixTime::from_micros(1_800_000_000_123_456);

/// A password that every policy accepts.
pub const PASSWORD: &str = "Corr3ct-horse battery";

/// Alice's form.
pub fn alice() -> Registration {
    Registration { username: "Alice".to_owned(), password: PlaintextPassword::new(PASSWORD.to_owned()) }
}

/// What somebody types to log in.
pub fn credentials(username: &str, password: &str) -> Credentials {
    Credentials { username: username.to_owned(), password: PlaintextPassword::new(password.to_owned()) }
}

/// A caller with an address and an agent.
pub fn client() -> ClientInfo {
    ClientInfo::new("2001:db8::7".parse().ok(), Some("fixture/1.0"))
}

/// A user of this name, registered at [`NOW`].
pub fn new_user(name: &str, random: &dyn SecureRandom) -> NewUser {
    NewUser {
        id: UserId::new(NOW, random),
        username: Username::from_stored(name.to_owned()).expect("a name that can be stored"),
        password_hash: PasswordHash::new(format!("plain:0:{PASSWORD}")),
        created_at: NOW,
    }
}

/// A session of `user` opened at `opened_at`: an hour idle, a day in all.
pub fn new_session(user: UserId, opened_at: UnixTime, random: &dyn SecureRandom) -> NewSession {
    NewSession {
        id: SessionId::new(opened_at, random),
        user,
        credential_version: CredentialVersion::FIRST,
        opened_at,
        expires_at: opened_at + IDLE,
        absolute_expires_at: opened_at + ABSOLUTE,
        max_per_user: NonZeroU32::MAX,
        client: client(),
        proof: Proof::Password(successful_attempt(random)),
    }
}

/// A successful attempt at a password that was right at once, and made no network known.
pub fn successful_attempt(random: &dyn SecureRandom) -> SuccessfulAttempt {
    let mut counter = [0; 32];
    random.fill(&mut counter);
    SuccessfulAttempt { counter: AccountKey::from_bytes(counter), known: None }
}

/// How long [`new_session`] lasts unrefreshed.
pub const IDLE: Duration = Duration::from_hours(1);

/// How long [`new_session`] lasts in all.
pub const ABSOLUTE: Duration = Duration::from_hours(24);

/// An event of nobody.
pub fn event(kind: EventKind, at: UnixTime, random: &dyn SecureRandom) -> SecurityEvent {
    let id = EventId::from_uuid(uuid_v7(at, random));
    SecurityEvent { id, at, kind, user: None, session: None, client: client() }
}

/// Makes the events of a session that is opened: one of the login, and one of each other session that ends.
pub fn opening_events(
    session: &NewSession,
    random: &dyn SecureRandom,
) -> impl Fn(&SessionOpened) -> Vec<SecurityEvent> + use<> {
    let event = |kind| event(kind, session.opened_at, random).of_user(session.user);
    let login = event(EventKind::LoginSucceeded).in_session(session.id);
    let evicted = event(EventKind::SessionEvicted);
    move |opened| {
        let evictions = opened.ended.iter().map(|session| event_of_session(&evicted, *session));
        std::iter::once(login.clone()).chain(evictions).collect()
    }
}

/// The same event in one of several sessions, under an ID of its own.
pub fn event_of_session(event: &SecurityEvent, session: SessionId) -> SecurityEvent {
    const RANDOM: u128 = (1 << 62) - 1;
    let id = event.id.as_uuid().as_u128() ^ (session.as_uuid().as_u128() & RANDOM);
    SecurityEvent { id: EventId::from_uuid(Uuid::from_u128(id)), ..event.clone() }.in_session(session)
}
