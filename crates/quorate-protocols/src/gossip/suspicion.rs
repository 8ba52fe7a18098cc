//! Suspicion: how long a member that did not answer has to refute, before it is called dead.
//!
//! Long at first, since it may be the suspecting member that hears badly; each other member that suspects too, by a probe
//! of its own, shortens it: the first ones much, the later ones less. At its shortest it still lets a rumour reach the
//! suspect and its refutation come back.
//!
//! Source: Lifeguard (DSN 2018), section IV.B: `max(min, max - (max - min) * log(c + 1) / log(k + 1))`.

use alloc::collections::BTreeSet;
use core::time::Duration;

use quorate_model::NodeId;
use quorate_model::time::Instant;

/// The most confirmations that shorten a suspicion.
pub(super) const CONFIRMATIONS_MAX: usize = 3;

/// How many times as long a suspicion lasts without confirmations.
pub(super) const LONGEST_FACTOR: u32 = 4;

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct Suspicion {
    /// When we heard of it.
    pub begun: Instant,
    /// When it is over, unless it is confirmed.
    pub due: Instant,
    /// Who got no answer, as far as we heard; the first one and those who confirm it.
    pub by: BTreeSet<NodeId>,
}

/// The binary logarithms of 1, 2, 3 and 4, times 1,024.
const LOGARITHMS: [u32; CONFIRMATIONS_MAX + 1] = [0, 1024, 1623, 2048];

/// How long a suspicion lasts from its begin, with `confirmed` of the `wanted` confirmations.
pub(super) fn lasts(shortest: Duration, confirmed: usize, wanted: usize) -> Duration {
    let longest = shortest * LONGEST_FACTOR;
    let wanted = wanted.min(CONFIRMATIONS_MAX);
    if confirmed >= wanted {
        return shortest;
    }
    (longest - (longest - shortest) * LOGARITHMS[confirmed] / LOGARITHMS[wanted]).max(shortest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_confirmation_shortens_it_the_first_most() {
        let shortest = Duration::from_secs(4);
        let times: alloc::vec::Vec<_> = (0..=4).map(|confirmed| lasts(shortest, confirmed, 3).as_millis()).collect();
        assert_eq!(times, [16_000, 10_000, 6_490, 4_000, 4_000]);
        assert_eq!(lasts(shortest, 0, 0), shortest, "nobody is there who could confirm");
        assert_eq!(lasts(shortest, 0, 1), shortest * 4);
    }
}
