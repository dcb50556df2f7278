//! Replacing the hash of an unchanged password.

use portcullis_domain::account::CredentialVersion;
use portcullis_domain::audit::EventKind;
use portcullis_domain::password::PasswordHash;

use crate::contract::{TestedStore, race, rounds};
use crate::fixtures::NOW;

/// A rehash replaces the hash alone.
// MUST user-upgrade-hash-version
pub fn upgrade_hash_does_not_change_the_credential_version(tested: &TestedStore) {
    let user = tested.user("Alice");
    let session = tested.session(user.id);
    let new = PasswordHash::new("plain:1:stronger".to_owned());
    let event = tested.event(EventKind::HashUpgraded, NOW).of_user(user.id);
    assert!(tested.store.upgrade_hash(user.id, &user.password_hash, &new, &event).unwrap());

    let tested = &tested.reopened();
    let found = tested.store.find_user(user.id).unwrap().expect("stored");
    assert_eq!(found.password_hash.expose(), new.expose(), "the stored hash");
    assert_eq!(found.credential_version, CredentialVersion::FIRST, "the credential version");
    assert!(tested.is_live(session.id, NOW), "the session is live");
    assert!(tested.recorded_names().contains(&"hash_upgraded".to_owned()));
}

/// A rehash made from the old password's hash does nothing once the password changed.
// MUST user-upgrade-hash-no-undo
pub fn rehash_never_undoes_a_password_change(tested: &TestedStore) {
    let user = tested.user("Alice");
    let changed = PasswordHash::new("plain:1:changed".to_owned());
    let event = tested.event(EventKind::PasswordChanged, NOW).of_user(user.id);
    tested.store.set_password(user.id, &changed, &event).unwrap();

    let tested = &tested.reopened();
    let rehash = PasswordHash::new("plain:2:old password, rehashed".to_owned());
    let event = tested.event(EventKind::HashUpgraded, NOW).of_user(user.id);
    assert!(!tested.store.upgrade_hash(user.id, &user.password_hash, &rehash, &event).unwrap());
    assert_eq!(
        tested.store.find_user(user.id).unwrap().expect("stored").password_hash.expose(),
        changed.expose()
    );
    assert!(
        !tested.recorded_names().contains(&"hash_upgraded".to_owned()),
        "nothing happened, nothing is recorded"
    );
}

/// Nor does one that races the change: the new password's hash is what is left.
// MUST user-upgrade-hash-no-undo
pub fn upgrade_hash_racing_set_password_leaves_the_new_password(tested: &TestedStore) {
    rounds(|round| {
        let user = tested.user(&format!("Alice{round}"));
        let changed = PasswordHash::new("plain:1:changed".to_owned());
        let rehash = PasswordHash::new("plain:2:old password, rehashed".to_owned());
        race(4, |n| match n {
            0 => {
                let event = tested.event(EventKind::PasswordChanged, NOW).of_user(user.id);
                tested.store.set_password(user.id, &changed, &event).map(drop).unwrap();
            }
            _ => {
                let event = tested.event(EventKind::HashUpgraded, NOW).of_user(user.id);
                tested.store.upgrade_hash(user.id, &user.password_hash, &rehash, &event).map(drop).unwrap();
            }
        });
        let found = tested.store.find_user(user.id).unwrap().expect("stored");
        assert_eq!(found.password_hash.expose(), changed.expose(), "the stored hash");
        assert_eq!(found.credential_version, CredentialVersion::FIRST.next(), "the credential version");
    });
}
