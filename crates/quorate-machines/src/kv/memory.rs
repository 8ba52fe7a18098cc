//! A table in memory: a persistent tree, whose clone shares all of its nodes.
//!
//! A write copies the nodes on its path that a clone still shares, once, and from then on writes in place: so a view for
//! each batch costs a few node copies a batch, and none a write.

use core::fmt;
use core::hash::{Hash, Hasher};

use bytes::Bytes;

use super::table::Table;
use super::tree::{Entries, Tree};

/// A table in memory. Two are equal when they hold the same entries, however they came to it.
#[derive(Clone, Default)]
pub struct MemoryTable {
    entries: Tree,
}

impl MemoryTable {
    /// An empty table.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many entries it holds.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.entries.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn between(&self, from: &[u8], end: Option<&[u8]>) -> Entries<'_> {
        let end = end.map_or_else(|| self.entries.len(), |end| self.entries.rank(end));
        self.entries.ranks(self.entries.rank(from), end)
    }

    fn all(&self) -> Entries<'_> {
        self.entries.ranks(0, self.entries.len())
    }
}

impl Table for MemoryTable {
    fn get(&self, key: &[u8]) -> Option<Bytes> {
        self.entries.get(key).cloned()
    }

    fn range(&self, from: &[u8], end: Option<&[u8]>) -> impl DoubleEndedIterator<Item = (Bytes, Bytes)> {
        self.between(from, end)
    }

    fn insert(&mut self, key: Bytes, value: Bytes) {
        self.entries.insert(&key, value);
    }

    fn insert_at(&mut self, key: &[u8], value: Bytes) {
        self.entries.insert(key, value);
    }

    fn remove(&mut self, key: &[u8]) {
        self.entries.remove(key);
    }

    fn fresh() -> Option<Self> {
        Some(Self::new())
    }

    fn blank(&self) -> Self {
        Self::new()
    }

    fn count(&self, from: &[u8], end: Option<&[u8]>) -> u64 {
        self.between(from, end).left()
    }
}

impl PartialEq for MemoryTable {
    fn eq(&self, other: &Self) -> bool {
        self.entries.is_same(&other.entries) || (self.len() == other.len() && self.all().eq(other.all()))
    }
}

impl Eq for MemoryTable {}

impl Hash for MemoryTable {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.len().hash(state);
        self.all().for_each(|entry| entry.hash(state));
    }
}

impl fmt::Debug for MemoryTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.all()).finish()
    }
}
