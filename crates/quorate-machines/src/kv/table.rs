//! A table: the ordered map of bytes that a store keeps everything in, with snapshots that cost nothing.
//!
//! The store above knows no storage engine. [`MemoryTable`] serves the explorer, the simulator and tests; the runtime has
//! one that spills to disk.

use core::fmt::Debug;

use bytes::Bytes;

/// An ordered map from bytes to bytes. A clone is a snapshot: it costs nothing and is not changed by later writes.
pub trait Table: Clone + Debug + Send + Sync + 'static {
    /// What stands at `key`.
    fn get(&self, key: &[u8]) -> Option<Bytes>;

    /// All entries from `from` on, before `end` (`None`: to the last), smallest first or, reversed, largest first.
    fn range(&self, from: &[u8], end: Option<&[u8]>) -> impl DoubleEndedIterator<Item = (Bytes, Bytes)>;

    /// How many entries stand from `from` on, before `end` (`None`: to the last).
    fn count(&self, from: &[u8], end: Option<&[u8]>) -> u64 {
        self.range(from, end).count() as u64
    }

    /// Puts `value` at `key`.
    fn insert(&mut self, key: Bytes, value: Bytes);

    /// Puts `value` at `key`, for tables that copy their keys anyway.
    fn insert_at(&mut self, key: &[u8], value: Bytes) {
        self.insert(Bytes::copy_from_slice(key), value);
    }

    /// Removes what stands at `key`.
    fn remove(&mut self, key: &[u8]);

    /// See [`quorate_model::Machine::recovered`].
    fn recovered(&self) -> Option<(u64, Bytes)> {
        None
    }

    /// See [`quorate_model::Machine::stored`].
    fn stored(&self) -> Option<u64> {
        None
    }

    /// An empty table to fill; `None` where a table is what its own storage holds.
    fn fresh() -> Option<Self> {
        None
    }

    /// See [`quorate_model::Machine::blank`].
    fn blank(&self) -> Self;

    /// See [`quorate_model::Machine::is_busy`].
    fn is_busy(&self) -> bool {
        false
    }

    /// See [`quorate_model::Machine::checkpoint`].
    fn checkpoint(&mut self, index: u64, beside: Bytes) {
        let _ = (index, beside);
    }
}
