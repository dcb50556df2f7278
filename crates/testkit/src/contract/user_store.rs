//! Promises of [`UserStore`](portcullis_domain::account::UserStore).

mod administer;
mod change_password;
mod delete;
mod insert;
mod upgrade_hash;

use std::time::Duration;

use portcullis_domain::account::{ChangeUserError, CredentialVersion, Reauthentication};
use portcullis_domain::id::{SessionId, UserId};
use portcullis_domain::password::PasswordHash;
use portcullis_domain::session::Proof;
use portcullis_domain::time::UnixTime;

pub use self::administer::*;
pub use self::change_password::*;
pub use self::delete::*;
pub use self::insert::*;
pub use self::upgrade_hash::*;
use super::{TestedStore, sorted};
use crate::fixtures::{self, NOW};

fn nobody(tested: &TestedStore) -> UserId {
    UserId::new(NOW, &*tested.random)
}

/// The password was confirmed before it was ever changed.
fn confirmed_in(tested: &TestedStore, session: SessionId) -> Reauthentication {
    let proof = Proof::Password(fixtures::successful_attempt(&*tested.random));
    Reauthentication { session, credential_version: CredentialVersion::FIRST, proof }
}

fn hash(password: &str) -> PasswordHash {
    PasswordHash::new(format!("plain:1:{password}"))
}

fn ends_the_sessions(
    tested: &TestedStore,
    event_name: &str,
    change: &dyn Fn(UserId, UnixTime) -> Result<Vec<SessionId>, ChangeUserError>,
) -> UserId {
    let (alice, bob) = (tested.user("Alice"), tested.user("Bob"));
    let (first, second, over) =
        (tested.session(alice.id), tested.session(alice.id), tested.session(alice.id));
    let bobs = tested.session(bob.id);
    tested.end(over.id, NOW);
    let later = NOW + Duration::from_mins(1);

    let ended = sorted(change(alice.id, later).unwrap());
    let expected = sorted([first.id, second.id]);
    assert_eq!(ended, expected, "the live ones");
    let tested = &tested.reopened();
    assert!([first.id, second.id].iter().all(|id| !tested.is_live(*id, later)));
    assert!(tested.is_live(bobs.id, later), "the session is live");
    let told = tested.changes(later);
    assert_eq!(
        told.ended,
        expected.iter().map(|id| (*id, later)).collect::<Vec<_>>(),
        "the reported ends, with their times"
    );
    assert_eq!(tested.count_of(event_name), 1, "recorded events of this name");
    alice.id
}
