//! What holds of every text that a database may hold as the hash of a password.
#![expect(clippy::expect_used, reason = "what parsed has the numbers that its scheme has")]

use std::sync::{Arc, LazyLock};

use super::*;
use crate::system::OsRandom;

/// What parses asks for no more work than its scheme's bounds allow and is of a bounded length. Where it asks for next to
/// none, it gives a verdict, and no two passwords match it.
///
/// # Panics
/// Where it does not hold.
pub fn holds(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    let Ok(stored) = StoredHash::parse(text) else {
        assert!(matches!(verify("password", text), Err(HashError::Unusable(_))));
        return;
    };
    assert!(text.len() <= LONGEST, "{}", text.len());

    let numbers = numbers(text);
    let numbers: Vec<u64> =
        numbers.iter().map(|digits| digits.parse().expect("it is within bounds")).collect();
    // Read from the text once more, so that it is the text that is held against the bounds.
    let (is_allowed, is_cheap) = match (stored, &numbers[..]) {
        (StoredHash::BcryptSha256(_) | StoredHash::Bcrypt(_), &[cost]) => {
            ((4..=15).contains(&cost), cost == 4)
        }
        (StoredHash::Argon2id(_), &[memory, passes, lanes]) => {
            let is_allowed = memory <= 64 * 1024 && memory * passes <= 256 * 1024 && lanes * 8 <= memory;
            (is_allowed, memory * passes <= 256)
        }
        (StoredHash::Werkzeug(_), &[n, r, p]) => {
            let is_allowed = 128 * n * r <= 64 * 1024 * 1024 && n * r * p <= 1024 * 1024;
            (is_allowed && n.is_power_of_two() && n > 1, n * r * p <= 256)
        }
        (StoredHash::Werkzeug(_), &[iterations]) => {
            ((1..=2_000_000).contains(&iterations), iterations <= 256)
        }
        (_, numbers) => panic!("{numbers:?} are not the numbers of its scheme"),
    };
    assert!(is_allowed, "{numbers:?} are out of bounds");
    if is_cheap {
        let verdicts = ["password", "Password", ""].map(|password| verify(password, text));
        let matching = verdicts.iter().filter(|verdict| match verdict {
            Ok(verdict) => *verdict != Verdict::Mismatch,
            Err(error) => panic!("it parsed, and then: {error}"),
        });
        assert!(matching.count() <= 1, "{verdicts:?}");
    }
}

fn verify(password: &str, hash: &str) -> Result<Verdict, HashError> {
    HASHER.verify(&PlaintextPassword::new(password.to_owned()), &PasswordHash::new(hash.to_owned()))
}

/// The numbers that say how much work a hash asks for.
fn numbers(hash: &str) -> Vec<&str> {
    let fields: Vec<_> = hash.split('$').collect();
    let parameters: Vec<_> = match fields[..] {
        ["", "bcrypt-sha256", parameters, ..] => parameters.rsplit("r=").take(1).collect(),
        ["", "argon2id", _version, parameters, ..] => {
            let work =
                |parameter: &'static str| parameters.split(',').find_map(move |p| p.strip_prefix(parameter));
            ["m=", "t=", "p="].into_iter().filter_map(work).collect()
        }
        ["", _, cost, ..] => vec![cost],
        _ => fields[0].split(':').collect(),
    };
    parameters.into_iter().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit())).collect()
}

/// Beyond any hash that a scheme can make within its bounds, in bytes.
const LONGEST: usize = 512;

static HASHER: LazyLock<SchemeHasher> =
    LazyLock::new(|| SchemeHasher::new(HashScheme::default(), Arc::new(OsRandom)));

#[cfg(test)]
mod tests {
    use portcullis_testkit::replay;

    #[test]
    fn it_holds_near_the_seeds() {
        replay(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/seeds/password_hash"), 2_000, super::holds);
    }
}
