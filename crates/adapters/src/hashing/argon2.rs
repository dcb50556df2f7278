use ::argon2::password_hash::phc::{Ident, Output, PasswordHash, Salt};
use ::argon2::{Algorithm, Argon2, Params, PasswordHasher as _, Version};
use portcullis_domain::password::HashError;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{MAX_MEMORY, SALT_BYTES, Unusable, failed};

/// A hash `$argon2id$v=19$m=<KiB>,t=<passes>,p=<lanes>$<salt>$<output>` (RFC 9106 in the PHC string format).
pub(super) struct Argon2id {
    params: Params,
    salt: Salt,
    output: Output,
}

impl Argon2id {
    /// Hashes `password` with the least that OWASP recommends: 19 MiB, two passes, one lane, which are the
    /// library's defaults.
    pub(super) fn make(password: &[u8], salt: &[u8; SALT_BYTES]) -> Result<String, HashError> {
        let hash = argon2id(Params::DEFAULT).hash_password_with_salt(password, salt).map_err(failed)?;
        Ok(hash.to_string())
    }

    pub(super) fn parse(encoded: &str) -> Result<Self, Unusable> {
        let malformed = Unusable("malformed Argon2id hash");
        let hash = PasswordHash::new(encoded).ok().ok_or(malformed)?;
        // The library would take its defaults for what is missing, which the next version may change, and the last of what
        // comes twice.
        let names: Vec<_> = hash.params.iter().map(|(name, _)| name).collect();
        if names.iter().map(Ident::as_str).ne(["m", "t", "p"]) {
            return Err(malformed);
        }
        let params = Params::try_from(&hash).ok().ok_or(malformed)?;
        let memory = u64::from(params.m_cost()) * 1024;
        let work = memory.saturating_mul(params.t_cost().into());
        match (hash.salt, hash.hash) {
            _ if hash.version != Some(Version::V0x13.into()) => Err(Unusable("Argon2id of another version")),
            _ if memory > MAX_MEMORY || work > MAX_WORK => Err(Unusable("Argon2id cost out of bounds")),
            (Some(salt), Some(output)) => Ok(Self { params, salt, output }),
            _ => Err(malformed),
        }
    }

    /// Whether nothing of it is weaker than what [`Self::make`] makes.
    pub(super) fn is_up_to_date(&self) -> bool {
        self.params.m_cost() >= Params::DEFAULT_M_COST
            && self.params.t_cost() >= Params::DEFAULT_T_COST
            && self.salt.len() >= SALT_BYTES
            && self.output.len() >= Params::DEFAULT_OUTPUT_LEN
    }

    pub(super) fn matches(&self, password: &[u8]) -> Result<bool, HashError> {
        let mut output = Zeroizing::new([0; Output::MAX_LENGTH]);
        let output = &mut output[..self.output.len()];
        argon2id(self.params.clone()).hash_password_into(password, &self.salt, output).map_err(failed)?;
        Ok(output.ct_eq(self.output.as_bytes()).into())
    }
}

fn argon2id(params: Params) -> Argon2<'static> {
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

/// The most memory times passes, in bytes: four passes over the most memory, which PHP does by default; about a
/// third of a second.
pub(super) const MAX_WORK: u64 = 4 * MAX_MEMORY;

#[cfg(test)]
mod tests {
    use super::*;

    const SALT: [u8; SALT_BYTES] = *b"0123456789abcdef";
    const HASH: &str =
        "$argon2id$v=19$m=8,t=1,p=1$+z2nqBrN6xeE4XbJDHdKpQ$Eg6WATuc8HQF0TElcvp1xGNa8aqzB4M4pitXemQviVU";

    #[test]
    fn what_is_made_parses_matches_and_is_up_to_date() {
        let made = Argon2id::make(b"password", &SALT).unwrap();
        assert!(made.starts_with("$argon2id$v=19$m=19456,t=2,p=1$MDEyMzQ1Njc4OWFiY2RlZg$"), "{made}");
        let hash = Argon2id::parse(&made).unwrap();
        assert!(hash.matches(b"password").unwrap());
        assert!(!hash.matches(b"Password").unwrap());
        assert!(hash.is_up_to_date());
    }

    #[test]
    fn any_weaker_part_makes_a_hash_outdated() {
        let made = Argon2id::make(b"password", &SALT).unwrap();
        for (what, by, up_to_date) in [
            ("", "", true),
            ("m=19456", "m=19457", true),
            ("t=2", "t=3", true),
            ("p=1", "p=4", true),
            ("m=19456", "m=19455", false),
            ("t=2", "t=1", false),
            ("MDEyMzQ1Njc4OWFiY2RlZg", "MDEyMzQ1Njc4OWFiY2Q", false),
            (&made[made.len() - 23..], "", false),
        ] {
            let hash = made.replacen(what, by, 1);
            assert_eq!(Argon2id::parse(&hash).unwrap().is_up_to_date(), up_to_date, "{hash}");
        }
    }

    #[test]
    fn work_has_bounds() {
        for (params, usable) in [
            ("m=65536,t=4,p=1", true),
            ("m=65537,t=1,p=1", false),
            ("m=65536,t=5,p=1", false),
            ("m=7168,t=5,p=1", true),
            ("m=8,t=32768,p=1", true),
            ("m=8,t=32769,p=1", false),
            ("m=8388608,t=1,p=1", false),
            ("m=4294967295,t=4294967295,p=1", false),
        ] {
            let hash = HASH.replace("m=8,t=1,p=1", params);
            assert_eq!(Argon2id::parse(&hash).is_ok(), usable, "{hash}");
        }
    }

    #[test]
    fn what_is_damaged_does_not_parse() {
        assert!(Argon2id::parse(HASH).unwrap().matches(b"password").unwrap());
        for (what, by) in [
            ("v=19", "v=16"),
            ("$v=19", ""),
            ("m=8", "m=7"),
            ("m=8", "m=08"),
            ("t=1", "t=0"),
            ("m=8,t=1,p=1$", ""),
            ("m=8,", ""),
            (",p=1", ""),
            ("p=1", "p=2,p=1"),
            ("p=1", "p=1,keyid=AAAA"),
            ("p=1", "p=0"),
            ("p=1", "p=2"),
            ("p=1", "p=1,x=1"),
            ("p=1", "p=\u{e9}"),
            ("dKpQ$", "dKpR$"), // bits that encode nothing
            ("+z2nqBrN6xeE4XbJDHdKpQ", "+z2nqBrN"),
            ("$Eg6WATuc8HQF0TElcvp1xGNa8aqzB4M4pitXemQviVU", ""),
            ("viVU", "viVU$"),
            ("viVU", "viVU="),
        ] {
            let damaged = HASH.replace(what, by);
            assert!(damaged != HASH && Argon2id::parse(&damaged).is_err(), "{damaged}");
        }
    }
}
