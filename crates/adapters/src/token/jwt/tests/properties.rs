use proptest::prelude::*;

use super::*;

/// Any claims that can be issued in the epoch of [`NOW`]: it is `iat` that the epoch binds.
fn any_claims() -> impl Strategy<Value = Claims> {
    /// The last whole second that [`UnixTime`] can tell.
    const END: i64 = i64::MAX / 1_000_000;
    let dates = (0..=END, EPOCH..EPOCH + WEEK, 0..=END, 0..=END);
    (any::<[u128; 3]>(), dates).prop_map(|([user, session, token], (opened, issued, begins, ends))| Claims {
        user: UserId::from_uuid(Uuid::from_u128(user)),
        session: SessionId::from_uuid(Uuid::from_u128(session)),
        token: TokenId::from_uuid(Uuid::from_u128(token)),
        opened_at: UnixTime::from_secs(opened),
        issued_at: UnixTime::from_secs(issued),
        not_before: UnixTime::from_secs(begins),
        expires_at: UnixTime::from_secs(ends),
    })
}

/// Any moment at which the keys of that epoch are in the ring.
fn any_now() -> impl Strategy<Value = UnixTime> {
    (EPOCH - WEEK..EPOCH + 2 * WEEK).prop_map(UnixTime::from_secs)
}

fn any_algorithm() -> impl Strategy<Value = SigningAlgorithm> {
    prop_oneof![Just(SigningAlgorithm::EdDsa), Just(SigningAlgorithm::Es256)]
}

proptest! {
    #[test]
    fn what_is_signed_is_read(claims in any_claims(), now in any_now(), algorithm in any_algorithm()) {
        let codec = codec_of(algorithm);
        let token = codec.sign(&claims).unwrap();
        for _ in ["at first sight", "from memory"] {
            prop_assert_eq!(codec.read(token.expose(), now), Some(claims.clone()));
        }
    }

    #[test]
    fn one_changed_character_is_refused(
        claims in any_claims(),
        algorithm in any_algorithm(),
        at in any::<prop::sample::Index>(),
        other in "[A-Za-z0-9_.=-]|\\PC|\\p{Cc}",
    ) {
        let codec = codec_of(algorithm);
        let token = codec.sign(&claims).unwrap();
        let token = token.expose();
        prop_assert_eq!(codec.read(token, NOW), Some(claims.clone()), "and is remembered");
        let at = at.index(token.len());
        let changed = format!("{}{other}{}", &token[..at], &token[at + 1..]);
        let expected = (changed == token).then_some(claims);
        prop_assert_eq!(codec.read(&changed, NOW), expected, "{}", changed);
    }
}
