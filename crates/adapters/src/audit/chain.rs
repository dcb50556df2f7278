use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{SHA256, digest};
use base16ct::{HexDisplay, mixed};
use portcullis_domain::time::UnixTime;
use uuid::Uuid;

use super::encoding::Encoding;

/// A hash of the chain. Printed, it is 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ChainHash([u8; 32]);

impl ChainHash {
    /// Returns the hash before the first event.
    pub fn genesis() -> Self {
        Self::of(GENESIS)
    }

    /// Returns the hash of `event` at place `seq`, after this one.
    pub(crate) fn next(self, seq: i64, event: &SealableEvent) -> Self {
        let id = |id: Option<Uuid>| id.map(Uuid::into_bytes);
        let encoding = Encoding::new(EVENT)
            .fixed(&self.0)
            .fixed(&seq.to_be_bytes())
            .field(1, event.id.into_bytes())
            .field(2, event.at.as_micros().to_be_bytes())
            .field(3, event.kind.as_str())
            .optional(4, event.detail.as_deref())
            .optional(5, id(event.user))
            .optional(6, id(event.session))
            .optional(7, event.address.as_deref())
            .optional(8, event.agent.as_deref());
        Self::of(encoding.bytes())
    }

    pub(crate) fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    pub(crate) const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    fn of(bytes: &[u8]) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
        Self(hash)
    }
}

impl fmt::Display for ChainHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::LowerHex::fmt(&HexDisplay(&self.0), f)
    }
}

impl fmt::Debug for ChainHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChainHash({self})")
    }
}

/// A place of the chain and its hash, written `<seq>:<hash>`: what to keep elsewhere, so that nobody can cut the chain
/// unnoticed.
///
/// ```
/// use portcullis_adapters::audit::Link;
///
/// let text = format!("17:{}", "0f".repeat(32));
/// assert_eq!(text.parse::<Link>().unwrap().to_string(), text);
/// assert!("17".parse::<Link>().is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// The place: 1 is that of the first event ever, 0 the one before it.
    pub seq: i64,
    /// The hash in that place, and so of all that is before it.
    pub hash: ChainHash,
}

impl Link {
    /// Where every chain begins.
    pub(crate) fn genesis() -> Self {
        Self { seq: 0, hash: ChainHash::genesis() }
    }

    /// The link after this one.
    pub(crate) fn next(self, event: &SealableEvent) -> Self {
        let seq = self.seq + 1;
        Self { seq, hash: self.hash.next(seq, event) }
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.seq, self.hash)
    }
}

impl FromStr for Link {
    type Err = InvalidLink;

    fn from_str(text: &str) -> Result<Self, InvalidLink> {
        let (seq, hash) = text.split_once(':').ok_or(InvalidLink)?;
        // `parse` would take a sign.
        if !seq.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(InvalidLink);
        }
        let seq = seq.parse().map_err(|_too_large| InvalidLink)?;
        let hash = mixed::decode_vec(hash).map_err(|_no_digits| InvalidLink)?;
        Ok(Self { seq, hash: ChainHash(hash.try_into().map_err(|_length| InvalidLink)?) })
    }
}

/// A text that names no link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a number, a colon and 64 hexadecimal digits, as the verification of the audit log prints")]
pub struct InvalidLink;

/// A row of `security_events`, word for word.
#[derive(Clone, Debug)]
pub(crate) struct SealableEvent {
    pub(crate) id: Uuid,
    pub(crate) at: UnixTime,
    pub(crate) kind: String,
    pub(crate) detail: Option<String>,
    pub(crate) user: Option<Uuid>,
    pub(crate) session: Option<Uuid>,
    pub(crate) address: Option<String>,
    pub(crate) agent: Option<String>,
}

/// What is hashed for the place before the first event.
const GENESIS: &[u8] = b"portcullis audit genesis v1\n";

/// What stands before the encoding of an event, the hash before it and its place.
const EVENT: &[u8] = b"portcullis audit event v1\n";

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> SealableEvent {
        SealableEvent {
            id: Uuid::from_u128(0x0190_0000_0001_7abc_8def_0123_4567_89ab),
            at: UnixTime::from_micros(1_800_000_000_123_456),
            kind: "login_failed".to_owned(),
            detail: Some("wrong_password".to_owned()),
            user: Some(Uuid::from_u128(1)),
            session: None,
            address: Some("192.0.2.7".to_owned()),
            agent: None,
        }
    }

    /// Made by the Python program in docs/audit.md.
    // ASVS 11.4.3
    #[test]
    fn hashes_are_what_they_were_in_every_version() {
        let genesis = ChainHash::genesis();
        assert_eq!(genesis.to_string(), "93d595c0de1316ba31ef091e084e7235e65e1c712ebcd01059453066ecc77242");
        assert_eq!(
            genesis.next(1, &event()).to_string(),
            "bc86085892b08c110e209105f40c5f4c04b5c7bbfd98eea1afaadba153f7fab2"
        );
    }

    #[test]
    fn every_column_counts() {
        let whole = ChainHash::genesis().next(1, &event());
        let changes: [fn(&mut SealableEvent); 13] = [
            |event| event.id = Uuid::nil(),
            |event| event.at = UnixTime::EPOCH,
            |event| event.kind = "login_faile".to_owned(),
            |event| event.detail = None,
            |event| event.detail = Some(String::new()),
            |event| event.user = None,
            |event| event.user = Some(Uuid::nil()),
            |event| event.session = event.user,
            |event| event.session = event.user.take(),
            |event| event.address = None,
            |event| event.agent = Some(String::new()),
            |event| event.agent = event.address.take(),
            |event| {
                event.kind = "login_failedwrong".to_owned();
                event.detail = Some("_password".to_owned());
            },
        ];
        let mut hashes: Vec<String> = vec![whole.to_string()];
        for change in changes {
            let mut event = event();
            change(&mut event);
            hashes.push(ChainHash::genesis().next(1, &event).to_string());
        }
        hashes.push(ChainHash::genesis().next(2, &event()).to_string());
        hashes.push(whole.next(1, &event()).to_string());
        let count = hashes.len();
        hashes.sort();
        hashes.dedup();
        assert_eq!(hashes.len(), count);
    }

    #[test]
    fn what_names_no_link_is_refused() {
        let hash = "a".repeat(64);
        for text in ["", ":", "1", &format!(":{hash}x"), &format!("-1:{hash}"), &format!("+1:{hash}")] {
            assert_eq!(text.parse::<Link>(), Err(InvalidLink), "{text}");
        }
        for text in
            [format!("1:{hash}a"), format!("99999999999999999999:{hash}"), format!("1:{}é", &hash[2..])]
        {
            assert_eq!(text.parse::<Link>(), Err(InvalidLink), "{text}");
        }
    }
}
