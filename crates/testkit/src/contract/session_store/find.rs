//! Finding and listing live sessions.

use portcullis_domain::client::ClientInfo;
use portcullis_domain::id::{SessionId, UserId};
use portcullis_domain::session::{CurrentGeneration, Generation, NewSession, Session};

use super::{MICROSECOND, SECOND};
use crate::contract::TestedStore;
use crate::fixtures::{IDLE, NOW};

/// A session lives until the microsecond before its end.
// MUST session-find-live
pub fn live_ends_to_the_microsecond(tested: &TestedStore) {
    let user = tested.user("Alice");
    let session = tested.session(user.id);
    let tested = &tested.reopened();
    assert!(tested.is_live(session.id, NOW + IDLE - MICROSECOND), "the session is live");
    assert!(!tested.is_live(session.id, NOW + IDLE), "the session is over");
    assert!(!tested.is_live(SessionId::new(NOW, &*tested.random), NOW), "an unknown session is not live");
}

/// A session comes back as it was opened, and as its last rotation left it.
// MUST session-find-stored store-durable
pub fn find_returns_the_session_as_stored(tested: &TestedStore) {
    let user = tested.user("Alice");
    let v4 = ClientInfo::new("203.0.113.7".parse().ok(), None);
    let long = ClientInfo::new(None, Some(&"\u{1f980}".repeat(256)));
    for client in [ClientInfo::default(), v4, long, crate::fixtures::client()] {
        let opened = NewSession { client, ..tested.new_session(user.id, NOW) };
        tested.open(&opened);
        let expected = Session {
            id: opened.id,
            user: user.id,
            opened_at: NOW,
            newest: CurrentGeneration { generation: Generation::FIRST, at: NOW },
            expires_at: opened.expires_at,
            client: opened.client.clone(),
        };
        let tested = &tested.reopened();
        assert_eq!(tested.find(opened.id, NOW), Some(expected.clone()));

        let later = NOW + SECOND;
        tested.present(opened.id, 0, later);
        let newest = CurrentGeneration { generation: Generation::new(1), at: later };
        let rotated = Session { newest, expires_at: later + IDLE, ..expected };
        assert_eq!(tested.find(opened.id, later), Some(rotated.clone()));
        tested.present(opened.id, 0, later + SECOND);
        assert_eq!(tested.find(opened.id, later), Some(rotated), "a repetition changes nothing");
    }
}

/// What is listed is what [`find_returns_the_session_as_stored`] finds, of one user, the latest opened first.
// MUST session-list-live session-list-order
pub fn list_returns_live_sessions_latest_first(tested: &TestedStore) {
    let (alice, bob) = (tested.user("Alice"), tested.user("Bob"));
    let open = |user, opened_at| {
        let session = tested.new_session(user, opened_at);
        tested.open(&session);
        session.id
    };
    let now = NOW + IDLE;
    // Neither the order of their ids nor that of their opening in the store.
    let [second, third, _expired, first, ended] = [2, 1, 0, 3, 4].map(|n| open(alice.id, NOW + SECOND * n));
    let bobs = open(bob.id, now);
    tested.end(ended, now);
    tested.present(third, 0, now);

    let tested = &tested.reopened();
    let listed = tested.store.list_sessions(alice.id, now).unwrap();
    let found: Vec<_> = [first, second, third].iter().filter_map(|id| tested.find(*id, now)).collect();
    assert_eq!(listed, found);
    assert_eq!(listed.len(), 3, "live sessions");
    assert_eq!(tested.list(bob.id, now), [bobs], "the live sessions of the user");
    assert_eq!(tested.list(UserId::new(NOW, &*tested.random), now), [], "the live sessions of the user");
}
