//! A memory of access tokens that were proven genuine: a signature is verified once, not with every request.
//!
//! That a token is genuine, and that it was issued in its key's epoch, stays true for ever. Whether it still holds is
//! judged with every use, as of a token never seen before: its key must be in the ring, and the domain judges its
//! dates and its session.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use aws_lc_rs::digest::{SHA256, digest};
use portcullis_domain::token::Claims;

use crate::keys::Epoch;

/// The claims of tokens that were verified, by the SHA-256 of the whole token. Bounded, and never larger for who
/// sends other tokens: only genuine ones enter.
///
/// It is cut into many small sets with a lock each, so that threads hardly ever meet. Where a set is full, the next
/// token takes the place of the one that has been there longest.
pub(super) struct VerifiedTokens {
    sets: Box<[Mutex<Set>]>,
}

/// The tokens whose digests begin alike, verified with the ring of one epoch.
#[derive(Default)]
struct Set {
    epoch: Option<Epoch>,
    tokens: Vec<Verified>,
    /// Which of them to replace once it is full.
    oldest: usize,
}

struct Verified {
    digest: Digest,
    claims: Claims,
}

/// The SHA-256 of a whole token.
#[derive(PartialEq, Eq)]
struct Digest([u8; 32]);

impl Digest {
    #[expect(clippy::expect_used, reason = "SHA-256 has 32 bytes")]
    fn of(token: &str) -> Self {
        Self(digest(&SHA256, token.as_bytes()).as_ref().try_into().expect("32 bytes"))
    }
}

impl VerifiedTokens {
    /// A memory of this many tokens or a few more; of none, it takes no part.
    pub(super) fn with_capacity(tokens: usize) -> Self {
        Self { sets: (0..tokens.div_ceil(SET)).map(|_| Mutex::default()).collect() }
    }

    /// What `token` says, from memory if the ring of `epoch` verified it before; else what `verify` proves, which is
    /// remembered. No lock is held meanwhile.
    pub(super) fn recall_or(
        &self,
        token: &str,
        epoch: Epoch,
        verify: impl FnOnce() -> Option<Claims>,
    ) -> Option<Claims> {
        if self.sets.is_empty() {
            return verify();
        }
        let digest = Digest::of(token);
        if let Some(claims) = self.set(&digest).recall(&digest, epoch) {
            return Some(claims);
        }
        let claims = verify()?;
        self.set(&digest).remember(Verified { digest, claims: claims.clone() }, epoch);
        Some(claims)
    }

    fn set(&self, digest: &Digest) -> MutexGuard<'_, Set> {
        let [a, b, c, d, ..] = digest.0;
        let index = u32::from_le_bytes([a, b, c, d]) as usize % self.sets.len();
        self.sets[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Set {
    fn recall(&mut self, digest: &Digest, epoch: Epoch) -> Option<Claims> {
        self.turn_to(epoch);
        self.tokens.iter().find(|known| known.digest == *digest).map(|known| known.claims.clone())
    }

    fn remember(&mut self, new: Verified, epoch: Epoch) {
        self.turn_to(epoch);
        match self.tokens.iter().any(|known| known.digest == new.digest) {
            // Another thread verified it too.
            true => {}
            false if self.tokens.len() < SET => self.tokens.push(new),
            false => {
                self.tokens[self.oldest] = new;
                self.oldest = (self.oldest + 1) % SET;
            }
        }
    }

    /// Forgets what the ring of another epoch verified.
    fn turn_to(&mut self, epoch: Epoch) {
        if self.epoch != Some(epoch) {
            *self = Self { epoch: Some(epoch), ..Self::default() };
        }
    }
}

/// Who carries which token is nothing for a log.
impl fmt::Debug for VerifiedTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifiedTokens").field("capacity", &(self.sets.len() * SET)).finish_non_exhaustive()
    }
}

/// Tokens in a set: few enough to look through all of them, and enough that sets fill evenly.
const SET: usize = 8;

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use portcullis_domain::id::{SessionId, TokenId, UserId};
    use portcullis_domain::time::UnixTime;
    use portcullis_testkit::fixtures::NOW;
    use uuid::Uuid;

    use super::*;
    use crate::keys::KeyRotation;

    fn claims(number: u128) -> Claims {
        Claims {
            user: UserId::from_uuid(Uuid::from_u128(1)),
            session: SessionId::from_uuid(Uuid::from_u128(2)),
            token: TokenId::from_uuid(Uuid::from_u128(number)),
            opened_at: NOW,
            issued_at: NOW,
            not_before: NOW,
            expires_at: NOW,
        }
    }

    fn epoch() -> Epoch {
        Epoch::containing(NOW, KeyRotation::default())
    }

    /// A memory, and how often something had to be verified for it.
    struct Rig {
        memory: VerifiedTokens,
        verified: Cell<usize>,
    }

    impl Rig {
        fn new(capacity: usize) -> Self {
            Self { memory: VerifiedTokens::with_capacity(capacity), verified: Cell::new(0) }
        }

        fn ask(&self, token: &str, epoch: Epoch, truth: Option<Claims>) -> Option<Claims> {
            self.memory.recall_or(token, epoch, || {
                self.verified.set(self.verified.get() + 1);
                truth
            })
        }

        /// What is known of `token`, without its being verified.
        fn known(&self, token: &str, epoch: Epoch) -> Option<Claims> {
            self.memory.recall_or(token, epoch, || None)
        }

        fn remembered(&self) -> usize {
            let len = |set: &Mutex<Set>| set.lock().unwrap().tokens.len();
            self.memory.sets.iter().map(len).sum()
        }
    }

    #[test]
    fn a_token_is_verified_once() {
        let rig = Rig::new(1);
        for _ in 0..3 {
            assert_eq!(rig.ask("a.b.c", epoch(), Some(claims(1))), Some(claims(1)));
        }
        assert_eq!(rig.ask("a.b.d", epoch(), Some(claims(2))), Some(claims(2)));
        assert_eq!(rig.ask("a.b.c", epoch(), None), Some(claims(1)));
        assert_eq!(rig.verified.get(), 2);
    }

    #[test]
    fn what_is_refused_is_not_remembered() {
        let rig = Rig::new(64);
        for _ in 0..3 {
            assert_eq!(rig.ask("a.b.c", epoch(), None), None);
        }
        assert_eq!((rig.verified.get(), rig.remembered()), (3, 0));
    }

    #[test]
    fn another_ring_forgets_what_this_one_verified() {
        let rig = Rig::new(1);
        let [before, now, next] = epoch().with_neighbours();
        for other in [next, before] {
            assert_eq!(rig.ask("a.b.c", now, Some(claims(1))), Some(claims(1)));
            assert_eq!(rig.known("a.b.c", other), None);
            assert_eq!(rig.known("a.b.c", now), None, "for good");
        }
        rig.ask("a.b.c", now, Some(claims(1)));
        rig.ask("a.b.d", next, Some(claims(2)));
        assert_eq!((rig.known("a.b.c", next), rig.known("a.b.d", next)), (None, Some(claims(2))));
    }

    #[test]
    fn a_million_tokens_do_not_make_it_grow() {
        const CAPACITY: usize = 1_000;
        let rig = Rig::new(CAPACITY);
        for number in 0..1_000_000 {
            assert_eq!(rig.ask(&number.to_string(), epoch(), Some(claims(number))), Some(claims(number)));
        }
        assert_eq!(rig.remembered(), CAPACITY);
        for set in &rig.memory.sets {
            assert_eq!(set.lock().unwrap().tokens.capacity(), SET);
        }
        for number in (0..1_000_000).rev().step_by(1_000) {
            let known = rig.known(&number.to_string(), epoch());
            assert!(known.as_ref().is_none_or(|known| *known == claims(number)), "{number}: {known:?}");
        }
        assert_eq!(rig.known("999999", epoch()), Some(claims(999_999)));
    }

    #[test]
    fn the_oldest_goes_first() {
        let rig = Rig::new(SET);
        let all = u128::try_from(SET).unwrap() + 1;
        for number in 1..=all {
            rig.ask(&number.to_string(), epoch(), Some(claims(number)));
        }
        for number in 1..=all {
            assert_eq!(rig.known(&number.to_string(), epoch()).is_some(), number > 1, "{number}");
        }
    }

    #[test]
    fn a_memory_of_none_verifies_every_time() {
        let rig = Rig::new(0);
        for _ in 0..3 {
            assert_eq!(rig.ask("a.b.c", epoch(), Some(claims(1))), Some(claims(1)));
        }
        assert_eq!((rig.verified.get(), rig.known("a.b.c", epoch())), (3, None));
    }

    #[test]
    fn threads_that_meet_remember_a_token_once() {
        let rig = VerifiedTokens::with_capacity(SET);
        let together = std::sync::Barrier::new(4);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    rig.recall_or("a.b.c", epoch(), || {
                        together.wait();
                        Some(claims(1))
                    })
                });
            }
        });
        assert_eq!(rig.sets[0].lock().unwrap().tokens.len(), 1);
    }

    #[test]
    fn debug_shows_no_token() {
        let rig = Rig::new(100);
        rig.ask("a.b.c", epoch(), Some(Claims { opened_at: UnixTime::EPOCH, ..claims(1) }));
        assert_eq!(format!("{:?}", rig.memory), "VerifiedTokens { capacity: 104, .. }");
    }
}
