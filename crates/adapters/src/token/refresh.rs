//! Refresh tokens that say what they mean and prove it with a MAC, so that nothing of them is stored.
//!
//! A token is `pcr_` and 71 characters of base64url without padding (RFC 4648, section 5), which encode
//!
//! | bytes | meaning |
//! |---|---|
//! | 0 | the version of this layout, 1 |
//! | 1-16 | the session's id |
//! | 17-20 | the generation, big-endian |
//! | 21-52 | HMAC-SHA-256 of bytes 0-20 |
//!
//! The MAC is not cut: a shorter one would save a few characters and need a reason why it is still long enough.

#[cfg(any(test, fuzzing))]
pub mod invariants;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_domain::id::SessionId;
use portcullis_domain::session::Generation;
use portcullis_domain::token::{InvalidToken, RefreshClaims, RefreshToken, RefreshTokenCodec};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::keys::RootKey;
use crate::secret::{Secret, Secrets};

/// Makes refresh tokens with a key of the current secret, and recognises those of the accepted ones too.
#[derive(Debug)]
pub struct MacRefreshTokenCodec {
    sealing: hmac::Key,
    /// The current secret's key first.
    opening: Vec<hmac::Key>,
}

impl MacRefreshTokenCodec {
    /// What refresh tokens start with, so that scanners find them where they should not be.
    pub const PREFIX: &str = "pcr_";

    /// A codec over keys derived from these secrets.
    pub fn new(secrets: &Secrets) -> Self {
        Self { sealing: mac_key(secrets.current()), opening: secrets.iter().map(mac_key).collect() }
    }
}

impl RefreshTokenCodec for MacRefreshTokenCodec {
    fn issue(&self, claims: RefreshClaims) -> RefreshToken {
        let body = body(claims);
        let tag = hmac::sign(&self.sealing, &body);
        let mut token = String::with_capacity(TOKEN_CHARS);
        token.push_str(Self::PREFIX);
        let bytes = Zeroizing::new([&body, tag.as_ref()].concat());
        URL_SAFE_NO_PAD.encode_string(bytes, &mut token);
        RefreshToken::new(token)
    }

    fn verify(&self, token: &RefreshToken) -> Result<RefreshClaims, InvalidToken> {
        let (body, tag) = decode(token.expose()).ok_or(InvalidToken)?;
        if self.opening.iter().any(|key| hmac::verify(key, &body, tag.as_ref()).is_ok()) {
            claims(&body).ok_or(InvalidToken)
        } else {
            Err(InvalidToken)
        }
    }
}

fn mac_key(secret: &Secret) -> hmac::Key {
    let key = RootKey::of(secret).derive("refresh");
    hmac::Key::new(hmac::HMAC_SHA256, key.as_ref())
}

fn body(claims: RefreshClaims) -> [u8; BODY_BYTES] {
    let mut body = [0; BODY_BYTES];
    body[0] = VERSION;
    body[1..17].copy_from_slice(claims.session.as_uuid().as_bytes());
    body[17..].copy_from_slice(&claims.generation.get().to_be_bytes());
    body
}

/// What a body with a genuine MAC says; `None` for a layout of another version.
fn claims(body: &[u8; BODY_BYTES]) -> Option<RefreshClaims> {
    let (&version, rest) = body.split_first()?;
    let (session, generation) = rest.split_first_chunk()?;
    (version == VERSION).then_some(RefreshClaims {
        session: SessionId::from_uuid(Uuid::from_bytes(*session)),
        generation: Generation::new(u32::from_be_bytes(generation.try_into().ok()?)),
    })
}

/// Body and MAC of a token that has the right length and the one encoding that these bytes have.
fn decode(token: &str) -> Option<([u8; BODY_BYTES], Zeroizing<[u8; TAG_BYTES]>)> {
    if token.len() != TOKEN_CHARS {
        return None;
    }
    let mut bytes = Zeroizing::new([0; BODY_BYTES + TAG_BYTES]);
    let encoded = token.strip_prefix(MacRefreshTokenCodec::PREFIX)?;
    URL_SAFE_NO_PAD.decode_slice(encoded, bytes.as_mut()).ok()?;
    let (body, tag) = bytes.split_first_chunk()?;
    Some((*body, Zeroizing::new(tag.try_into().ok()?)))
}

const VERSION: u8 = 1;

/// Version, session id and generation.
const BODY_BYTES: usize = 1 + 16 + 4;

/// A whole HMAC-SHA-256.
const TAG_BYTES: usize = 32;

/// The prefix and 53 bytes in base64 without padding.
const TOKEN_CHARS: usize = 4 + 71;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECRET: &str = "pcs_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

    /// Checked against Python's `hmac` and `base64`.
    const TOKEN: &str = "pcr_AQGXorRcbX6PmgscLT5PWmsAAAAH1YwBFji8DfByWGLcZVJbiglmdTv7yBDjuQcFEzcSbf8";

    fn secret(text: &str) -> Secret {
        Secret::parse_for_development(text).unwrap()
    }

    fn codec() -> MacRefreshTokenCodec {
        MacRefreshTokenCodec::new(&Secrets::new(secret(SECRET), []))
    }

    fn seventh() -> RefreshClaims {
        let session = SessionId::from_uuid(Uuid::from_u128(0x0197_a2b4_5c6d_7e8f_9a0b_1c2d_3e4f_5a6b));
        RefreshClaims { session, generation: Generation::new(7) }
    }

    fn open(codec: &MacRefreshTokenCodec, token: &str) -> Result<RefreshClaims, InvalidToken> {
        codec.verify(&RefreshToken::new(token.to_owned()))
    }

    #[test]
    fn tokens_are_what_they_were_in_every_version() {
        assert_eq!(codec().issue(seventh()).expose(), TOKEN);
        assert_eq!(open(&codec(), TOKEN), Ok(seventh()));
    }

    #[test]
    fn accepted_secrets_open_and_do_not_seal() {
        let replaced = MacRefreshTokenCodec::new(&Secrets::new(secret("new"), [secret(SECRET)]));
        assert_eq!(open(&replaced, TOKEN), Ok(seventh()));
        let successor = replaced.issue(seventh());
        assert_eq!(open(&codec(), successor.expose()), Err(InvalidToken));
        let done = MacRefreshTokenCodec::new(&Secrets::new(secret("new"), []));
        assert_eq!(open(&done, successor.expose()), Ok(seventh()));
        assert_eq!(open(&done, TOKEN), Err(InvalidToken));
    }

    #[test]
    fn jw_28_tokens_of_any_other_length_are_refused() {
        for length in 0..TOKEN.len() {
            assert_eq!(open(&codec(), &TOKEN[..length]), Err(InvalidToken), "{length}");
        }
        let mut longer = TOKEN.to_owned();
        for _ in 0..100 {
            longer.push('A');
            assert_eq!(open(&codec(), &longer), Err(InvalidToken), "{}", longer.len());
        }
        assert_eq!(open(&codec(), &TOKEN.repeat(100_000)), Err(InvalidToken));
    }

    #[test]
    fn jw_10_one_token_has_one_spelling() {
        let last = TOKEN.len() - 1;
        for other in [
            format!("{TOKEN}="),
            format!("{TOKEN}\n"),
            format!(" {}", &TOKEN[..last]),
            format!("{}9", &TOKEN[..last]), // `8` and bits that encode nothing
            TOKEN.replacen("pcr_", "PCR_", 1),
            TOKEN.replacen("pcr_", "pcs_", 1),
            "é".repeat(38),
        ] {
            assert_eq!(open(&codec(), &other), Err(InvalidToken), "{other:?}");
        }
    }

    #[test]
    fn a_genuine_mac_over_another_layout_is_refused() {
        let mut body = body(seventh());
        body[0] = VERSION + 1;
        let tag = hmac::sign(&codec().sealing, &body);
        let token = format!("pcr_{}", URL_SAFE_NO_PAD.encode([&body, tag.as_ref()].concat()));
        assert_eq!(token.len(), TOKEN.len());
        assert_eq!(open(&codec(), &token), Err(InvalidToken));
    }

    #[test]
    fn debug_shows_no_key() {
        let shown = format!("{:?}", codec());
        assert!(!shown.contains("af53aeb3") && !shown.contains("[175"), "{shown}");
    }

    fn any_claims() -> impl Strategy<Value = RefreshClaims> {
        any::<(u128, u32)>().prop_map(|(session, generation)| RefreshClaims {
            session: SessionId::from_uuid(Uuid::from_u128(session)),
            generation: Generation::new(generation),
        })
    }

    proptest! {
        #[test]
        fn what_is_sealed_opens(claims in any_claims()) {
            let token = codec().issue(claims);
            prop_assert_eq!(token.expose().len(), TOKEN_CHARS);
            prop_assert_eq!(codec().verify(&token), Ok(claims));
        }

        /// One bit of the 424, and any one of the 75 characters.
        #[test]
        fn what_was_changed_is_refused(
            claims in any_claims(),
            bit in 0..(BODY_BYTES + TAG_BYTES) * 8,
            at in 0..TOKEN_CHARS,
            other in "[A-Za-z0-9_.=-]|\\PC|\\p{Cc}",
        ) {
            let codec = codec();
            let token = codec.issue(claims);
            let token = token.expose();
            let mut bytes = URL_SAFE_NO_PAD.decode(&token[4..]).unwrap();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let flipped = format!("pcr_{}", URL_SAFE_NO_PAD.encode(bytes));
            prop_assert_eq!(open(&codec, &flipped), Err(InvalidToken));

            let changed = format!("{}{other}{}", &token[..at], &token[at + 1..]);
            let expected = if changed == token { Ok(claims) } else { Err(InvalidToken) };
            prop_assert_eq!(open(&codec, &changed), expected);
        }
    }
}
