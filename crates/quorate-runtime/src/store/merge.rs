//! Merging sorted sources, newest first, from both ends: of equal keys the newest counts, and what it removed is gone.

use bytes::Bytes;

/// An entry of a source: a key with its value, or with the word that it was removed.
pub(super) type Change = (Bytes, Option<Bytes>);

type BoxedSource<'a> = Box<dyn DoubleEndedIterator<Item = Change> + 'a>;

/// A sorted source, and what was looked at and not taken at either end.
struct Source<'a> {
    iter: BoxedSource<'a>,
    front: Option<Change>,
    back: Option<Change>,
}

impl Source<'_> {
    fn peek_front(&mut self) -> Option<&Change> {
        if self.front.is_none() {
            self.front = self.iter.next().or_else(|| self.back.take());
        }
        self.front.as_ref()
    }

    fn peek_back(&mut self) -> Option<&Change> {
        if self.back.is_none() {
            self.back = self.iter.next_back().or_else(|| self.front.take());
        }
        self.back.as_ref()
    }
}

/// The merged entries of several sources.
pub(super) struct Merge<'a> {
    /// Newest first.
    sources: Vec<Source<'a>>,
}

impl<'a> Merge<'a> {
    /// Merges `sources`, newest first.
    pub(super) fn new(sources: impl IntoIterator<Item = BoxedSource<'a>>) -> Self {
        let sources = sources.into_iter().map(|iter| Source { iter, front: None, back: None });
        Self { sources: sources.collect() }
    }

    /// The next change from the front, removals too.
    pub(super) fn next_change(&mut self) -> Option<Change> {
        let mut newest: Option<(usize, &Bytes)> = None;
        for (index, source) in self.sources.iter_mut().enumerate() {
            if let Some((key, _)) = source.peek_front()
                && newest.is_none_or(|(_, smallest)| key < smallest)
            {
                newest = Some((index, key));
            }
        }
        let (index, _) = newest?;
        let change = self.sources[index].front.take()?;
        for source in &mut self.sources[index + 1..] {
            if source.peek_front().is_some_and(|(key, _)| *key == change.0) {
                source.front = None;
            }
        }
        Some(change)
    }

    fn next_change_back(&mut self) -> Option<Change> {
        let mut newest: Option<(usize, &Bytes)> = None;
        for (index, source) in self.sources.iter_mut().enumerate() {
            if let Some((key, _)) = source.peek_back()
                && newest.is_none_or(|(_, largest)| key > largest)
            {
                newest = Some((index, key));
            }
        }
        let (index, _) = newest?;
        let change = self.sources[index].back.take()?;
        for source in &mut self.sources[index + 1..] {
            if source.peek_back().is_some_and(|(key, _)| *key == change.0) {
                source.back = None;
            }
        }
        Some(change)
    }
}

impl Iterator for Merge<'_> {
    type Item = (Bytes, Bytes);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let (key, Some(value)) = self.next_change()? {
                return Some((key, value));
            }
        }
    }
}

impl DoubleEndedIterator for Merge<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        loop {
            if let (key, Some(value)) = self.next_change_back()? {
                return Some((key, value));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn merged_from_both_ends_in_any_turn_gives_what_one_map_would() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        for _ in 0..2_000 {
            let layers: Vec<BTreeMap<Bytes, Option<Bytes>>> = (0..rng.random_range(1..4))
                .map(|layer| {
                    let mut map = BTreeMap::new();
                    for _ in 0..rng.random_range(0..12) {
                        let key = Bytes::from(vec![rng.random_range(0..15_u8)]);
                        let value = rng.random_bool(0.7).then(|| Bytes::from(vec![layer as u8]));
                        map.insert(key, value);
                    }
                    map
                })
                .collect();
            let mut whole = BTreeMap::new();
            for layer in layers.iter().rev() {
                whole.extend(layer.clone());
            }
            let mut expected: std::collections::VecDeque<(Bytes, Bytes)> =
                whole.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
            let sources = layers.iter().map(|layer| {
                Box::new(layer.iter().map(|(key, value)| (key.clone(), value.clone()))) as BoxedSource<'_>
            });
            let mut merge = Merge::new(sources);
            loop {
                let (got, wanted) = if rng.random_bool(0.5) {
                    (merge.next(), expected.pop_front())
                } else {
                    (merge.next_back(), expected.pop_back())
                };
                assert_eq!(got, wanted);
                if got.is_none() {
                    break;
                }
            }
        }
    }
}
