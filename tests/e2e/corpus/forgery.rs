//! Tokens that are not genuine, made of one that is, without its key.

use jwt_compact::alg::{Es256, Hs256, Hs256Key};
use jwt_compact::jwk::JsonWebKey;
use jwt_compact::{Algorithm, AlgorithmSignature as _};
use serde_json::{Value, json};

/// The parts of a genuine token, decoded.
pub(crate) struct Genuine {
    pub(crate) token: String,
    pub(crate) header: String,
    pub(crate) payload: String,
    pub(crate) signature: String,
}

impl Genuine {
    pub(crate) fn of(token: &str) -> Self {
        let [header, payload, signature] = token.split('.').collect::<Vec<_>>()[..] else {
            panic!("{token}")
        };
        let text = |part| String::from_utf8(decode(part)).unwrap();
        Self {
            token: token.to_owned(),
            header: text(header),
            payload: text(payload),
            signature: signature.to_owned(),
        }
    }

    /// Another header and payload under the genuine signature.
    pub(crate) fn with(&self, header: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> String {
        format!("{}.{}", message(header, payload), self.signature)
    }

    /// The header with something else in the place of a part.
    pub(crate) fn header_with(&self, part: &str, other: &str) -> String {
        replaced(&self.header, part, other)
    }

    /// The payload with something else in the place of a part.
    pub(crate) fn payload_with(&self, part: &str, other: &str) -> String {
        replaced(&self.payload, part, other)
    }

    /// The text of a member's value, as it stands there.
    pub(crate) fn member(&self, name: &str) -> String {
        let value: Value = serde_json::from_str(&self.payload).unwrap();
        value[name].to_string()
    }

    pub(crate) fn kid(&self) -> String {
        self.header_text("kid")
    }

    /// The algorithm's name.
    pub(crate) fn alg(&self) -> String {
        self.header_text("alg")
    }

    fn header_text(&self, name: &str) -> String {
        let header: Value = serde_json::from_str(&self.header).unwrap();
        header[name].as_str().unwrap().to_owned()
    }
}

fn replaced(text: &str, part: &str, other: &str) -> String {
    assert!(text.contains(part), "{part} in {text}");
    text.replacen(part, other, 1)
}

/// What is signed.
pub(crate) fn message(header: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> String {
    format!("{}.{}", encode(header), encode(payload))
}

/// A token under the tag of a secret: a public key, an empty one, one from an example.
pub(crate) fn under_hmac(message: &str, secret: &[u8]) -> String {
    let tag = Hs256.sign(&Hs256Key::new(secret), message.as_bytes());
    format!("{message}.{}", encode(tag.as_bytes()))
}

/// A token under a genuine signature of somebody else's key.
pub(crate) fn under_own_key(message: &str) -> String {
    let jwk: JsonWebKey<'_> = serde_json::from_value(own_key()).unwrap();
    let key: <Es256 as Algorithm>::SigningKey = (&jwk).try_into().unwrap();
    format!("{message}.{}", encode(Es256.sign(&key, message.as_bytes()).as_bytes()))
}

/// The key pair of RFC 7515, appendix A.3.
fn own_key() -> Value {
    json!({
        "kty": "EC", "crv": "P-256", "d": "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    })
}

/// Its public half, as a token may carry it.
pub(crate) fn own_public_key() -> Value {
    let mut key = own_key();
    key.as_object_mut().unwrap().remove("d");
    key
}

/// Base64url without padding (RFC 4648, section 5).
pub(crate) fn encode(bytes: impl AsRef<[u8]>) -> String {
    let digits = bytes.as_ref().chunks(3).flat_map(|chunk| {
        let bits =
            (0..3).fold(0, |bits, n| bits << 8 | usize::from(chunk.get(n).copied().unwrap_or_default()));
        (0..=chunk.len()).map(move |n| DIGITS[bits >> (18 - 6 * n) & 63])
    });
    digits.map(char::from).collect()
}

/// The bytes of what [`encode`] made.
pub(crate) fn decode(text: &str) -> Vec<u8> {
    let values: Vec<_> =
        text.bytes().map(|byte| DIGITS.iter().position(|digit| *digit == byte).unwrap()).collect();
    let bytes = values.chunks(4).flat_map(|chunk| {
        let bits = (0..4).fold(0, |bits, n| bits << 6 | chunk.get(n).copied().unwrap_or_default());
        bits.to_be_bytes()[5..].iter().copied().take(chunk.len() - 1).collect::<Vec<_>>()
    });
    bytes.collect()
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
