//! Watchers: who wants to hear of a key.
//!
//! Watchers of one key stand in a map, watchers of a range in an interval tree, equal spans together: a change finds its
//! watchers in a few comparisons, however many others there are.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use bytes::Bytes;

use super::command::Span;
use super::intervals::{End, Intervals};

/// A set of watchers, named by numbers that the caller chooses.
#[derive(Clone, Debug, Default)]
pub struct Watchers {
    spans: BTreeMap<u64, Span>,
    keys: BTreeMap<Bytes, BTreeSet<u64>>,
    ranges: Intervals<BTreeSet<u64>>,
}

impl Watchers {
    /// Registers a watcher; one that had the name is replaced.
    pub fn insert(&mut self, watcher: u64, span: Span) {
        self.remove(watcher);
        match interval(&span) {
            None => {
                self.keys.entry(span.start().clone()).or_default().insert(watcher);
            }
            Some((start, end)) => match self.ranges.get_mut(&start, &end) {
                Some(watchers) => {
                    watchers.insert(watcher);
                }
                None => self.ranges.insert(start, end, BTreeSet::from([watcher])),
            },
        }
        self.spans.insert(watcher, span);
    }

    /// Forgets a watcher; its span, if it was there.
    pub fn remove(&mut self, watcher: u64) -> Option<Span> {
        let span = self.spans.remove(&watcher)?;
        match interval(&span) {
            None => {
                if let Some(watchers) = self.keys.get_mut(span.start()) {
                    watchers.remove(&watcher);
                    if watchers.is_empty() {
                        self.keys.remove(span.start());
                    }
                }
            }
            Some((start, end)) => {
                if let Some(watchers) = self.ranges.get_mut(&start, &end) {
                    watchers.remove(&watcher);
                    if watchers.is_empty() {
                        self.ranges.remove(&start, &end);
                    }
                }
            }
        }
        Some(span)
    }

    /// Hands each watcher of `key` to `see`, once.
    pub fn each_of(&self, key: &[u8], mut see: impl FnMut(u64)) {
        if let Some(watchers) = self.keys.get(key) {
            watchers.iter().copied().for_each(&mut see);
        }
        self.ranges.holding(key, &mut |watchers| watchers.iter().copied().for_each(&mut see));
    }

    /// The watchers of `key`, by name.
    #[must_use]
    pub fn matching(&self, key: &[u8]) -> Vec<u64> {
        let mut matching = Vec::new();
        self.each_of(key, |watcher| matching.push(watcher));
        matching.sort_unstable();
        matching
    }

    /// How many watchers there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }
}

fn interval(span: &Span) -> Option<(Bytes, End)> {
    match span {
        Span::Key(_) => None,
        Span::Range(start, end) => Some((start.clone(), End::Before(end.clone()))),
        Span::From(start) => Some((start.clone(), End::Nowhere)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Chance for tests: SplitMix64.
    fn draw(state: &mut u64) -> u64 {
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = *state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    #[test]
    fn a_key_finds_exactly_the_watchers_whose_span_holds_it() {
        for seed in 0..300 {
            let mut chance = seed;
            let mut key = |width: u64| Bytes::copy_from_slice(&[b'a' + (draw(&mut chance) % width) as u8]);
            let mut watchers = Watchers::default();
            let mut plain: BTreeMap<u64, Span> = BTreeMap::new();
            for step in 0..120_u64 {
                let name = u64::from(key(20)[0]);
                let span = match step % 3 {
                    0 => Span::Key(key(12)),
                    1 => Span::Range(key(12), key(14)),
                    _ => Span::From(key(12)),
                };
                if step % 5 == 4 {
                    assert_eq!(watchers.remove(name), plain.remove(&name));
                } else {
                    watchers.insert(name, span.clone());
                    plain.insert(name, span);
                }
                let probe = key(14);
                let expected: Vec<u64> =
                    plain.iter().filter(|(_, span)| span.contains(&probe)).map(|(name, _)| *name).collect();
                assert_eq!(watchers.matching(&probe), expected, "seed {seed}, step {step}");
            }
            assert_eq!(watchers.len(), plain.len());
        }
    }
}
