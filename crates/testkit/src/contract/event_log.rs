//! Promises of [`EventLog`](portcullis_domain::ports::EventLog).

use portcullis_domain::client::ClientInfo;
use portcullis_domain::event::{EventKind, LoginFailure, SecurityEvent};
use portcullis_domain::id::{SessionId, UserId};

use super::{RecordedEvent, Stores};
use crate::fixtures::NOW;

/// Every field comes back as it was recorded.
pub fn record_keeps_everything(stores: &Stores) {
    let user = UserId::new(NOW, &*stores.entropy);
    let session = SessionId::new(NOW, &*stores.entropy);
    let kind = EventKind::LoginFailed(LoginFailure::WrongPassword);
    let event = stores.event(kind, NOW).of_user(user).in_session(session);
    stores.events.record(&event).unwrap();
    assert_eq!((stores.recorded)(), [RecordedEvent::from(&event)]);
    assert_eq!((stores.recorded)()[0].detail.as_deref(), Some("wrong_password"));
}

/// An event of nobody from nowhere is kept, and so is the longest agent from the longest address.
pub fn record_keeps_the_longest_and_the_least(stores: &Stores) {
    let address = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff".parse().ok();
    let kind = EventKind::LoginFailed(LoginFailure::UnknownUser);
    for client in [ClientInfo::default(), ClientInfo::new(address, Some(&"\u{1f980}".repeat(256)))] {
        let event = SecurityEvent { client, ..stores.event(kind, NOW) };
        stores.events.record(&event).unwrap();
        assert!((stores.recorded)().contains(&RecordedEvent::from(&event)));
    }
}
