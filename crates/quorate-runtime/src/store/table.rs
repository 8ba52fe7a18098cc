//! A table on disk, with the changes that are not there yet in memory.

use std::fmt;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::Bytes;
use fjall::{Readable, Snapshot};
use imbl::OrdMap;
use quorate_machines::kv::Table;

use super::family::Family;
use super::flusher::{Flusher, Layer, Lineage, Marker, entry_key};
use super::merge::{Change, Merge};
use super::{ENTRY_PREFIX, KEY_BYTES_MAX};

/// How many checkpoints may wait in memory. When so many do, the next is left out, and the one after it covers both.
const LAYER_COUNT_MAX: usize = 4;

/// Of a copy that comes in, about so many bytes are gathered in memory before they go to disk.
const DRAFT_BYTES_MAX: usize = 16 << 20;

/// A table that is larger than memory. A clone is a snapshot of it.
#[derive(Clone)]
pub struct DiskTable {
    flusher: Arc<Flusher>,
    family: Arc<Family>,
    generation: u64,
    lineage: Arc<Lineage>,
    /// Until the first checkpoint of a copy from elsewhere: about the bytes of the overlay.
    draft_bytes: Option<usize>,
    /// What was changed since the last checkpoint. A removal is kept as such, until it is in the engine.
    overlay: OrdMap<Bytes, Option<Bytes>>,
    /// Checkpoints that are not in `base`, oldest first.
    layers: Vec<Arc<Layer>>,
    /// The engine with the checkpoint numbered `base_number`.
    base: Snapshot,
    base_number: u64,
    /// The number of the last checkpoint that this table is made of.
    begun: u64,
    /// Since when the overlay gathers.
    since: Instant,
}

impl DiskTable {
    pub(super) fn new(
        flusher: Arc<Flusher>,
        family: Arc<Family>,
        generation: u64,
        lineage: Arc<Lineage>,
        base: Snapshot,
    ) -> Self {
        let (overlay, layers) = (OrdMap::new(), Vec::new());
        Self {
            flusher,
            family,
            generation,
            lineage,
            draft_bytes: None,
            overlay,
            layers,
            base,
            base_number: 0,
            begun: 0,
            since: Instant::now(),
        }
    }

    /// The index of the last checkpoint that is durable.
    #[must_use]
    pub fn durable_index(&self) -> Option<u64> {
        self.lineage.published().marker.map(|(index, _)| index)
    }

    /// How many changes are in memory, in the overlay and in checkpoints that are not durable yet.
    #[must_use]
    pub fn change_count(&self) -> usize {
        self.overlay.len() + self.layers.iter().map(|layer| layer.changes.len()).sum::<usize>()
    }

    /// How many checkpoints of this table are begun and not durable.
    #[must_use]
    pub fn checkpoints_waiting(&self) -> u64 {
        self.begun.saturating_sub(self.lineage.flushed())
    }

    /// Why the store cannot be used any more, if so: the node must end.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.flusher.failed().map(str::to_owned)
    }

    /// Lets go of layers that are in the engine by now.
    fn refresh(&mut self) {
        if self.layers.is_empty() || self.lineage.flushed() == self.base_number {
            return;
        }
        let published = self.lineage.published();
        if published.number > self.begun {
            return; // a snapshot that was changed, while the table went on: its own layers stay
        }
        let kept_from = self.layers.partition_point(|layer| layer.number <= published.number);
        self.flusher.let_go(self.layers.drain(..kept_from));
        self.base = published.base;
        self.base_number = published.number;
    }

    fn change(&mut self, key: Bytes, value: Option<Bytes>) {
        assert!(key.len() <= KEY_BYTES_MAX, "keys are bounded by whoever takes them from outside");
        self.refresh();
        let added = key.len() + value.as_ref().map_or(0, Bytes::len);
        self.overlay.insert(key, value);
        let Some(bytes) = self.draft_bytes.map(|bytes| bytes + added) else { return };
        self.draft_bytes = Some(bytes);
        // One more may wait than parts of a copy, so that its end never finds no room.
        if bytes >= DRAFT_BYTES_MAX && !self.is_busy() {
            self.draft_bytes = Some(0);
            self.freeze(None);
        }
    }

    /// Hands what was changed to the engine.
    fn freeze(&mut self, marker: Option<Marker>) {
        let number = self.begun + 1;
        let begun = self.lineage.begun.compare_exchange(self.begun, number, Ordering::Relaxed, Ordering::Relaxed);
        assert!(begun.is_ok(), "a checkpoint is made on the table that made the last one, not on an older snapshot");
        self.begun = number;
        let gathered_for = self.since.elapsed();
        self.since = Instant::now();
        let changes = std::mem::take(&mut self.overlay);
        let layer = Arc::new(Layer { number, changes, marker, gathered_for });
        self.layers.push(Arc::clone(&layer));
        self.flusher.flush(Arc::clone(&self.lineage), layer);
    }

    /// The engine failed: whoever asked goes down with the question. As in `read`.
    fn give_up(&self, error: &fjall::Error) -> ! {
        std::panic::resume_unwind(Box::new(self.flusher.fail(error).to_owned()))
    }

    fn read<T>(&self, result: Result<T, fjall::Error>) -> T {
        match result {
            Ok(value) => value,
            // Wrong bytes never leave, and there is no right answer: whoever asked goes down with the question, and the
            // node ends. It is the disk that is broken and no invariant, so no panic is said.
            Err(error) => self.give_up(&error),
        }
    }
}

impl Table for DiskTable {
    fn get(&self, key: &[u8]) -> Option<Bytes> {
        if let Some(change) = self.overlay.get(key) {
            return change.clone();
        }
        for layer in self.layers.iter().rev() {
            if let Some(change) = layer.changes.get(key) {
                return change.clone();
            }
        }
        if key.len() > KEY_BYTES_MAX {
            return None; // it cannot have been put
        }
        with_entry_key(key, |key| self.read(self.base.get(&self.lineage.keyspace, key))).map(Bytes::from)
    }

    fn range(&self, from: &[u8], end: Option<&[u8]>) -> impl DoubleEndedIterator<Item = (Bytes, Bytes)> {
        let mut sources: Vec<Box<dyn DoubleEndedIterator<Item = Change> + '_>> = Vec::new();
        if end.is_none_or(|end| from < end) {
            let upper = end.map_or(Bound::Unbounded, Bound::Excluded);
            for changes in std::iter::once(&self.overlay).chain(self.layers.iter().rev().map(|layer| &layer.changes)) {
                let range = changes.range::<_, [u8]>((Bound::Included(from), upper));
                sources.push(Box::new(range.map(|(key, value)| (key.clone(), value.clone()))));
            }
            let upper = end.map_or_else(|| Bytes::from_static(&[ENTRY_PREFIX + 1]), entry_key);
            let range = self.base.range(&self.lineage.keyspace, entry_key(from)..upper);
            sources.push(Box::new(range.map(|guard| {
                let (key, value) = self.read(guard.into_inner());
                (Bytes::from(key).slice(1..), Some(Bytes::from(value)))
            })));
        }
        Merge::new(sources)
    }

    fn insert(&mut self, key: Bytes, value: Bytes) {
        self.change(key, Some(value));
    }

    fn remove(&mut self, key: &[u8]) {
        self.change(Bytes::copy_from_slice(key), None);
    }

    fn recovered(&self) -> Option<(u64, Bytes)> {
        self.lineage.published().marker
    }

    fn stored(&self) -> Option<u64> {
        Some(self.durable_index().unwrap_or(0)) // nothing is stored yet, but it will be stored here
    }

    fn checkpoint(&mut self, index: u64, beside: Bytes) {
        if let Some(error) = self.flusher.failed() {
            std::panic::resume_unwind(Box::new(error.to_owned())); // as in `read`
        }
        self.refresh();
        if self.layers.len() >= LAYER_COUNT_MAX {
            return;
        }
        self.draft_bytes = None;
        self.freeze(Some((index, beside)));
    }

    fn blank(&self) -> Self {
        let (generation, keyspace) = self.family.draft(self.generation).unwrap_or_else(|error| self.give_up(&error));
        let base = self.family.snapshot();
        let lineage = Lineage::new(keyspace, base.clone(), None);
        let (flusher, family) = (Arc::clone(&self.flusher), Arc::clone(&self.family));
        Self { draft_bytes: Some(0), ..Self::new(flusher, family, generation, Arc::new(lineage), base) }
    }

    fn is_busy(&self) -> bool {
        self.checkpoints_waiting() >= LAYER_COUNT_MAX as u64 - 1
    }
}

impl fmt::Debug for DiskTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiskTable")
            .field("folder", &self.flusher.folder())
            .field("changes", &self.change_count())
            .field("durable_index", &self.durable_index())
            .finish_non_exhaustive()
    }
}

/// Keys up to this length are looked up without an allocation.
const SHORT_KEY_BYTES: usize = 256;

fn with_entry_key<T>(key: &[u8], look_up: impl FnOnce(&[u8]) -> T) -> T {
    if key.len() >= SHORT_KEY_BYTES {
        return look_up(&entry_key(key));
    }
    let mut short = [0; SHORT_KEY_BYTES];
    short[0] = ENTRY_PREFIX;
    short[1..=key.len()].copy_from_slice(key);
    look_up(&short[..=key.len()])
}
