//! What holds of everything that is presented as an access token.
#![expect(clippy::expect_used, reason = "it is about the input, not about what it is made with")]

use std::sync::LazyLock;

use super::*;
use crate::keys::{KeyRotation, SigningAlgorithm};
use crate::secret::{Secret, Secrets};

/// Nothing is accepted that was not signed here, byte for byte, whichever algorithm the codec signs with and whether it
/// remembers tokens or not; and of what is signed with the right key, only what this codec would sign. (The twin of an
/// ES256 signature is accepted too, but no replacement of a stretch makes one.)
///
/// The first byte says what the rest is: `c` and `C` a place in a genuine token (two bytes), a length (one) and what is
/// put there instead; `p` and `P` what stands under a genuine header and signature; anything else is a whole token. Small
/// letters are for Ed25519, the others for P-256.
///
/// # Panics
/// Where it does not hold.
pub fn holds(input: &[u8]) {
    match input.split_first() {
        Some((b'c', rest)) => changed(&ED25519, rest),
        Some((b'C', rest)) => changed(&P256, rest),
        Some((b'p', payload)) => signed(&ED25519, payload),
        Some((b'P', payload)) => signed(&P256, payload),
        _ => {
            if let Ok(text) = str::from_utf8(input) {
                assert!(verify(text).is_none(), "it is not signed");
            }
        }
    }
}

/// A genuine token, of which one stretch is replaced.
fn changed(codecs: &Codecs, input: &[u8]) {
    let Some(([a, b, length], replacement)) = input.split_first_chunk() else { return };
    let genuine = &codecs.genuine;
    let start = usize::from(u16::from_be_bytes([*a, *b])) % (genuine.len() + 1);
    let end = (start + usize::from(*length)).min(genuine.len());
    let changed = [&genuine.as_bytes()[..start], replacement, &genuine.as_bytes()[end..]].concat();
    let Ok(changed) = String::from_utf8(changed) else { return };
    let expected = (changed == *genuine).then_some(CLAIMS);
    assert_eq!(verify(&changed), expected, "{changed}");
}

/// What only a holder of the key can make: a payload of any kind, signed.
fn signed(codecs: &Codecs, payload: &[u8]) {
    let token = codecs.forgetful.keys.at(NOW).signing.sign(payload).expect("anything can be signed");
    let Some(claims) = verify(&token) else { return };
    assert!(token.len() <= JwtCodec::MAX_TOKEN);

    let payload = str::from_utf8(payload).expect("what is accepted is text");
    // A member that is skipped may be what cannot be held: a number beyond an `f64`, half a surrogate pair, 128 levels.
    let Ok(payload) = serde_json::from_str::<serde_json::Value>(payload) else { return };
    assert_eq!((&payload["iss"], &payload["aud"]), (&ISSUER.into(), &AUDIENCE.into()));
    assert_eq!(payload["sub"], claims.user.to_string());
    assert_eq!(payload["sid"], claims.session.to_string());
    assert_eq!(payload["jti"], claims.token.as_uuid().to_string());
    for (name, time) in [
        ("auth_time", claims.opened_at),
        ("iat", claims.issued_at),
        ("nbf", claims.not_before),
        ("exp", claims.expires_at),
    ] {
        let told = payload[name].as_i64().map(UnixTime::from_secs);
        assert_eq!(told, Some(time), "{name}");
        if time.as_secs().checked_mul(1_000_000) != Some(time.as_micros()) {
            // It lies beyond all dates that can be told, and became the last of them. The domain refuses it.
            return;
        }
    }
    let plain = Payload::new(&claims, ISSUER, AUDIENCE).expect("no date lies before 1970");
    let plain = serde_json::to_vec(&plain).expect("it can be written");
    let plain = codecs.forgetful.keys.at(NOW).signing.sign(&plain).expect("anything can be signed");
    assert_eq!(verify(&plain), Some(claims), "it says the same as this codec would write it");
}

/// A codec that signs with one algorithm and forgets tokens, and one that remembers them.
struct Codecs {
    forgetful: JwtCodec,
    remembering: JwtCodec,
    genuine: String,
}

impl Codecs {
    fn of(algorithm: SigningAlgorithm) -> Self {
        let codec = || {
            let secret = Secret::parse_for_development("the secret that nobody else has").expect("it is one");
            let keys = KeyRing::new(&Secrets::new(secret, []), algorithm, KeyRotation::default(), NOW);
            let name = |text| TokenName::parse(text).expect("it is one");
            JwtCodec::new(keys, name(ISSUER), name(AUDIENCE))
        };
        let forgetful = codec();
        let genuine = forgetful.sign(&CLAIMS).expect("it can be signed").expose().to_owned();
        Self { forgetful, remembering: codec().remembering(64), genuine }
    }
}

/// Returns what every codec reads from a token, those that remember twice.
fn verify(token: &str) -> Option<Claims> {
    let codecs =
        [&ED25519, &P256].map(|codecs| [&codecs.forgetful, &codecs.remembering, &codecs.remembering]);
    let read = codecs.as_flattened().iter().map(|codec| codec.read(token, NOW)).collect::<Vec<_>>();
    assert!(read.iter().all(|claims| *claims == read[0]), "{read:?}");
    read[0].clone()
}

static ED25519: LazyLock<Codecs> = LazyLock::new(|| Codecs::of(SigningAlgorithm::EdDsa));
static P256: LazyLock<Codecs> = LazyLock::new(|| Codecs::of(SigningAlgorithm::Es256));

const ISSUER: &str = "https://id.example.org";
const AUDIENCE: &str = "portcullis";
const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);
const CLAIMS: Claims = Claims {
    user: UserId::from_uuid(Uuid::from_u128(1)),
    session: SessionId::from_uuid(Uuid::from_u128(2)),
    token: TokenId::from_uuid(Uuid::from_u128(3)),
    opened_at: NOW,
    issued_at: NOW,
    not_before: NOW,
    expires_at: UnixTime::from_secs(1_800_000_900),
};

#[cfg(test)]
mod tests {
    use portcullis_testkit::replay;

    #[test]
    fn it_holds_near_the_seeds() {
        replay(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/seeds/access_token"), 2_000, super::holds);
    }
}
