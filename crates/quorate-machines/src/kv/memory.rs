//! A table in memory: a persistent B+ tree, whose clone shares all of its nodes.
//!
//! A write copies the nodes on its path that a clone still shares, once, and from then on writes in place: so a view for
//! each batch costs a few node copies a batch, and none a write.

use core::ops::Bound;

use bytes::Bytes;
use imbl::OrdMap;

use super::table::Table;

/// A table in memory.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct MemoryTable {
    entries: OrdMap<Bytes, Bytes>,
}

impl MemoryTable {
    /// An empty table.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many entries it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn between<'a>(&'a self, from: &[u8], end: Option<&[u8]>) -> imbl::ordmap::RangedIter<'a, Bytes, Bytes, Shared> {
        // The map panics on a range that ends before it starts.
        let end = end.map_or(Bound::Unbounded, |end| Bound::Excluded(end.max(from)));
        self.entries.range::<_, [u8]>((Bound::Included(from), end))
    }
}

type Shared = imbl::shared_ptr::DefaultSharedPtr;

impl Table for MemoryTable {
    fn get(&self, key: &[u8]) -> Option<Bytes> {
        self.entries.get(key).cloned()
    }

    fn range(&self, from: &[u8], end: Option<&[u8]>) -> impl DoubleEndedIterator<Item = (Bytes, Bytes)> {
        self.between(from, end).map(|(key, value)| (key.clone(), value.clone()))
    }

    fn insert(&mut self, key: Bytes, value: Bytes) {
        self.entries.insert(key, value);
    }

    fn remove(&mut self, key: &[u8]) {
        self.entries.remove(key);
    }

    fn fresh() -> Option<Self> {
        Some(Self::new())
    }

    fn count(&self, from: &[u8], end: Option<&[u8]>) -> u64 {
        self.between(from, end).count() as u64
    }
}
