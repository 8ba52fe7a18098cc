//! Counters that cost a few nanoseconds: plain numbers, read by whoever shows them.

use std::sync::atomic::{AtomicU64, Ordering};

/// How many buckets a histogram has: the last one takes 2^30 and everything above.
pub const BUCKET_COUNT: usize = 32;

/// A histogram with a bucket for zero and one for each power of two: bucket `n` counts values of `n` binary digits.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKET_COUNT],
    sum: AtomicU64,
}

impl Histogram {
    /// Counts `value`.
    pub fn add(&self, value: u64) {
        let digits = (u64::BITS - value.leading_zeros()) as usize;
        self.buckets[digits.min(BUCKET_COUNT - 1)].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// The buckets as they are now.
    #[must_use]
    pub fn snapshot(&self) -> HistogramSnapshot {
        let mut counts = [0; BUCKET_COUNT];
        for (count, bucket) in counts.iter_mut().zip(&self.buckets) {
            *count = bucket.load(Ordering::Relaxed);
        }
        HistogramSnapshot { counts, sum: self.sum.load(Ordering::Relaxed) }
    }
}

/// A histogram at one moment.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct HistogramSnapshot {
    /// How many values each bucket counted.
    pub counts: [u64; BUCKET_COUNT],
    /// The sum of all values.
    pub sum: u64,
}

impl HistogramSnapshot {
    /// How many values were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The smallest value that is above all that bucket `index` counts.
    #[must_use]
    pub fn bucket_end(index: usize) -> u64 {
        1 << index
    }

    /// An upper bound of the value below which `per_mille` of the values lie; at most twice as large as the value.
    #[must_use]
    pub fn quantile(&self, per_mille: u64) -> u64 {
        let wanted = (self.count() * per_mille).div_ceil(1000);
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return Self::bucket_end(index) - 1;
            }
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_at_most_twice_too_high() {
        let histogram = Histogram::default();
        for value in 0..1000 {
            histogram.add(value);
        }
        let snapshot = histogram.snapshot();
        assert_eq!((snapshot.count(), snapshot.sum), (1000, 499_500));
        assert!((500..=1000).contains(&snapshot.quantile(500)), "{}", snapshot.quantile(500));
        assert_eq!(HistogramSnapshot::bucket_end(10), 1024);
    }
}
