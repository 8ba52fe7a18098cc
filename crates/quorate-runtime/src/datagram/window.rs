//! The replay window: what was heard of each sender, so that nothing is heard twice.
//!
//! Each sender counts its datagrams. The greatest number so far is kept, and for the [`WINDOW_LEN`] numbers up to it a bit
//! each: a datagram whose bit is set, or that is older than the window, is refused. A later life of the sender begins a
//! new window; an earlier one is refused. Source: RFC 4303, appendix A2; RFC 6479.

use std::collections::BTreeMap;

use quorate_model::NodeId;

use super::key_ring::Life;

/// How many datagrams of one sender may overtake another one.
pub const WINDOW_LEN: u64 = 1024;

const WORDS_LEN: usize = WINDOW_LEN as usize / 64;

/// What the windows say of a datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Heard {
    First,
    Before,
    /// It was sealed in a life of the sender that is over.
    InEarlierLife,
    /// There are as many senders as there may be.
    FromOneTooMany,
}

struct Window {
    life: Life,
    greatest: u64,
    bits: [u64; WORDS_LEN],
}

impl Window {
    fn new(life: Life, number: u64) -> Self {
        let mut window = Self { life, greatest: number, bits: [0; WORDS_LEN] };
        window.mark(number);
        window
    }

    /// Marks a number within the window. Whether it was marked before.
    fn mark(&mut self, number: u64) -> bool {
        let place = number % WINDOW_LEN;
        let (word, bit) = (&mut self.bits[(place / 64) as usize], 1 << (place % 64));
        let before = *word & bit != 0;
        *word |= bit;
        before
    }

    fn hear(&mut self, number: u64) -> Heard {
        if number > self.greatest {
            if number - self.greatest >= WINDOW_LEN {
                self.bits = [0; WORDS_LEN];
            } else {
                for skipped in self.greatest + 1..=number {
                    let place = skipped % WINDOW_LEN;
                    self.bits[(place / 64) as usize] &= !(1 << (place % 64));
                }
            }
            self.greatest = number;
        } else if self.greatest - number >= WINDOW_LEN {
            return Heard::Before; // perhaps not, but nobody remembers
        }
        if self.mark(number) { Heard::Before } else { Heard::First }
    }
}

/// The windows of all senders.
pub(super) struct Windows {
    by_sender: BTreeMap<NodeId, Window>,
    len_max: usize,
}

impl Windows {
    pub fn new(len_max: usize) -> Self {
        Self { by_sender: BTreeMap::new(), len_max }
    }

    /// What is known of datagram `number` of a life of `from`; from now on it was heard.
    pub fn hear(&mut self, from: NodeId, life: Life, number: u64) -> Heard {
        let crowded = self.by_sender.len() >= self.len_max;
        match self.by_sender.get_mut(&from) {
            None if crowded => Heard::FromOneTooMany,
            Some(window) if life < window.life => Heard::InEarlierLife,
            Some(window) if life == window.life => window.hear(number),
            Some(_) | None => {
                self.by_sender.insert(from, Window::new(life, number));
                Heard::First
            }
        }
    }

    /// Forgets a sender that is gone for good.
    pub fn forget(&mut self, from: NodeId) {
        self.by_sender.remove(&from);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    const LIFE: Life = Life { boot: 1, salt: 1 };

    /// Against a set that remembers all.
    #[test]
    fn in_any_order_each_number_is_heard_once_and_none_is_lost_within_the_window() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for _ in 0..200 {
            let mut windows = Windows::new(1);
            let (mut heard, mut greatest) = (BTreeSet::new(), 0_u64);
            let jump = [3, 100, 2_000][rng.random_range(0..3)];
            for _ in 0..2_000 {
                let number = (greatest + rng.random_range(0..jump)).saturating_sub(rng.random_range(0..jump));
                let old = greatest.saturating_sub(number) >= WINDOW_LEN && !heard.is_empty();
                let expected = if old || !heard.insert(number) { Heard::Before } else { Heard::First };
                assert_eq!(windows.hear(NodeId(1), LIFE, number), expected, "{number} of {greatest}");
                greatest = greatest.max(number);
            }
        }
    }

    #[test]
    fn an_earlier_life_is_not_heard_and_a_later_one_begins_anew() {
        let mut windows = Windows::new(1);
        let (node, later) = (NodeId(1), Life { boot: 2, salt: 0 });
        assert_eq!(windows.hear(node, LIFE, 5), Heard::First);
        assert_eq!(windows.hear(node, later, 5), Heard::First);
        assert_eq!(windows.hear(node, LIFE, 6), Heard::InEarlierLife);
        assert_eq!(windows.hear(node, later, 5), Heard::Before);
        assert_eq!(windows.hear(NodeId(2), LIFE, 1), Heard::FromOneTooMany);
        windows.forget(node);
        assert_eq!(windows.hear(NodeId(2), LIFE, 1), Heard::First);
    }

    #[test]
    fn the_greatest_number_there_is_breaks_nothing() {
        let mut windows = Windows::new(1);
        for number in [0, u64::MAX, u64::MAX - 1, 7] {
            windows.hear(NodeId(1), LIFE, number);
        }
        assert_eq!(windows.hear(NodeId(1), LIFE, u64::MAX), Heard::Before);
    }
}
