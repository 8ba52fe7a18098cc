//! A snapshot in pieces: a view as bounded chunks of entries, and a store built from them.
//!
//! What arrives is foreign until it is checked: each entry must be one that a store could hold, and the counters must
//! fit what came, or the snapshot is refused and nothing was restored.

use alloc::vec::Vec;

use bytes::Bytes;
use quorate_model::{DecodeError, Wire};

use super::layout;
use super::record::Record;
use super::table::Table;
use super::view::{Meta, View};

/// A bounded piece of a snapshot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Chunk {
    /// Entries of the table, in order.
    pub entries: Vec<(Bytes, Bytes)>,
    /// Whether it is the last.
    pub last: bool,
}

/// A store that is being built from chunks.
#[derive(Debug)]
pub struct Restore<T> {
    view: View<T>,
}

impl<T: Table> View<T> {
    /// The counters of the view: the first thing that [`Restore`] is told.
    #[must_use]
    pub fn head(&self) -> Bytes {
        self.meta.to_bytes()
    }

    /// The entries after the key `after` (`None`: from the first on), at least one and then while they fit `bytes_max`.
    #[must_use]
    pub fn chunk(&self, after: Option<&[u8]>, bytes_max: usize) -> Chunk {
        let from = after.map_or_else(Vec::new, |key| {
            let mut from = key.to_vec();
            from.push(0);
            from
        });
        let mut bytes = 0;
        let mut entries = Vec::new();
        for (key, value) in self.table.range(&from, None) {
            bytes += key.len() + value.len();
            if !entries.is_empty() && bytes > bytes_max {
                return Chunk { entries, last: false };
            }
            entries.push((key, value));
        }
        Chunk { entries, last: true }
    }

    /// Every entry of the table in order.
    pub fn entries(&self) -> impl Iterator<Item = (Bytes, Bytes)> + '_ {
        self.table.range(&[], None)
    }
}

/// Checks that a foreign entry is one that a store could hold.
pub(crate) fn check_entry(key: &Bytes, value: &Bytes) -> Result<(), DecodeError> {
    let is_record = || Record::decode(value.clone()).is_ok();
    let fits = match key.first() {
        Some(&(layout::CURRENT | layout::DEAD)) => is_record(),
        Some(&layout::CHANGE) => key.len() >= layout::CHANGE_HEAD_BYTES && is_record(),
        Some(&layout::MILESTONE) => key.len() >= layout::MILESTONE_BYTES_MIN && value.len() == 4,
        Some(&layout::LEASE) => key.len() == 9 && i64::from_bytes(value.clone()).is_ok(),
        Some(&layout::LEASED_KEY) => key.len() >= layout::LEASED_HEAD_BYTES && value.is_empty(),
        Some(&layout::ALARM) => key.len() == 10 && matches!(key[1], 1 | 2) && value.is_empty(),
        _ => false,
    };
    if fits { Ok(()) } else { Err(DecodeError::Malformed("entry of a snapshot")) }
}

impl<T: Table> Restore<T> {
    /// Begins to build a store in the empty `table` from what [`View::head`] gave.
    ///
    /// # Errors
    /// When the bytes are no counters.
    pub fn new(table: T, head: Bytes) -> Result<Self, DecodeError> {
        Ok(Self { view: View { table, meta: Meta::from_bytes(head)? } })
    }

    /// Takes one chunk.
    ///
    /// # Errors
    /// When an entry is not one of a store.
    pub fn take(&mut self, chunk: Chunk) -> Result<(), DecodeError> {
        for (key, value) in chunk.entries {
            check_entry(&key, &value)?;
            self.view.table.insert(key, value);
        }
        Ok(())
    }

    /// The store, once all chunks are in.
    ///
    /// # Errors
    /// When the counters do not fit what came: a chunk is missing.
    pub fn finish(self) -> Result<View<T>, DecodeError> {
        let keys = self.view.table.count(&[layout::CURRENT], Some(&[layout::CURRENT + 1]));
        if keys != self.view.meta.keys {
            return Err(DecodeError::Malformed("snapshot: its entries do not fit its counters"));
        }
        Ok(self.view)
    }
}
