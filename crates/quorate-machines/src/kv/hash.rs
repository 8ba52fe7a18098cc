//! Hashes of the state, for replicas to compare.
//!
//! | which           | over                                              | costs                    | when equal            |
//! |-----------------|---------------------------------------------------|--------------------------|-----------------------|
//! | [`View::digest`]| every change since the store was fresh, in order  | some 30 ns a change      | the same way was taken|
//! | [`View::hash`]  | every version that can be read at a revision      | a scan                   | the same past is held |
//!
//! Neither depends on how far the sweep of a compaction is. The function is XXH3, whose definition is frozen, so builds
//! and machines agree. It finds damage and bugs, not malice.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::command::{Refused, Revision};
use super::layout;
use super::record::Record;
use super::table::Table;
use super::view::View;
use super::watch::tail_of;

/// A hash over the versions of a store.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct StateHash {
    /// The hash.
    pub hash: u64,
    /// The newest revision that it covers.
    pub revision: Revision,
    /// The compacted revision; hashes at different ones differ.
    pub compacted: Revision,
}

/// The digest after one more change.
pub(crate) fn fold(digest: u64, change: u64) -> u64 {
    xxh3_64_with_seed(&change.to_le_bytes(), digest)
}

/// The digest after a command that makes no version.
pub(crate) fn fold_bytes(digest: u64, command: &[u8]) -> u64 {
    xxh3_64_with_seed(command, digest)
}

/// The hash of one version or tombstone of a key, whatever stands around it.
pub(crate) fn of_record(key: &[u8], record: &Record) -> u64 {
    let mut head = [0_u8; 36];
    head[..8].copy_from_slice(&record.place.revision.0.to_le_bytes());
    head[8..12].copy_from_slice(&record.place.index.to_le_bytes());
    let Some(version) = &record.version else {
        return xxh3_64_with_seed(key, xxh3_64(&head[..12]));
    };
    head[12..20].copy_from_slice(&version.create.0.to_le_bytes());
    head[20..28].copy_from_slice(&version.number.to_le_bytes());
    head[28..].copy_from_slice(&version.lease.0.to_le_bytes());
    xxh3_64_with_seed(&version.value, xxh3_64_with_seed(key, xxh3_64(&head)))
}

impl<T: Table> View<T> {
    /// The hash over all versions up to `revision` (0: the present one) that compaction left.
    ///
    /// # Errors
    /// When the revision is compacted or not reached.
    pub fn hash(&self, revision: Revision) -> Result<StateHash, Refused> {
        self.when(revision)?;
        let revision = if revision == Revision(0) { self.meta.revision } else { revision };
        let compacted = self.compacted();
        let mut hash = 0_u64;
        for head in [layout::CURRENT, layout::DEAD] {
            for (key, bytes) in self.table.range(&[head], Some(&[head + 1])) {
                let key = &key[layout::CURRENT_HEAD_BYTES..];
                let mut next = Some(Record::of(bytes));
                while let Some(record) = next {
                    let oldest = record.place.revision <= compacted;
                    // A sum, since the order in which keys are met is not the order of their changes.
                    if record.place.revision <= revision && !(oldest && record.version.is_none()) {
                        hash = hash.wrapping_add(of_record(key, &record));
                    }
                    next = if oldest { None } else { tail_of(self, key, &record) };
                }
            }
        }
        Ok(StateHash { hash, revision, compacted })
    }
}
