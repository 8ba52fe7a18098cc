//! Lamport clocks: a counter that grows with each event, and jumps ahead of what it hears.
//!
//! Case 1: an event takes the next number. Case 2: a receive comes from the future of both its source and its
//! destination. Case 3: unrelated processes do not agree, and need not. Source: notes "Lamport Clocks".

/// A counter that holds Lamport's clock condition: if `a` happens before `b`, then the number of `a` is smaller.
/// The converse does not hold; see [`crate::time::VectorClock`] for a clock that can tell.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct LamportClock(u64);

impl LamportClock {
    /// The number of the last event; 0 before the first.
    #[must_use]
    pub fn now(self) -> u64 {
        self.0
    }

    /// Numbers a local event or a send.
    ///
    /// # Panics
    /// After 2^64 events.
    pub fn tick(&mut self) -> u64 {
        self.0 = self.0.checked_add(1).expect("fewer than 2^64 events happen");
        self.0
    }

    /// Numbers the receive of a message that was sent at `sent`.
    pub fn receive(&mut self, sent: u64) -> u64 {
        self.0 = self.0.max(sent);
        self.tick()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receive_is_later_than_its_send_and_than_all_before_it() {
        let (mut left, mut right) = (LamportClock(13), LamportClock(25));
        let sent = right.tick();
        assert_eq!(left.receive(sent), 27, "the notes' second case: ahead of 13 and of 26");
        assert_eq!(right.now(), 26);
    }
}
