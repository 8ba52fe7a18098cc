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

    /// A duration that is `mean` on average, with a long tail that ends at 16 times the mean.
    pub fn around(&mut self, mean: Duration) -> Duration {
        let uniform = (self.0.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
        mean.mul_f64((-(1.0 - uniform).ln()).min(16.0))
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
