//! The one source of chance of a simulated run: its seed.

use std::ops::Range;
use std::time::Duration;

use quorate_model::Choose;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Draws from a seed. The same seed draws the same, on every machine.
#[derive(Clone, Debug)]
pub struct Draw(ChaCha8Rng);

impl Draw {
    /// Stream number `stream` of a seed. Streams of one seed have nothing to do with each other.
    #[must_use]
    pub fn seeded(seed: u64, stream: u64) -> Self {
        let mut chacha = ChaCha8Rng::seed_from_u64(seed);
        chacha.set_stream(stream);
        Self(chacha)
    }

    /// A number below `bound`, which is at least 1. The lean towards small numbers is below `bound / 2^64`.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.0.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// True this many times in a thousand.
    pub fn per_mille(&mut self, per_mille: u32) -> bool {
        per_mille > 0 && self.below(1000) < u64::from(per_mille)
    }

    /// True this many times in a million.
    pub fn per_million(&mut self, per_million: u32) -> bool {
        per_million > 0 && self.below(1_000_000) < u64::from(per_million)
    }

    /// A duration within the range; its start if it is empty.
    pub fn between(&mut self, range: &Range<Duration>) -> Duration {
        let width = range.end.saturating_sub(range.start).as_nanos() as u64;
        range.start + Duration::from_nanos(if width == 0 { 0 } else { self.below(width) })
    }

    /// A duration that is `mean` on average, with a long tail: nearly an exponential distribution.
    pub fn around(&mut self, mean: Duration) -> Duration {
        // -log2 of a uniform number, its mantissa taken for linear: whole numbers only, so that all machines agree.
        let uniform = self.0.next_u64() | 1;
        let halvings = u64::from(uniform.leading_zeros());
        let mantissa = ((uniform << halvings) >> 31) & 0xffff_ffff;
        let log = u128::from((halvings << 32) + (0xffff_ffff - mantissa));
        // The mean of that is 3/2.
        let nanos = (mean.as_nanos() * log * 2 / 3) >> 32;
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// One of `options`.
    ///
    /// # Panics
    /// If there are none.
    pub fn pick<'o, T>(&mut self, options: &'o [T]) -> &'o T {
        &options[self.below(options.len() as u64) as usize]
    }
}

impl Choose for Draw {
    fn choose(&mut self, count: usize) -> usize {
        self.below(count as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_spread_as_they_say() {
        let mut draw = Draw::seeded(7, 0);
        let mean = Duration::from_millis(3);
        let drawn: Vec<Duration> = (0..100_000).map(|_| draw.around(mean)).collect();
        let average = drawn.iter().sum::<Duration>() / 100_000;
        assert!(average > mean * 98 / 100 && average < mean * 102 / 100, "{average:?}");
        let beyond = drawn.iter().filter(|it| **it > mean * 3).count();
        assert!((3_000..7_000).contains(&beyond), "{beyond} of 100,000 take three times as long");
        let lost = (0..100_000).filter(|_| draw.per_mille(300)).count();
        assert!((29_000..31_000).contains(&lost), "{lost}");
    }

    #[test]
    fn streams_of_one_seed_differ_and_the_same_stream_does_not() {
        let numbers = |stream| -> Vec<u64> {
            let mut draw = Draw::seeded(3, stream);
            (0..8).map(|_| draw.below(u64::MAX)).collect()
        };
        assert_eq!(numbers(0), numbers(0));
        assert_ne!(numbers(0), numbers(1));
    }
}
