//! Hostile tokens. Those named `jw_<n>` are cases of the project's list of attacks on bearer tokens.

mod properties;
mod wycheproof;

use std::time::Duration;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
};
use aws_lc_rs::{hmac, rand::SystemRandom};
use portcullis_domain::token::PublicKey;
use portcullis_testkit::fixtures::NOW;

use super::*;
use crate::keys::{KeyRotation, ListedKey, PublishedKeys, RootKey, SigningAlgorithm};
use crate::secret::{Secret, Secrets};

const ISSUER: &str = "https://id.example.org";
const AUDIENCE: &str = "portcullis";

/// The epoch of [`NOW`].
const EPOCH: i64 = 1_799_884_800;
const WEEK: i64 = 7 * 86_400;

fn secret() -> Secret {
    Secret::parse_for_development("the secret of these tests").unwrap()
}

fn codec_of(algorithm: SigningAlgorithm) -> JwtCodec {
    let keys = KeyRing::new(&Secrets::new(secret(), []), algorithm, KeyRotation::default(), NOW);
    JwtCodec::new(keys, name(ISSUER), name(AUDIENCE)).remembering(64)
}

/// A codec as by default.
fn codec() -> JwtCodec {
    codec_of(SigningAlgorithm::default())
}

fn claims() -> Claims {
    Claims {
        user: UserId::from_uuid(Uuid::from_u128(1)),
        session: SessionId::from_uuid(Uuid::from_u128(2)),
        token: TokenId::from_uuid(Uuid::from_u128(0xabc)),
        opened_at: UnixTime::from_secs(NOW.as_secs() - 1_000),
        issued_at: UnixTime::from_secs(NOW.as_secs()),
        not_before: UnixTime::from_secs(NOW.as_secs()),
        expires_at: UnixTime::from_secs(NOW.as_secs() + 900),
    }
}

fn signed(codec: &JwtCodec) -> String {
    codec.sign(&claims()).unwrap().expose().to_owned()
}

/// The payload of [`signed`].
const PAYLOAD: &str = concat!(
    r#"{"iss":"https://id.example.org","aud":"portcullis","sub":"00000000-0000-0000-0000-000000000001","#,
    r#""client_id":"portcullis","sid":"00000000-0000-0000-0000-000000000002","#,
    r#""jti":"00000000-0000-0000-0000-000000000abc","auth_time":1799999000,"#,
    r#""iat":1800000000,"nbf":1800000000,"exp":1800000900}"#,
);

fn message(header: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> String {
    format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload))
}

/// Makes tokens with the genuine keys of one algorithm, as no attacker can.
#[derive(Clone, Copy, Debug)]
struct Forge(SigningAlgorithm);

const FORGES: [Forge; 2] = [Forge(SigningAlgorithm::Es256), Forge(SigningAlgorithm::EdDsa)];

impl Forge {
    fn codec(self) -> JwtCodec {
        codec_of(self.0)
    }

    /// The algorithm's name, as a JSON string.
    fn alg(self) -> String {
        format!("{:?}", self.0.name())
    }

    /// The key of the epoch that begins at `epoch`.
    fn key(self, epoch: i64) -> VerificationKey {
        let mut listed = self.codec().keys.list(UnixTime::from_secs(epoch)).into_iter();
        listed.find(|key| (key.algorithm, key.from.as_secs()) == (self.0, epoch)).unwrap().key
    }

    fn kid(self) -> String {
        self.key(EPOCH).id
    }

    /// The header of [`signed`].
    fn header(self) -> String {
        format!(r#"{{"alg":{},"kid":"{}","typ":"at+jwt"}}"#, self.alg(), self.kid())
    }

    /// A message with its signature by the key of an epoch.
    fn signed_in(self, epoch: i64, message: &str) -> String {
        let private = RootKey::of(&secret()).derive(&format!("{}/{epoch}/{WEEK}", self.0.name()));
        let signature = match self.key(epoch).material {
            PublicKey::Ed25519(_) => {
                Ed25519KeyPair::from_seed_unchecked(private.as_ref()).unwrap().sign(message.as_bytes())
            }
            PublicKey::P256 { x, y } => {
                let point = [&[4], &x[..], &y].concat();
                let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
                EcdsaKeyPair::from_private_key_and_public_key(algorithm, private.as_ref(), &point)
                    .unwrap()
                    .sign(&SystemRandom::new(), message.as_bytes())
                    .unwrap()
            }
        };
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// A token with any header and payload, under a signature of the genuine key.
    fn forged(self, header: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> String {
        self.signed_in(EPOCH, &message(header, payload))
    }

    fn with_header(self, header: impl AsRef<[u8]>) -> String {
        self.forged(header, PAYLOAD)
    }

    fn with_payload(self, payload: impl AsRef<[u8]>) -> String {
        self.forged(self.header(), payload)
    }
}

/// Codecs of either algorithm refuse a token, also when they remember genuine ones and have seen this one before.
#[track_caller]
fn refuses(token: &str) {
    for forge in FORGES {
        let codec = forge.codec();
        for genuine in FORGES {
            accepts_with(&codec, &signed(&genuine.codec()));
        }
        for _ in 0..2 {
            let shown = token.get(..200).unwrap_or(token);
            assert_eq!(codec.read(token, NOW), None, "{shown}");
        }
    }
}

/// Codecs of either algorithm accept a token.
#[track_caller]
fn accepts(token: &str) {
    for forge in FORGES {
        accepts_with(&forge.codec(), token);
    }
}

/// Accepts a token at first sight and from memory.
#[track_caller]
fn accepts_with(codec: &JwtCodec, token: &str) {
    for _ in 0..2 {
        assert_eq!(codec.read(token, NOW), Some(claims()), "{token}");
    }
}

/// All tests below change one thing about this token.
#[test]
fn the_unchanged_token_is_accepted() {
    for forge in FORGES {
        let token = forge.forged(forge.header(), PAYLOAD);
        accepts(&token);
        let genuine = signed(&forge.codec());
        assert_eq!(genuine.rsplit_once('.').unwrap().0, token.rsplit_once('.').unwrap().0);
        accepts(&genuine);
    }
}

/// The tokens of [`claims`] as the Python package `cryptography` makes them of a secret.
#[test]
fn tokens_are_what_they_were_in_every_version() {
    const PAYLOAD: &str = concat!(
        "eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUub3JnIiwiYXVkIjoicG9ydGN1bGxpcyIsInN1YiI6IjAwMDAwMDAwLTAwMDAtMDAwMC0w",
        "MDAwLTAwMDAwMDAwMDAwMSIsImNsaWVudF9pZCI6InBvcnRjdWxsaXMiLCJzaWQiOiIwMDAwMDAwMC0wMDAwLTAwMDAtMDAwMC0wMDAw",
        "MDAwMDAwMDIiLCJqdGkiOiIwMDAwMDAwMC0wMDAwLTAwMDAtMDAwMC0wMDAwMDAwMDBhYmMiLCJhdXRoX3RpbWUiOjE3OTk5OTkwMDAs",
        "ImlhdCI6MTgwMDAwMDAwMCwibmJmIjoxODAwMDAwMDAwLCJleHAiOjE4MDAwMDA5MDB9",
    );
    let codec_of = |algorithm| {
        let secret =
            Secret::parse_for_development("pcs_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8").unwrap();
        let keys = KeyRing::new(&Secrets::new(secret, []), algorithm, KeyRotation::default(), NOW);
        JwtCodec::new(keys, name(ISSUER), name(AUDIENCE))
    };

    let eddsa = codec_of(SigningAlgorithm::EdDsa);
    let header = concat!(
        "eyJhbGciOiJFZERTQSIsImtpZCI6ImJ4blJPRi05UW0yV3N5UUp1MVFvZGtGeVlhaFNPMXptSG1xZm52eVhyZVki",
        "LCJ0eXAiOiJhdCtqd3QifQ",
    );
    let signature = "Ak068sxDUfq1NGUohEZbkC2VZn_yF8obQTHPaByg2NULkU_gwO0wKxQ-tCe4k_Ek-urGPBoOC2KcIBzIc-xiBw";
    let token = format!("{header}.{PAYLOAD}.{signature}");
    assert_eq!(signed(&eddsa), token);
    assert_eq!(eddsa.read(&token, NOW), Some(claims()));

    // A signature with ES256 is another one each time.
    let es256 = codec_of(SigningAlgorithm::Es256);
    let header = concat!(
        "eyJhbGciOiJFUzI1NiIsImtpZCI6Ik54bU9RSXhTTC00MVRkaFRZS1dIdDZwZGpOUE85ajBmUkRTYVJ3a05Ta1EiLC",
        "J0eXAiOiJhdCtqd3QifQ",
    );
    let signature = "F3Mr_lkEmZlRVXq1aoPdtogyoS0lJSKfvXC48Z9ys-tRwaUKvYDkqydv46CQF1JzpJIN_v5XlOxYFgfRohsjRg";
    assert_eq!(signed(&es256).rsplit_once('.').unwrap().0, format!("{header}.{PAYLOAD}"));
    assert_eq!(es256.read(&format!("{header}.{PAYLOAD}.{signature}"), NOW), Some(claims()));
}

#[test]
fn key_of_one_algorithm_signs_no_header_of_the_other() {
    for (forge, other) in [(FORGES[0], FORGES[1]), (FORGES[1], FORGES[0])] {
        for header in [
            // The other algorithm with this key's id, the other key's id with this algorithm, and both.
            forge.header().replace(&forge.alg(), &other.alg()),
            forge.header().replace(&forge.kid(), &other.kid()),
            other.header(),
        ] {
            refuses(&forge.with_header(header));
        }
        // A genuine signature under the other key's genuine header.
        let (message, signature) = (message(other.header(), PAYLOAD), signed(&forge.codec()));
        refuses(&format!("{message}.{}", signature.rsplit_once('.').unwrap().1));
    }
}

#[test]
fn es256_signs_each_time_with_another_nonce() {
    let codec = codec_of(SigningAlgorithm::Es256);
    let signatures = [(); 3].map(|()| signed(&codec).rsplit_once('.').unwrap().1.to_owned());
    assert!(signatures.iter().all(|signature| signature.len() == 86), "64 bytes each");
    // The first 32 bytes are a coordinate of the nonce's point.
    let [a, b, c] = signatures.each_ref().map(|signature| &signature[..42]);
    assert!(a != b && b != c && a != c, "{signatures:?}");
}

/// The twin `(r, n - s)` of an ES256 signature is valid too, so tokens must be identified by `jti`, never by their bytes.
#[test]
fn twin_of_an_es256_signature_carries_the_same_claims() {
    let codec = codec_of(SigningAlgorithm::Es256);
    let token = signed(&codec);
    let (message, signature) = token.rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let (r, s) = signature.split_at(32);
    let mut twin = P256_ORDER;
    let mut borrow = false;
    for (digit, s) in twin.iter_mut().zip(s).rev() {
        let (difference, under) = digit.overflowing_sub(*s);
        let (difference, under_again) = difference.overflowing_sub(u8::from(borrow));
        *digit = difference;
        borrow = under || under_again;
    }
    let twin = format!("{message}.{}", URL_SAFE_NO_PAD.encode([r, &twin].concat()));
    assert_ne!(twin, token);
    accepts(&twin);
    accepts_with(&codec, &token);
    accepts_with(&codec, &twin);
}

const P256_ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa,
    0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

#[test]
fn unpublished_keys_still_verify() {
    for (forge, other) in [(FORGES[0], FORGES[1]), (FORGES[1], FORGES[0])] {
        let codec = forge.codec();
        let all = codec.verification_keys(NOW);
        let codec = JwtCodec { keys: codec.keys.publishing(PublishedKeys::Signing), ..codec };
        let published = codec.verification_keys(NOW);
        assert_eq!((all.len(), published.as_slice()), (6, &all[..3]));
        assert!(published.iter().any(|key| key.id == forge.kid()));
        accepts_with(&codec, &signed(&other.codec()));
    }
}

#[test]
fn dates_are_cut_to_whole_seconds() {
    let precise = Claims {
        opened_at: NOW - Duration::from_secs(1_000),
        issued_at: NOW,
        not_before: NOW,
        expires_at: NOW + Duration::from_mins(15),
        ..claims()
    };
    let token = codec().sign(&precise).unwrap();
    assert_eq!(codec().read(token.expose(), NOW), Some(claims()));
}

#[test]
fn dates_before_1970_are_not_signed() {
    let early = UnixTime::from_secs(-1);
    assert!(codec().sign(&Claims { opened_at: early, ..claims() }).is_err());
    assert!(codec().sign(&Claims { issued_at: early, ..claims() }).is_err());
    assert!(codec().sign(&Claims { not_before: early, ..claims() }).is_err());
    assert!(codec().sign(&Claims { expires_at: early, ..claims() }).is_err());
}

fn name(text: &str) -> TokenName {
    TokenName::parse(text).unwrap()
}

#[test]
fn issuer_and_audience_have_bounds_that_tokens_fit_in() {
    for bad in ["", "\n", &"x".repeat(TokenName::MAX_LENGTH + 1)] {
        assert_eq!(TokenName::parse(bad), Err(InvalidTokenName));
    }
    let longest = name(&"\"".repeat(TokenName::MAX_LENGTH)); // two bytes each in JSON
    let keys =
        KeyRing::new(&Secrets::new(secret(), []), SigningAlgorithm::EdDsa, KeyRotation::default(), NOW);
    let codec = JwtCodec::new(keys, longest.clone(), longest);
    assert_eq!(codec.read(&signed(&codec), NOW), Some(claims()));
}

#[test]
fn members_that_a_newer_version_writes_are_skipped() {
    for forge in FORGES {
        accepts(&forge.with_payload(PAYLOAD.replace('{', r#"{"roles":["a",{"b":1.5}],"#)));
    }
}

/// Signed by nobody but a holder of the key, and no text all the same.
#[test]
fn a_payload_that_is_not_utf_8_is_refused() {
    for forge in FORGES {
        let payload = PAYLOAD.replace('{', r#"{"roles":"?","#);
        accepts(&forge.with_payload(payload.clone()));
        let payload: Vec<u8> = payload.bytes().map(|byte| if byte == b'?' { 0xff } else { byte }).collect();
        refuses(&forge.with_payload(payload));
    }
}

#[test]
fn the_payload_is_an_object_with_all_its_members() {
    for forge in FORGES {
        let id = "00000000-0000-0000-0000-000000000001";
        refuses(&forge.with_payload(format!(
        r#"["{ISSUER}","{AUDIENCE}","{id}","portcullis","{id}","{id}",1799999000,1800000000,1800000000,1800000900]"#
    )));
        for member in ["iss", "aud", "sub", "client_id", "sid", "jti", "auth_time", "iat", "nbf", "exp"] {
            let payload = PAYLOAD.replace(&format!(r#""{member}":"#), r#""other":"#);
            assert_ne!(payload, PAYLOAD);
            refuses(&forge.with_payload(payload));
        }
        for payload in
            ["", "null", "{}", "1", "\"x\"", &format!("{PAYLOAD}{PAYLOAD}"), &format!("{PAYLOAD},")]
        {
            refuses(&forge.with_payload(payload));
        }
    }
}

#[test]
fn ids_have_one_spelling() {
    for forge in FORGES {
        let id = "00000000-0000-0000-0000-000000000abc";
        for other in [
            "00000000-0000-0000-0000-000000000ABC",
            "00000000000000000000000000000abc",
            "{00000000-0000-0000-0000-000000000abc}",
            "urn:uuid:00000000-0000-0000-0000-000000000abc",
            " 00000000-0000-0000-0000-000000000abc",
            "00000000-0000-0000-0000-000000000ab",
            "",
        ] {
            refuses(&forge.with_payload(PAYLOAD.replace(id, other)));
        }
        refuses(&forge.with_payload(PAYLOAD.replace(&format!("\"{id}\""), "2748")));
    }
}

// ASVS 9.1.1 9.1.2
#[test]
fn jw_01_alg_none() {
    for forge in FORGES {
        let none = forge.header().replace(forge.0.name(), "none");
        let message = message(&none, PAYLOAD);
        for token in
            [message.clone(), format!("{message}."), format!("{message}.AAAA"), forge.with_header(&none)]
        {
            refuses(&token);
        }
        // The genuine header without its signature.
        let genuine = signed(&forge.codec());
        let (message, _) = genuine.rsplit_once('.').unwrap();
        refuses(message);
        refuses(&format!("{message}."));
    }
}

// ASVS 9.1.2
#[test]
fn jw_02_alg_none_in_disguise() {
    for forge in FORGES {
        for alg in [
            r#""noNE""#,
            r#""None""#,
            r#""NONE""#,
            r#"" none""#,
            r#""hs256""#,
            r#""eddsa""#,
            r#""es256""#,
            "null",
            "[]",
            "1",
        ] {
            let header = forge.header().replace(&forge.alg(), alg);
            refuses(&forge.with_header(&header));
            refuses(&format!("{}.", message(&header, PAYLOAD)));
        }
    }
}

// ASVS 9.1.2 11.6.1
#[test]
fn jw_04_every_other_algorithm() {
    for forge in FORGES {
        for alg in [
            "HS256", "HS384", "HS512", "RS256", "PS256", "ES256", "ES384", "ES512", "ES256K", "EdDSA",
            "Ed25519", "Ed448",
        ] {
            if alg != forge.0.name() {
                refuses(&forge.with_header(forge.header().replace(forge.0.name(), alg)));
            }
        }
        // The public key as the secret of an HMAC.
        let public = match forge.key(EPOCH).material {
            PublicKey::Ed25519(key) => key.to_vec(),
            PublicKey::P256 { x, y } => [&[4], &x[..], &y].concat(),
        };
        for header in [forge.header(), forge.header().replace(forge.0.name(), "HS256")] {
            let message = message(&header, PAYLOAD);
            let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &public), message.as_bytes());
            refuses(&format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag)));
        }
    }
}

// ASVS 9.1.3
#[test]
fn jw_05_keys_that_the_token_brings_along() {
    for forge in FORGES {
        let alg = forge.alg();
        let own = Ed25519KeyPair::generate().unwrap();
        let x = URL_SAFE_NO_PAD.encode(own.public_key());
        let jwk = format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}"}}"#);
        for header in [
            format!(r#"{{"alg":{alg},"jwk":{jwk},"typ":"at+jwt"}}"#),
            format!(r#"{{"alg":{alg},"kid":"{}","jwk":{jwk},"typ":"at+jwt"}}"#, forge.kid()),
            format!(r#"{{"alg":{alg},"kid":"{}","x5c":["{x}"],"typ":"at+jwt"}}"#, forge.kid()),
            format!(
                r#"{{"alg":{alg},"kid":"{}","jku":"https://evil.example/jwks","typ":"at+jwt"}}"#,
                forge.kid()
            ),
            format!(
                r#"{{"alg":{alg},"kid":"{}","x5u":"https://evil.example/x5u","typ":"at+jwt"}}"#,
                forge.kid()
            ),
            forge.header(),
        ] {
            let message = message(&header, PAYLOAD);
            let signature = own.sign(message.as_bytes());
            refuses(&format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)));
        }
        // Under the genuine key too, what is not understood is refused.
        for extra in [
            r#""crit":["exp"]"#,
            r#""zip":"DEF""#,
            r#""cty":"JWT""#,
            r#""b64":false"#,
            &format!(r#""jwk":{jwk}"#),
        ] {
            refuses(&forge.with_header(forge.header().replace(r#","typ""#, &format!(r#",{extra},"typ""#))));
        }
    }
}

#[test]
fn jw_07_kids_that_are_no_kids() {
    for forge in FORGES {
        let long = "k".repeat(2_000);
        for other in ["../../dev/null", "' OR 1=1--", "\\u0000", "", "unknown", &long] {
            refuses(&forge.with_header(forge.header().replace(&forge.kid(), other)));
        }
        refuses(&forge.with_header(forge.header().replace(&format!(r#""kid":"{}","#, forge.kid()), "")));
        refuses(&forge.with_header(forge.header().replace(&forge.kid(), &"k".repeat(1 << 20))));
    }
}

#[test]
fn jw_10_one_token_has_one_spelling() {
    for forge in FORGES {
        let token = signed(&forge.codec());
        let segments: Vec<_> = token.split('.').collect();
        for segment in 0..3 {
            let spelled = |text: String| {
                let mut segments: Vec<String> = segments.iter().map(|&segment| segment.to_owned()).collect();
                segments[segment] = text;
                segments.join(".")
            };
            let original = segments[segment];
            for other in
                ["=", "==", "\n", " ", "A", "+", "\0", "\u{e9}"].map(|end| format!("{original}{end}"))
            {
                refuses(&spelled(other));
            }
            refuses(&spelled(format!(" {original}")));
            refuses(&spelled(original[..original.len() - 1].to_owned()));
            refuses(&spelled(String::new()));
        }
        // The last character of a signature of 64 bytes has four bits that encode nothing.
        let (start, last) = token.split_at(token.len() - 1);
        for other in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".chars() {
            if last.chars().ne([other]) {
                refuses(&format!("{start}{other}"));
            }
        }
        for other in [
            format!("{token}."),
            format!(".{token}"),
            format!("{token}.{}", segments[2]),
            token.replace('.', ""),
        ] {
            refuses(&other);
        }
    }
}

#[test]
fn jw_11_degenerate_es256_signatures() {
    let codec = codec_of(SigningAlgorithm::Es256);
    let token = signed(&codec);
    let (message, signature) = token.rsplit_once('.').unwrap();
    let n = P256_ORDER;
    let mut n_minus_1 = n;
    n_minus_1[31] -= 1;
    let mut one = [0; 32];
    one[31] = 1;
    let check = |signature: &[u8]| {
        let token = format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature));
        assert_eq!(codec.read(&token, NOW), None, "{signature:?}");
    };
    for r in [[0; 32], one, n_minus_1, n, [0xff; 32]] {
        for s in [[0; 32], one, n_minus_1, n, [0xff; 32]] {
            check(&[r, s].concat());
        }
    }
    let genuine = URL_SAFE_NO_PAD.decode(signature).unwrap();
    check(&[&[0], &genuine[..]].concat());
    check(&[&genuine[..], &[0]].concat());
    check(&genuine[..63]);
    check(&[&[0], &genuine[..32], &[0], &genuine[32..]].concat());
    // The genuine key, but DER.
    let scalar = RootKey::of(&secret()).derive(&format!("ES256/{EPOCH}/{WEEK}"));
    let PublicKey::P256 { x, y } = codec.verification_keys(NOW)[1].material else {
        panic!("not a P-256 key");
    };
    let point = [&[4], &x[..], &y].concat();
    let key = EcdsaKeyPair::from_private_key_and_public_key(
        &ECDSA_P256_SHA256_ASN1_SIGNING,
        scalar.as_ref(),
        &point,
    );
    check(key.unwrap().sign(&SystemRandom::new(), message.as_bytes()).unwrap().as_ref());
}

#[test]
fn jw_13_duplicate_members() {
    for forge in FORGES {
        for (member, duplicate) in [
            (r#""alg":"#, r#""alg":"none","alg":"#),
            (r#""alg":"#, r#""\u0061lg":"none","alg":"#),
            (r#""kid":"#, r#""kid":"x","kid":"#),
            (r#""typ":"#, r#""typ":"JWT","typ":"#),
        ] {
            refuses(&forge.with_header(forge.header().replace(member, duplicate)));
        }
        for member in ["iss", "aud", "sub", "sid", "jti", "auth_time", "iat", "nbf", "exp"] {
            let value = PAYLOAD.split_once(&format!(r#""{member}":"#)).unwrap().1;
            let value = value.split([',', '}']).next().unwrap();
            let escaped = format!("\\u{:04x}{}", member.as_bytes()[0], &member[1..]);
            for name in [member, &escaped] {
                refuses(&forge.with_payload(PAYLOAD.replace('{', &format!(r#"{{"{name}":{value},"#))));
                refuses(&forge.with_payload(PAYLOAD.replace('}', &format!(r#","{name}":{value}}}"#))));
            }
        }
    }
}

// ASVS 9.2.1
#[test]
fn jw_14_dates_are_integers() {
    for forge in FORGES {
        for date in ["auth_time", "iat", "nbf", "exp"] {
            let (start, rest) = PAYLOAD.split_once(&format!(r#""{date}":"#)).unwrap();
            let end = &rest[rest.find([',', '}']).unwrap()..];
            for value in [
                r#""1800000000""#,
                "1e400",
                "1.8e9",
                "1800000000.0",
                "1800000000.5",
                "-1",
                "null",
                "true",
                "[1800000000]",
                "9223372036854775808",
                "18446744073709551616",
                "01800000000",
                "+1800000000",
            ] {
                refuses(&forge.with_payload(format!(r#"{start}"{date}":{value}{end}"#)));
            }
        }
    }
}

// ASVS 9.2.3 10.3.1
#[test]
fn jw_16_issuer_and_audience_are_one_exact_string() {
    for forge in FORGES {
        for (name, value) in [("iss", ISSUER), ("aud", AUDIENCE)] {
            let member = format!(r#""{name}":"{value}""#);
            let upper = value.to_uppercase();
            for other in [
                format!(r#"["{value}"]"#),
                format!(r#"["https://evil.example","{value}"]"#),
                format!(r#""{value}/""#),
                format!(r#""{value}x""#),
                format!(r#"" {value}""#),
                format!(r#""{value}\u0000""#),
                format!(r#""{}""#, &value[..value.len() - 1]),
                format!(r#""{upper}""#),
                r#""""#.to_owned(),
                "null".to_owned(),
                format!(r#"{{"v":"{value}"}}"#),
            ] {
                refuses(&forge.with_payload(PAYLOAD.replace(&member, &format!(r#""{name}":{other}"#))));
            }
        }
        // Another spelling of the same string in JSON is the same string.
        accepts(&forge.with_payload(PAYLOAD.replace("https://id", r"https:\/\/\u0069d")));
    }
}

// ASVS 9.2.2
#[test]
fn jw_17_other_kinds_of_tokens() {
    for forge in FORGES {
        for typ in
            ["JWT", "jwt", "at+JWT", "application/at+jwt", "rt+jwt", "id+jwt", "logout+jwt", "dpop+jwt", ""]
        {
            refuses(&forge.with_header(forge.header().replace("at+jwt", typ)));
        }
        refuses(&forge.with_header(forge.header().replace(r#","typ":"at+jwt""#, "")));
        refuses(&forge.with_header(forge.header().replace(r#""at+jwt""#, "null")));
        refuses("pcr_AQGXorRcbX6PmgscLT5PWmsAAAAH1YwBFji8DfByWGLcZVJbiglmdTv7yBDjuQcFEzcSbf8");
    }
}

#[test]
fn jw_19_long_tokens() {
    for forge in FORGES {
        let dots = ".".repeat(100_000);
        let long = format!("{}.{}", signed(&forge.codec()), "A".repeat(8 << 20));
        for token in ["", ".", "..", "...", "a.b.c", &dots, &long] {
            refuses(token);
        }
        // A genuine token of the longest length is read, a longer one is not.
        let padded =
            |spaces: usize| forge.with_payload(PAYLOAD.replace('}', &format!("{}}}", " ".repeat(spaces))));
        let spaces = (0..4_096).rev().find(|&spaces| padded(spaces).len() <= JwtCodec::MAX_TOKEN).unwrap();
        accepts(&padded(spaces));
        refuses(&padded(spaces + 1));
    }
}

#[test]
fn jw_20_other_serialisations() {
    for forge in FORGES {
        let token = signed(&forge.codec());
        let [protected, payload, signature] = token.split('.').collect::<Vec<_>>()[..] else {
            panic!("{token}");
        };
        for other in [
            format!(r#"{{"protected":"{protected}","payload":"{payload}","signature":"{signature}"}}"#),
            format!(
                r#"{{"payload":"{payload}","signatures":[{{"protected":"{protected}","signature":"{signature}"}}]}}"#
            ),
            format!(r#"{{"{protected}.{payload}.{signature}":1}}"#),
            format!("\"{token}\""),
            format!("Bearer {token}"),
            format!("{token},{token}"),
        ] {
            refuses(&other);
        }
    }
}

#[test]
fn jw_22_other_encodings_of_text() {
    for forge in FORGES {
        let utf_16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>();
        let bom = |text: &str| format!("\u{feff}{text}");
        refuses(&forge.with_header(utf_16(&forge.header())));
        refuses(&forge.with_header(bom(&forge.header())));
        refuses(&forge.with_header(format!("{}\0", forge.header())));
        refuses(&forge.with_header([forge.header().as_bytes(), &[0xff]].concat()));
        refuses(&forge.with_payload(utf_16(PAYLOAD)));
        refuses(&forge.with_payload(bom(PAYLOAD)));
        refuses(&forge.with_payload(format!("{PAYLOAD}\0")));
        for (from, to) in
            [("https://id", "https://\u{0}id"), ("00000abc", "00000ab\u{0}"), (ISSUER, "\u{fffd}")]
        {
            refuses(&forge.with_payload(PAYLOAD.replace(from, to)));
        }
        let (start, end) = PAYLOAD.split_once(AUDIENCE).unwrap();
        refuses(
            &forge.with_payload([start.as_bytes(), AUDIENCE.as_bytes(), &[0xff], end.as_bytes()].concat()),
        );
    }
}

#[test]
fn jw_26_keys_sign_in_their_own_epoch_alone() {
    for forge in FORGES {
        // Signs a token that was issued at `iat` with the key of an epoch, and verifies it when `iat` is.
        let check = |epoch: i64, iat: i64, expected: bool| {
            let codec = forge.codec();
            let at = UnixTime::from_secs(iat);
            let listed = codec.keys.list(at);
            let wanted = |key: &&ListedKey| (key.algorithm, key.from.as_secs()) == (forge.0, epoch);
            let Some(key) = listed.iter().find(wanted) else {
                assert!(!expected, "no key of {epoch} at {iat}");
                return;
            };
            let message = message(
                forge.header().replace(&forge.kid(), &key.key.id),
                PAYLOAD.replace("1800000000", &iat.to_string()),
            );
            let token = forge.signed_in(epoch, &message);
            assert_eq!(codec.read(&token, at).is_some(), expected, "key of {epoch}, issued at {iat}");
        };
        let next = EPOCH + WEEK;
        check(EPOCH, EPOCH, true);
        check(EPOCH, next - 1, true);
        check(EPOCH, next + 4, true);
        check(EPOCH, next + 5, false);
        check(next, next - 5, true);
        check(next, next - 6, false);
        check(EPOCH, EPOCH - 1_000, false);
        check(EPOCH, EPOCH + 2 * WEEK, false);

        // The codec itself signs with the key of the epoch that `iat` lies in.
        for iat in [EPOCH, next - 1, next] {
            let at = UnixTime::from_secs(iat);
            let token = forge.codec().sign(&Claims { issued_at: at, ..claims() }).unwrap();
            let used = forge
                .codec()
                .keys
                .list(at)
                .into_iter()
                .find(|listed| listed.from <= at && at < listed.until)
                .unwrap();
            let header = forge.header().replace(&forge.kid(), &used.key.id);
            assert!(token.expose().starts_with(&URL_SAFE_NO_PAD.encode(header)), "{iat}");
        }
    }
}

#[test]
fn jw_26_a_key_verifies_one_epoch_longer_and_not_two() {
    for forge in FORGES {
        let codec = forge.codec();
        let token = signed(&codec);
        let at = |secs| codec.read(&token, UnixTime::from_secs(secs)).is_some();
        assert!(at(NOW.as_secs()), "and is remembered");
        assert!(at(EPOCH - WEEK), "an instance whose clock is behind has the next key");
        assert!(at(EPOCH + 2 * WEEK - 1));
        assert!(!at(EPOCH + 2 * WEEK));
        assert!(!at(EPOCH - WEEK - 1));
    }
}

#[test]
fn accepted_secrets_verify_and_do_not_sign() {
    let other = || Secret::parse_for_development("another secret").unwrap();
    for (forge, before) in [(FORGES[0], FORGES[0]), (FORGES[0], FORGES[1]), (FORGES[1], FORGES[0])] {
        let codec_over = |secrets: &Secrets| {
            let keys = KeyRing::new(secrets, forge.0, KeyRotation::default(), NOW);
            JwtCodec::new(keys, name(ISSUER), name(AUDIENCE))
        };
        let replacing = codec_over(&Secrets::new(other(), [secret()]));
        assert_eq!(replacing.read(&signed(&before.codec()), NOW), Some(claims()));
        refuses(&signed(&replacing));
        let replaced = codec_over(&Secrets::new(other(), []));
        assert_eq!(replaced.read(&signed(&replacing), NOW), Some(claims()));
        assert_eq!(replaced.read(&signed(&before.codec()), NOW), None);
    }
}

#[test]
fn debug_shows_no_key() {
    let shown = format!("{:?}", codec());
    assert!(shown.len() < 300 && !shown.contains("Key {"), "{shown}");
}
