//! Compaction: forgetting versions that were superseded.
//!
//! To say it is one step: from then on, reads before the revision are refused. To do it is a sweep over the changes up to
//! it, a bounded piece with each later command. Nobody can see how far the sweep is but in the bytes in use.
//!
//! What the sweep does with one change of a key at revision R, when C is compacted:
//!
//! | the change                          | R < C                         | R = C |
//! |-------------------------------------|-------------------------------|-------|
//! | what it superseded                  | goes                          | goes  |
//! | it is the present version           | goes from `r`, stays in `c`   | stays |
//! | it is the tombstone of a dead key   | goes, the key is forgotten    | stays |
//! | it was superseded after C           | stays until a later sweep     | stays |
//!
//! The changes of C itself stay, tombstones too, since a watch may begin at C (etcd lost such deletes: etcd#19179); the
//! next compaction begins with them.

use alloc::vec::Vec;

use bytes::Bytes;

use super::command::{Refused, Revision};
use super::layout::{self, CHANGE_HEAD_BYTES, Place};
use super::record::Record;
use super::table::Table;
use super::view::View;

/// How many changes a command sweeps at most, beside two for each that it makes.
pub(crate) const SWEPT_PER_COMMAND: u32 = 8;

impl<T: Table> View<T> {
    pub(crate) fn compact(&mut self, revision: Revision) -> Result<(), Refused> {
        if self.meta.compacted.is_some_and(|compacted| revision <= compacted) {
            return Err(Refused::Compacted);
        }
        if revision > self.meta.revision {
            return Err(Refused::FutureRevision);
        }
        let kept = Place { revision: self.compacted(), index: 0 };
        self.meta.swept = self.meta.swept.min(kept);
        self.meta.compacted = Some(revision);
        Ok(())
    }

    /// Whether forgotten versions are still to be swept.
    #[must_use]
    pub fn is_sweeping(&self) -> bool {
        self.meta.compacted.is_some_and(|compacted| self.meta.swept.revision <= compacted)
    }

    /// Whether a version that is the present one was taken out of the changes.
    pub(crate) fn was_swept(&self, place: Place) -> bool {
        place < self.meta.swept && self.meta.compacted.is_some_and(|compacted| place.revision < compacted)
    }

    /// Sweeps at most so many changes.
    pub(crate) fn sweep(&mut self, changes_max: u32) {
        let Some(compacted) = self.meta.compacted.filter(|_| self.is_sweeping()) else { return };
        let end = Place { revision: Revision(compacted.0 + 1), index: 0 };
        let (first, last) = (layout::change_head(self.meta.swept), layout::change_head(end));
        let entries = self.table.range(&first, Some(&last));
        let piece: Vec<(Bytes, Bytes)> = entries.take(changes_max as usize).collect();
        let all = piece.len() < changes_max as usize;
        for (at, bytes) in piece {
            let (place, key) = layout::split_change(&at);
            self.sweep_one(&key, Record::of(bytes), compacted);
            self.meta.swept = Place { index: place.index + 1, ..place };
        }
        if all {
            self.meta.swept = end;
        }
    }

    fn sweep_one(&mut self, key: &Bytes, record: Record, compacted: Revision) {
        if let Some(previous) = record.previous {
            self.forget(previous, key);
        }
        if record.is_milestone() {
            // No readable revision is before this one, so none looks for it.
            let at = layout::milestone(key, record.place.revision);
            if self.table.get(&at).is_some() {
                self.meta.bytes -= at.len() as u64 + 4;
                self.table.remove(&at);
            }
        }
        if record.place.revision == compacted {
            return;
        }
        if record.version.is_some() {
            if self.current(key).is_some_and(|current| current.place == record.place) {
                layout::joined(&layout::change_head(record.place), key, |at| self.table.remove(at));
                self.meta.bytes -= (CHANGE_HEAD_BYTES + key.len()) as u64;
            }
        } else if self.tombstone(key).is_some_and(|dead| dead.place == record.place) {
            layout::joined(&[layout::DEAD], key, |at| self.table.remove(at));
            self.meta.bytes -= (1 + key.len()) as u64;
            self.forget(record.place, key);
        }
    }

    /// Removes one change of the past.
    fn forget(&mut self, place: Place, key: &Bytes) {
        let bytes = layout::joined(&layout::change_head(place), key, |at| {
            let bytes = self.table.get(at);
            if bytes.is_some() {
                self.table.remove(at);
            }
            bytes
        });
        if let Some(bytes) = bytes {
            self.meta.bytes -= (CHANGE_HEAD_BYTES + key.len() + bytes.len()) as u64;
        }
    }
}
