//! Which watchers a key concerns: exact keys by hash, ranges by a tree of ends over the sorted starts.
//!
//! Watchers of the same span are one entry, so a thousand watchers of one prefix cost what one does to find. The tree is
//! implicit in the sorted list: the middle of a part is its root, and beside each root stands which entry of its part
//! reaches furthest. It is built anew at the first look after a change, which is cheap beside making a watcher.
//! Rejected: a balanced tree with pointers, which is five times the code for the same lookups.

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;
use quorate_machines::kv::Span;

/// Members by the keys that they care for.
#[derive(Debug)]
pub(super) struct SpanIndex<T> {
    keys: HashMap<Bytes, BTreeSet<T>>,
    /// Sorted by start, then end.
    ranges: Vec<Entry<T>>,
    /// For the root of each part of `ranges`: the entry of the part that reaches furthest. Empty when outdated.
    furthest: Vec<usize>,
}

#[derive(Debug)]
struct Entry<T> {
    start: Bytes,
    end: End,
    members: BTreeSet<T>,
}

/// Where a range ends. The order is that of reach.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum End {
    Before(Bytes),
    Never,
}

impl End {
    fn is_past(&self, key: &[u8]) -> bool {
        match self {
            Self::Before(end) => end > key,
            Self::Never => true,
        }
    }
}

impl<T: Ord + Copy> SpanIndex<T> {
    pub fn new() -> Self {
        Self { keys: HashMap::new(), ranges: Vec::new(), furthest: Vec::new() }
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.ranges.is_empty()
    }

    pub fn insert(&mut self, span: &Span, member: T) {
        match bounds(span) {
            Bounds::Key(key) => {
                self.keys.entry(key.clone()).or_default().insert(member);
            }
            Bounds::Range(start, end) => match self.position(start, &end) {
                Ok(at) => {
                    self.ranges[at].members.insert(member);
                }
                Err(at) => {
                    let entry = Entry { start: start.clone(), end, members: BTreeSet::from([member]) };
                    self.ranges.insert(at, entry);
                    self.furthest.clear();
                }
            },
        }
    }

    pub fn remove(&mut self, span: &Span, member: T) {
        match bounds(span) {
            Bounds::Key(key) => {
                if let Some(members) = self.keys.get_mut(key) {
                    members.remove(&member);
                    if members.is_empty() {
                        self.keys.remove(key);
                    }
                }
            }
            Bounds::Range(start, end) => {
                if let Ok(at) = self.position(start, &end) {
                    self.ranges[at].members.remove(&member);
                    if self.ranges[at].members.is_empty() {
                        self.ranges.remove(at);
                        self.furthest.clear();
                    }
                }
            }
        }
    }

    /// Calls `found` for each member whose span holds `key`.
    pub fn each(&mut self, key: &[u8], mut found: impl FnMut(T)) {
        if let Some(members) = self.keys.get(key) {
            members.iter().copied().for_each(&mut found);
        }
        if self.ranges.is_empty() {
            return;
        }
        if self.furthest.is_empty() {
            self.furthest.resize(self.ranges.len(), 0);
            reach(&self.ranges, &mut self.furthest, 0, self.ranges.len());
        }
        self.stab(key, 0, self.ranges.len(), &mut found);
    }

    fn stab(&self, key: &[u8], low: usize, high: usize, found: &mut impl FnMut(T)) {
        if low == high {
            return;
        }
        let root = low + (high - low) / 2;
        if !self.ranges[self.furthest[root]].end.is_past(key) {
            return; // no range of this part reaches the key
        }
        self.stab(key, low, root, found);
        let entry = &self.ranges[root];
        if entry.start <= key {
            if entry.end.is_past(key) {
                entry.members.iter().copied().for_each(&mut *found);
            }
            self.stab(key, root + 1, high, found);
        }
    }

    fn position(&self, start: &Bytes, end: &End) -> Result<usize, usize> {
        self.ranges.binary_search_by(|entry| (&entry.start, &entry.end).cmp(&(start, end)))
    }
}

/// Fills `furthest` for a part, and says which of its entries reaches furthest.
fn reach<T>(ranges: &[Entry<T>], furthest: &mut [usize], low: usize, high: usize) -> Option<usize> {
    if low == high {
        return None;
    }
    let root = low + (high - low) / 2;
    let sides = [reach(ranges, furthest, low, root), reach(ranges, furthest, root + 1, high)];
    let best = sides.into_iter().flatten().chain([root]).max_by_key(|at| &ranges[*at].end)?;
    furthest[root] = best;
    Some(best)
}

enum Bounds<'a> {
    Key(&'a Bytes),
    Range(&'a Bytes, End),
}

fn bounds(span: &Span) -> Bounds<'_> {
    match span {
        Span::Key(key) => Bounds::Key(key),
        Span::Range(start, end) => Bounds::Range(start, End::Before(end.clone())),
        Span::From(start) => Bounds::Range(start, End::Never),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(span: &Span, key: &[u8]) -> bool {
        match span {
            Span::Key(one) => one == key,
            Span::Range(start, end) => start <= key && end > key,
            Span::From(start) => start <= key,
        }
    }

    #[test]
    fn it_finds_what_asking_each_span_finds() {
        let letters = |n: u64| Bytes::from(vec![b'a' + u8::try_from(n % 7).expect("below 7"), b'a' + (n % 3) as u8]);
        let (mut index, mut spans) = (SpanIndex::new(), Vec::new());
        let mut seed = 7_u64;
        for member in 0..400_usize {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (from, to) = (letters(seed >> 33), letters(seed >> 43));
            let span = match seed >> 62 {
                0 => Span::Key(from),
                1 => Span::From(from),
                _ => Span::Range(from, to),
            };
            index.insert(&span, member);
            spans.push((span, member));
            if member % 3 == 0 {
                let (span, gone) = spans.swap_remove(usize::try_from(seed >> 40).expect("fits") % spans.len());
                index.remove(&span, gone);
            }
            for n in 0..21 {
                let key = letters(n);
                let mut found = Vec::new();
                index.each(&key, |member| found.push(member));
                found.sort_unstable();
                let mut wanted: Vec<_> =
                    spans.iter().filter(|(span, _)| holds(span, &key)).map(|(_, member)| *member).collect();
                wanted.sort_unstable();
                assert_eq!(found, wanted, "at {key:?}");
            }
        }
        for (span, member) in spans {
            index.remove(&span, member);
        }
        assert!(index.is_empty());
    }
}
