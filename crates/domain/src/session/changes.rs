use crate::id::SessionId;
use crate::time::{StoreTime, UnixTime};

/// A position in the order in which a store's changes become visible. Only the store that made a cursor can interpret it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    epoch: u64,
    position: u64,
}

impl Cursor {
    /// Creates a cursor. Positions are comparable within an `epoch`: the store starts another one if changes may have been
    /// lost.
    pub const fn new(epoch: u64, position: u64) -> Self {
        Self { epoch, position }
    }

    /// Returns the epoch.
    pub const fn epoch(self) -> u64 {
        self.epoch
    }

    /// Returns the position: the store's number of the first change that may not have been visible.
    pub const fn position(self) -> u64 {
        self.position
    }

    /// Returns whether a store whose next cursor is `next` can find everything that became visible since this cursor. It
    /// cannot in another epoch, nor if the position decreased: the store lost changes.
    pub fn can_continue_to(self, next: Option<Self>) -> bool {
        next.is_some_and(|next| next.epoch == self.epoch && next.position >= self.position)
    }
}

/// What an instance must know of the changes that other instances made.
#[derive(Clone, Debug, Default)]
pub struct SessionChanges {
    /// The sessions that ended, and when.
    pub ended: Vec<(SessionId, UnixTime)>,
    /// Whether [`ended`](Self::ended) has what became visible since the cursor of the call; otherwise it has what ended since
    /// the time of the call.
    pub continues: bool,
    /// The cursor of the next call; `None` if the store cannot make one.
    pub next: Option<Cursor>,
    /// Every session opened before this is ended; a whole second, and [`UnixTime::EPOCH`] if that never happened.
    pub valid_from: UnixTime,
    /// The time by the store's clock, if it has one.
    pub time: Option<StoreTime>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_continue_within_their_epoch_only() {
        let cursor = Cursor::new(2, 10);
        for (next, continues) in [
            (Some(Cursor::new(2, 10)), true),
            (Some(Cursor::new(2, 11)), true),
            (Some(Cursor::new(2, 9)), false),
            (Some(Cursor::new(1, 11)), false),
            (Some(Cursor::new(3, 11)), false),
            (None, false),
        ] {
            assert_eq!(cursor.can_continue_to(next), continues, "{next:?}");
        }
    }
}
