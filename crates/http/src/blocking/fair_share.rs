//! A bounded lane is easily filled by one: so everybody gets only a few places in it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use portcullis_domain::client::{ClientInfo, Network};
use portcullis_domain::id::UserId;
use portcullis_domain::username::CanonicalName;

/// Who wants a password hashed: for which account, and from where.
#[derive(Clone, Debug, Default)]
pub(crate) struct Applicant {
    parties: Vec<Party>,
}

impl Applicant {
    /// Somebody without an account.
    pub(crate) fn without_account(client: &ClientInfo) -> Self {
        Self { parties: client.network().map(Party::Network).into_iter().collect() }
    }

    /// Somebody who names an account. Whether it exists makes no difference.
    pub(crate) fn naming(username: &str, client: &ClientInfo) -> Self {
        // What is longer is refused without a hash.
        let can_be_a_name = username.len() <= CanonicalName::MAX_LENGTH * char::MAX_LEN_UTF8;
        let name = can_be_a_name.then(|| Party::Name(CanonicalName::of(username)));
        Self::without_account(client).and(name)
    }

    /// A user who is logged in.
    pub(crate) fn user(user: UserId, client: &ClientInfo) -> Self {
        Self::without_account(client).and(Some(Party::User(user)))
    }

    fn and(mut self, party: Option<Party>) -> Self {
        self.parties.extend(party);
        self
    }
}

/// Who has places.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Party {
    Name(CanonicalName),
    User(UserId),
    Network(Network),
}

/// How many uses of one account's password wait or run at the same time: one for each device that its owner may pick up
/// at once. Who guesses gets no more of them by asking in parallel.
const MOST_PER_ACCOUNT: usize = 3;

/// How many come from one address, and never more than half of the lane: the other half is left to others.
const MOST_PER_ADDRESS: usize = 6;

/// The places that are taken. It is as large as the lane, for nobody is in it without a place there.
#[derive(Debug)]
pub(crate) struct FairShare {
    per_account: usize,
    per_address: usize,
    taken: Mutex<HashMap<Party, usize>>,
}

impl FairShare {
    /// That of a lane with so many places.
    pub(crate) fn of(places: usize) -> Self {
        let per_address = MOST_PER_ADDRESS.min(places.div_ceil(2));
        Self { per_account: MOST_PER_ACCOUNT.min(per_address), per_address, taken: Mutex::default() }
    }

    /// Takes a place; `None` when somebody has all that are to be had.
    pub(crate) fn admit(self: &Arc<Self>, applicant: &Applicant) -> Option<Place> {
        let mut taken = self.lock();
        let most = |party: &Party| match party {
            Party::Name(_) | Party::User(_) => self.per_account,
            Party::Network(_) => self.per_address,
        };
        let has_room = |party: &Party| taken.get(party).is_none_or(|count| *count < most(party));
        if !applicant.parties.iter().all(has_room) {
            return None;
        }
        for party in &applicant.parties {
            *taken.entry(party.clone()).or_default() += 1;
        }
        Some(Place { share: Arc::clone(self), parties: applicant.parties.clone() })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Party, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place that is taken until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    share: Arc<FairShare>,
    parties: Vec<Party>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.share.lock();
        for party in &self.parties {
            match taken.get_mut(party) {
                Some(count) if *count > 1 => *count -= 1,
                _ => drop(taken.remove(party)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use portcullis_testkit::SeededEntropy;
    use portcullis_testkit::fixtures::NOW;

    use super::*;

    fn from(address: &str) -> ClientInfo {
        ClientInfo::new(Some(address.parse().unwrap()), None)
    }

    /// How many places are had by those who come, one from each address and for each name or user.
    fn admitted(applicants: impl IntoIterator<Item = Applicant>) -> usize {
        let share = Arc::new(FairShare::of(100));
        let places: Vec<_> = applicants.into_iter().map_while(|applicant| share.admit(&applicant)).collect();
        places.len()
    }

    #[test]
    fn an_account_has_a_few_places_from_wherever() {
        let login = |n: usize| {
            let name = ["Alice", "aLICE", "alice"][n % 3];
            Applicant::naming(name, &from(&format!("192.0.2.{n}")))
        };
        assert_eq!(admitted((0..9).map(login)), MOST_PER_ACCOUNT);

        let user = UserId::new(NOW, &SeededEntropy::new(1));
        let change = |n: usize| Applicant::user(user, &from(&format!("192.0.2.{n}")));
        assert_eq!(admitted((0..9).map(change)), MOST_PER_ACCOUNT);
    }

    #[test]
    fn an_address_has_a_few_places_for_whomever() {
        let login = |n: usize| Applicant::naming(&format!("user-{n}"), &from("192.0.2.1"));
        assert_eq!(admitted((0..9).map(login)), MOST_PER_ADDRESS);

        let register = |n: usize| Applicant::without_account(&from(&format!("2001:db8::{n}")));
        assert_eq!(admitted((0..9).map(register)), MOST_PER_ADDRESS, "a /64 is one");

        let others = |n: usize| Applicant::without_account(&from(&format!("2001:db8:0:{n}::1")));
        assert_eq!(admitted((0..9).map(others)), 9);
    }

    #[test]
    fn nobody_has_more_than_half_of_a_small_lane() {
        let login = |n: usize| Applicant::naming(&format!("user-{n}"), &from("192.0.2.1"));
        for (places, most) in [(1, 1), (4, 2), (5, 3), (10, 5), (12, MOST_PER_ADDRESS)] {
            let share = Arc::new(FairShare::of(places));
            let admitted: Vec<_> = (0..9).map_while(|n| share.admit(&login(n))).collect();
            assert_eq!(admitted.len(), most, "of {places}");
        }
    }

    #[test]
    fn who_has_no_address_and_no_name_is_not_counted() {
        let nobody = ClientInfo::default();
        assert_eq!(admitted((0..9).map(|_| Applicant::without_account(&nobody))), 9);
        let long = "x".repeat(CanonicalName::MAX_LENGTH * 4 + 1);
        assert_eq!(admitted((0..9).map(|_| Applicant::naming(&long, &nobody))), 9);
    }

    #[test]
    fn a_place_given_back_is_had_by_the_next() {
        let share = Arc::new(FairShare::of(100));
        let alice = Applicant::naming("alice", &from("192.0.2.1"));
        let mut places: Vec<_> = (0..MOST_PER_ACCOUNT).map(|_| share.admit(&alice).unwrap()).collect();
        assert!(share.admit(&alice).is_none());
        places.pop();
        places.push(share.admit(&alice).unwrap());
        assert!(share.admit(&alice).is_none());
        drop(places);
        assert!(share.lock().is_empty(), "nothing is kept of who left");
    }

    #[test]
    fn who_is_refused_takes_nothing() {
        let share = Arc::new(FairShare::of(100));
        let alice = |address| Applicant::naming("alice", &from(address));
        let _places: Vec<_> =
            (0..MOST_PER_ACCOUNT).map(|n| share.admit(&alice(["192.0.2.1", "192.0.2.2"][n % 2]))).collect();
        assert!(share.admit(&alice("192.0.2.3")).is_none());
        assert_eq!(share.lock().get(&Party::Network(Network::of("192.0.2.3".parse().unwrap()))), None);
    }
}
