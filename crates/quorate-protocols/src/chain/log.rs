//! The log of a member, in memory: the entries after a base.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::message::{Batch, Entry};

/// Entries at consecutive indexes. Index 0 is before the first entry ever.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct Log<C> {
    /// The index before the first entry held.
    base: u64,
    entries: VecDeque<Entry<C>>,
}

impl<C: Clone> Log<C> {
    /// An empty log after `base`.
    pub fn new(base: u64) -> Self {
        Self { base, entries: VecDeque::new() }
    }

    /// The index before the first entry held.
    pub fn base(&self) -> u64 {
        self.base
    }

    /// The last index.
    pub fn last(&self) -> u64 {
        self.base + self.entries.len() as u64
    }

    /// The entry at `index`, if it is held.
    pub fn get(&self, index: u64) -> Option<&Entry<C>> {
        let at = index.checked_sub(self.base + 1)?;
        self.entries.get(usize::try_from(at).ok()?)
    }

    /// The entries after `index`, as far as they are held.
    pub fn after(&self, index: u64) -> impl Iterator<Item = &Entry<C>> {
        let skip = usize::try_from(index.saturating_sub(self.base)).unwrap_or(usize::MAX).min(self.entries.len());
        self.entries.range(skip..)
    }

    /// The entries after `index`, at least one if there is one, no more than weigh `weight_max` by `weight`.
    pub fn batch_after(&self, index: u64, weight_max: usize, weight: impl Fn(&C) -> usize) -> Batch<C> {
        let mut total = 0;
        let mut batch = Vec::new();
        for entry in self.after(index) {
            total += weight(&entry.command);
            if total > weight_max && !batch.is_empty() {
                break;
            }
            batch.push(entry.clone());
        }
        batch.into()
    }

    /// Adds what `entries`, the first of them at `first`, have beyond the end of the log.
    ///
    /// # Panics
    /// If they would leave a gap.
    pub fn extend(&mut self, first: u64, entries: &[Entry<C>]) {
        let next = self.last() + 1;
        assert!(first <= next, "a log has no gaps: entry {first} after {}", next - 1);
        let known = usize::try_from(next - first).unwrap_or(usize::MAX).min(entries.len());
        self.entries.extend(entries[known..].iter().cloned());
    }

    /// Forgets the entries up to `index`.
    pub fn forget(&mut self, index: u64) {
        while self.base < index && self.entries.pop_front().is_some() {
            self.base += 1;
        }
    }

    /// Starts over after `index`, keeping the entries beyond it.
    pub fn rebase(&mut self, index: u64) {
        self.forget(index);
        if self.base < index {
            self.base = index; // everything held was before it
        }
    }
}
