use std::num::NonZeroU32;

use aws_lc_rs::pbkdf2;
use base16ct::lower;
use portcullis_domain::password::HashError;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{MAX_MEMORY, Unusable, failed, parse_number};

/// A hash `<method>$<salt>$<digest>` of Werkzeug's `generate_password_hash`. The salt is what it is, not an encoding
/// of something; the digest is in lower-case hexadecimal.
pub(super) struct Werkzeug<'a> {
    method: Method,
    salt: &'a str,
    digest: Vec<u8>,
}

enum Method {
    /// `scrypt:<N>:<r>:<p>` (RFC 7914).
    Scrypt(scrypt::Params),
    /// `pbkdf2:<hash>:<iterations>` (RFC 8018).
    Pbkdf2(pbkdf2::Algorithm, NonZeroU32),
}

impl<'a> Werkzeug<'a> {
    pub(super) fn parse(encoded: &'a str) -> Result<Self, Unusable> {
        let malformed = Unusable("malformed Werkzeug hash");
        let (method, rest) = encoded.split_once('$').ok_or(malformed)?;
        let (salt, digest) = rest.split_once('$').ok_or(malformed)?;
        let (method, digest_bytes) = match method.split(':').collect::<Vec<_>>()[..] {
            ["scrypt", n, r, p] => (Method::Scrypt(scrypt_params(n, r, p)?), 64),
            ["pbkdf2", hash, iterations] => {
                let (algorithm, digest_bytes) = pbkdf2_algorithm(hash)?;
                (Method::Pbkdf2(algorithm, pbkdf2_iterations(iterations)?), digest_bytes)
            }
            _ => return Err(malformed),
        };
        match lower::decode_vec(digest) {
            Ok(digest) if digest.len() == digest_bytes && salt.len() <= MAX_SALT => {
                Ok(Self { method, salt, digest })
            }
            _ => Err(malformed),
        }
    }

    pub(super) fn matches(&self, password: &[u8]) -> Result<bool, HashError> {
        let salt = self.salt.as_bytes();
        match &self.method {
            Method::Scrypt(params) => {
                let mut digest = Zeroizing::new(vec![0; self.digest.len()]);
                scrypt::scrypt(password, salt, params, &mut digest).map_err(failed)?;
                Ok(digest.ct_eq(&self.digest).into())
            }
            &Method::Pbkdf2(algorithm, iterations) => {
                // Compares in constant time.
                Ok(pbkdf2::verify(algorithm, iterations, salt, password, &self.digest).is_ok())
            }
        }
    }
}

fn scrypt_params(n: &str, r: &str, p: &str) -> Result<scrypt::Params, Unusable> {
    let malformed = Unusable("malformed scrypt parameters");
    let number = |digits| parse_number(digits).filter(|&number| number > 0).ok_or(malformed);
    let (n, r, p) = (number(n)?, number(r)?, number(p)?);
    if !n.is_power_of_two() || n == 1 {
        return Err(malformed);
    }
    let blocks = u64::from(n) * u64::from(r);
    if blocks.saturating_mul(128) > MAX_MEMORY || blocks.saturating_mul(p.into()) > MAX_SCRYPT_BLOCKS {
        return Err(Unusable("scrypt cost out of bounds"));
    }
    let log_n = u8::try_from(n.ilog2()).ok().ok_or(malformed)?;
    scrypt::Params::new(log_n, r, p).ok().ok_or(malformed)
}

/// The algorithm of a name, and how many bytes Werkzeug lets it make.
fn pbkdf2_algorithm(hash: &str) -> Result<(pbkdf2::Algorithm, usize), Unusable> {
    match hash {
        "sha1" => Ok((pbkdf2::PBKDF2_HMAC_SHA1, 20)),
        "sha256" => Ok((pbkdf2::PBKDF2_HMAC_SHA256, 32)),
        "sha512" => Ok((pbkdf2::PBKDF2_HMAC_SHA512, 64)),
        _ => Err(Unusable("PBKDF2 with an unknown hash")),
    }
}

fn pbkdf2_iterations(iterations: &str) -> Result<NonZeroU32, Unusable> {
    let iterations = parse_number(iterations).and_then(NonZeroU32::new);
    let iterations = iterations.ok_or(Unusable("malformed PBKDF2 iterations"))?;
    if iterations > MAX_ITERATIONS {
        return Err(Unusable("PBKDF2 iterations out of bounds"));
    }
    Ok(iterations)
}

/// The most blocks of 128 bytes that scrypt may go through, `N * r * p`: four times what Werkzeug asks for by default;
/// a third of a second, or one where `N` is tiny.
pub(super) const MAX_SCRYPT_BLOCKS: u64 = 4 * 32_768 * 8;

/// Twice what Werkzeug asks for since 3.1; half a second with SHA-256, under two with SHA-512.
pub(super) const MAX_ITERATIONS: NonZeroU32 = NonZeroU32::new(2_000_000).unwrap();

/// Werkzeug makes salts of 16 characters; who chose a length of their own chose none near this.
pub(super) const MAX_SALT: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    const SHA1: &str = "pbkdf2:sha1:1$lR7SjRPLvmfWlFsu$1523b26e34f4bac63c59e7e46f0d573ebd07ba51";

    fn usable(method: &str, digest_bytes: usize) -> bool {
        Werkzeug::parse(&format!("{method}$salt${}", "ab".repeat(digest_bytes))).is_ok()
    }

    #[test]
    fn work_has_bounds() {
        for (parameters, expected) in [
            ("32768:8:1", true),
            ("65536:8:1", true),
            ("65536:8:2", true),
            ("65536:8:3", false),
            ("131072:8:1", false),
            ("2:262144:1", true),
            ("2:262145:1", false),
            ("2:1:524288", true),
            ("2:1:524289", false),
            ("2147483648:1:1", false),
            ("2:4294967295:4294967295", false),
            ("32768:8:4294967295", false),
        ] {
            assert_eq!(usable(&format!("scrypt:{parameters}"), 64), expected, "{parameters}");
        }
        for (iterations, expected) in
            [("1", true), ("2000000", true), ("2000001", false), ("4294967295", false), ("4294967297", false)]
        {
            assert_eq!(usable(&format!("pbkdf2:sha256:{iterations}"), 32), expected, "{iterations}");
        }
    }

    #[test]
    fn digests_have_the_length_of_their_method() {
        for (method, length) in
            [("scrypt:2:1:1", 64), ("pbkdf2:sha1:1", 20), ("pbkdf2:sha256:1", 32), ("pbkdf2:sha512:1", 64)]
        {
            for bytes in 0..70 {
                assert_eq!(usable(method, bytes), bytes == length, "{method} {bytes}");
            }
        }
    }

    #[test]
    fn what_is_damaged_does_not_parse() {
        assert!(Werkzeug::parse(SHA1).unwrap().matches(b"password").unwrap());
        for (what, by) in [
            ("sha1", "md5"),
            ("sha1", "SHA1"),
            (":1$", "$"),
            (":1$", ":0$"),
            (":1$", ":01$"),
            (":1$", ":-1$"),
            (":1$", ":1:1$"),
            ("$lR7SjRPLvmfWlFsu", ""),
            ("ba51", "BA51"),
            ("ba51", "ba5"),
            ("ba51", "ba5g"),
            ("ba51", "b\u{e9}1"),
            ("ba51", "ba51$"),
            ("lR7SjRPLvmfWlFsu", &"s".repeat(MAX_SALT + 1)),
        ] {
            let damaged = SHA1.replace(what, by);
            assert!(damaged != SHA1 && Werkzeug::parse(&damaged).is_err(), "{damaged}");
        }
        for parameters in ["1:8:1", "3:8:1", "0:8:1", "2:0:1", "2:1:0", "2:1", "2:1:1:1", "2:1:+1", "2:1: 1"]
        {
            assert!(!usable(&format!("scrypt:{parameters}"), 64), "{parameters}");
        }
    }
}
