//! Multi-version concurrency control: every change makes a new version at a new revision; the past stays readable.
//!
//! A [`Step`] is one change of the store, of one or many keys, at one revision. It is begun only when it is known that
//! it will succeed, so it has no way back.
//!
//! | change                  | touches                                                                 |
//! |-------------------------|-------------------------------------------------------------------------|
//! | put over a present key  | `c` replaced, `r` appended                                              |
//! | put of a new key        | `c` inserted, `r` appended, a `d` of a former life removed              |
//! | delete                  | `c` removed, `d` inserted, `r` appended                                 |
//!
//! and a milestone every 16th time, and the lease's key if the lease changes. A version that compaction has taken out of
//! `r`, because it was the present one and stood in `c`, goes back into `r` when it is superseded.

use alloc::vec::Vec;

use bytes::Bytes;

use super::command::{Delete, KeyValue, LeaseId, Put, Revision, Span};
use super::layout::{self, Bounds, Place};
use super::record::{Record, Version};
use super::table::Table;
use super::view::View;

/// One change of the store in the making.
pub(crate) struct Step<'a, T: Table> {
    pub view: &'a mut View<T>,
    /// The revision that it makes.
    pub at: Revision,
    changes: u32,
}

impl<'a, T: Table> Step<'a, T> {
    pub fn begin(view: &'a mut View<T>) -> Self {
        let at = Revision(view.meta.revision.0 + 1);
        Self { view, at, changes: 0 }
    }

    /// How many changes were made. If any, they are seen from now on.
    pub fn finish(self) -> u32 {
        if self.changes > 0 {
            self.view.meta.revision = self.at;
        }
        self.changes
    }

    /// Writes a key. The key must be there if its value or lease is kept, and the lease must be there.
    pub fn put(&mut self, put: &Put) -> Option<Record> {
        let key = &put.key;
        let old_bytes = layout::joined(&[layout::CURRENT], key, |at| self.view.table.get(at));
        let old = old_bytes.clone().map(Record::of);
        let old_version = old.as_ref().and_then(|old| old.version.as_ref());
        let old_lease = old_version.map_or(LeaseId(0), |version| version.lease);
        let (mut value, mut lease) = (put.value.clone(), put.lease);
        if let Some(version) = old_version {
            value = if put.ignore_value { version.value.clone() } else { value };
            lease = if put.ignore_lease { version.lease } else { lease };
        }
        let former = if old.is_none() { self.view.tombstone(key) } else { None };
        let before = old.as_ref().or(former.as_ref());
        let record = Record {
            place: self.next_place(),
            previous: before.map(|before| before.place),
            depth: before.map_or(1, |before| before.depth + 1),
            version: Some(Version {
                create: old_version.map_or(self.at, |version| version.create),
                number: old_version.map_or(1, |version| version.number + 1),
                lease,
                value,
            }),
        };
        let bytes = record.to_bytes();

        let meta = &mut self.view.meta;
        meta.bytes += bytes.len() as u64;
        match (&old, old_bytes) {
            (Some(old), Some(old_bytes)) => self.supersede(key, old, old_bytes),
            _ => {
                meta.bytes += (layout::CURRENT_HEAD_BYTES + key.len()) as u64;
                meta.keys += 1;
            }
        }
        if former.is_some() {
            layout::joined(&[layout::DEAD], key, |at| self.view.table.remove(at));
            self.view.meta.bytes -= (1 + key.len()) as u64;
        }
        layout::joined(&[layout::CURRENT], key, |at| self.view.table.insert_at(at, bytes.clone()));
        self.append(key, &record, bytes);
        if old_lease != lease {
            self.detach(old_lease, key);
            self.attach(lease, key);
        }
        old
    }

    /// Writes a key, and answers with what was there if that is asked. See [`Step::put`].
    pub fn put_asked(&mut self, put: &Put) -> Option<KeyValue> {
        let old = self.put(put)?;
        if put.prev_kv { old.key_value(put.key.clone()) } else { None }
    }

    /// Deletes keys, and answers with how many and, if that is asked, what was there.
    pub fn delete_asked(&mut self, delete: &Delete) -> (u64, Vec<KeyValue>) {
        let gone = self.delete(&delete.span);
        let count = gone.len() as u64;
        if !delete.prev_kv {
            return (count, Vec::new());
        }
        (count, gone.into_iter().filter_map(|(key, record)| record.key_value(key)).collect())
    }

    /// Deletes keys. Answers with what was there, in the order of keys.
    pub fn delete(&mut self, span: &Span) -> Vec<(Bytes, Record)> {
        let found: Vec<(Bytes, Bytes)> = match span {
            Span::Key(key) => {
                let bytes = layout::joined(&[layout::CURRENT], key, |at| self.view.table.get(at));
                bytes.map(|bytes| (key.clone(), bytes)).into_iter().collect()
            }
            _ => {
                let bounds = Bounds::of(layout::CURRENT, span);
                let entries = self.view.table.range(&bounds.from, Some(&bounds.end));
                entries.map(|(key, bytes)| (key.slice(layout::CURRENT_HEAD_BYTES..), bytes)).collect()
            }
        };
        found.into_iter().map(|(key, bytes)| self.bury(key, bytes)).collect()
    }

    fn bury(&mut self, key: Bytes, old_bytes: Bytes) -> (Bytes, Record) {
        let old = Record::of(old_bytes.clone());
        let record =
            Record { place: self.next_place(), previous: Some(old.place), depth: old.depth + 1, version: None };
        let bytes = record.to_bytes();
        self.supersede(&key, &old, old_bytes);
        layout::joined(&[layout::CURRENT], &key, |at| self.view.table.remove(at));
        layout::joined(&[layout::DEAD], &key, |at| self.view.table.insert_at(at, bytes.clone()));
        let meta = &mut self.view.meta;
        meta.keys -= 1;
        meta.bytes += bytes.len() as u64; // the key moves from `c` to `d`
        self.append(&key, &record, bytes);
        self.detach(old.version.as_ref().map_or(LeaseId(0), |version| version.lease), &key);
        (key, old)
    }

    fn next_place(&mut self) -> Place {
        let place = Place { revision: self.at, index: self.changes };
        self.changes = self.changes.checked_add(1).expect("a store holds fewer than 2^32 keys");
        place
    }

    fn append(&mut self, key: &[u8], record: &Record, bytes: Bytes) {
        let meta = &mut self.view.meta;
        meta.digest = super::hash::fold(meta.digest, super::hash::of_record(key, record));
        meta.bytes += (layout::CHANGE_HEAD_BYTES + key.len()) as u64;
        layout::joined(&layout::change_head(record.place), key, |at| self.view.table.insert_at(at, bytes));
        if record.is_milestone() {
            let at = layout::milestone(key, record.place.revision);
            self.view.meta.bytes += at.len() as u64 + 4;
            self.view.table.insert(at, Bytes::copy_from_slice(&record.place.index.to_be_bytes()));
        }
    }

    /// The present version becomes one of the past.
    fn supersede(&mut self, key: &[u8], old: &Record, old_bytes: Bytes) {
        if self.view.was_swept(old.place) {
            self.view.meta.bytes += (layout::CHANGE_HEAD_BYTES + key.len()) as u64;
            layout::joined(&layout::change_head(old.place), key, |at| self.view.table.insert_at(at, old_bytes));
        }
    }

    fn attach(&mut self, lease: LeaseId, key: &[u8]) {
        if lease != LeaseId(0) {
            self.view.meta.bytes += (layout::LEASED_HEAD_BYTES + key.len()) as u64;
            layout::joined(&layout::leased_head(lease), key, |at| self.view.table.insert_at(at, Bytes::new()));
        }
    }

    fn detach(&mut self, lease: LeaseId, key: &[u8]) {
        if lease != LeaseId(0) {
            layout::joined(&layout::leased_head(lease), key, |at| self.view.table.remove(at));
            self.view.meta.bytes -= (layout::LEASED_HEAD_BYTES + key.len()) as u64;
        }
    }
}
