//! A view: the whole store at one moment. A clone costs nothing, and no later write changes it.
//!
//! Gateways read views on their own threads; watchers learn from the newest view what happened since the last they saw;
//! a snapshot is a view. The store itself is a view with the right to write.

use alloc::vec::Vec;
use core::fmt::Debug;

use bytes::Bytes;
use quorate_model::{DecodeError, Reader, Wire};

use super::command::{Alarm, KeyValue, LeaseId, Revision, Span};
use super::layout::{self, Bounds, Place};
use super::record::Record;
use super::table::Table;

/// What is counted beside the table. It is part of the state: equal on all replicas.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Meta {
    pub revision: Revision,
    /// What is forgotten: all versions superseded at or before it.
    pub compacted: Option<Revision>,
    /// Up to where the sweep of forgotten versions went.
    pub swept: Place,
    pub keys: u64,
    pub leases: u64,
    pub alarms: u64,
    pub bytes: u64,
    /// A hash over every change so far.
    pub digest: u64,
}

impl Meta {
    pub const FRESH: Self = Self {
        revision: Revision(1),
        compacted: None,
        swept: Place { revision: Revision(0), index: 0 },
        keys: 0,
        leases: 0,
        alarms: 0,
        bytes: 0,
        digest: 0,
    };
}

/// The whole store at one moment.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct View<T> {
    pub(crate) table: T,
    pub(crate) meta: Meta,
}

impl<T: Table + Default> Default for View<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T: Table> View<T> {
    /// The store that `table` holds; a fresh one if it is empty.
    ///
    /// # Panics
    /// If the table holds counters that are none: a table from a disk is verified before.
    pub(crate) fn new(mut table: T) -> Self {
        let Some(bytes) = table.get(layout::META) else { return Self { table, meta: Meta::FRESH } };
        let meta = Meta::from_bytes(bytes).expect("the counters were written at a checkpoint and verified since");
        table.remove(layout::META);
        Self { table, meta }
    }

    /// The number of changes so far; 1 when fresh.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.meta.revision
    }

    /// The newest compacted revision, the oldest that can be read; 0 when nothing was compacted.
    #[must_use]
    pub fn compacted(&self) -> Revision {
        self.meta.compacted.unwrap_or(Revision(0))
    }

    /// How many keys there are.
    #[must_use]
    pub fn keys(&self) -> u64 {
        self.meta.keys
    }

    /// The bytes that keys, versions, leases and their bookkeeping take, without the overhead of the table.
    #[must_use]
    pub fn bytes_in_use(&self) -> u64 {
        self.meta.bytes
    }

    /// A hash over every change since the store was fresh: replicas that differ in it took different ways.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.meta.digest
    }

    /// The present version of a key.
    #[must_use]
    pub fn get(&self, key: &Bytes) -> Option<KeyValue> {
        self.current(key).and_then(|record| record.key_value(key.clone()))
    }

    /// All leases and their terms in seconds, by id.
    #[must_use]
    pub fn leases(&self) -> Vec<(LeaseId, i64)> {
        let end = [layout::LEASE + 1];
        let entries = self.table.range(&[layout::LEASE], Some(&end));
        entries.map(|(key, term)| (layout::split_lease(&key), term_of(term))).collect()
    }

    /// How many leases there are.
    #[must_use]
    pub fn lease_count(&self) -> u64 {
        self.meta.leases
    }

    /// The term of a lease in seconds; `None` when there is no such lease.
    #[must_use]
    pub fn lease(&self, id: LeaseId) -> Option<i64> {
        self.table.get(&layout::lease(id)).map(term_of)
    }

    /// The keys that die with a lease, in their order.
    #[must_use]
    pub fn lease_keys(&self, id: LeaseId) -> Vec<Bytes> {
        let from = layout::leased_head(id);
        let end = layout::after_prefix(&from).expect("the first byte is not the last there is");
        self.table.range(&from, Some(&end)).map(|(key, _)| key.slice(layout::LEASED_HEAD_BYTES..)).collect()
    }

    /// The raised alarms, by kind and member.
    #[must_use]
    pub fn alarms(&self) -> Vec<Alarm> {
        let end = [layout::ALARM + 1];
        self.table.range(&[layout::ALARM], Some(&end)).map(|(key, _)| layout::split_alarm(&key)).collect()
    }

    /// How many keys of the span there are now.
    #[must_use]
    pub fn count(&self, span: &Span) -> u64 {
        match span {
            Span::From(start) if start.is_empty() || **start == [0] => self.meta.keys,
            _ => {
                let bounds = Bounds::of(layout::CURRENT, span);
                self.table.count(&bounds.from, Some(&bounds.end))
            }
        }
    }

    pub(crate) fn current(&self, key: &[u8]) -> Option<Record> {
        layout::joined(&[layout::CURRENT], key, |at| self.table.get(at)).map(Record::of)
    }

    pub(crate) fn tombstone(&self, key: &[u8]) -> Option<Record> {
        layout::joined(&[layout::DEAD], key, |at| self.table.get(at)).map(Record::of)
    }

    pub(crate) fn change(&self, place: Place, key: &[u8]) -> Option<Record> {
        layout::joined(&layout::change_head(place), key, |at| self.table.get(at)).map(Record::of)
    }
}

/// The term in seconds, as it stands in the table.
fn term_of(bytes: Bytes) -> i64 {
    i64::from_bytes(bytes).expect("the table holds what was put in: what a disk brought back was verified before")
}

impl Wire for Meta {
    fn encode(&self, out: &mut Vec<u8>) {
        self.revision.0.encode(out);
        self.compacted.map(|revision| revision.0).encode(out);
        self.swept.revision.0.encode(out);
        self.swept.index.encode(out);
        self.keys.encode(out);
        self.leases.encode(out);
        self.alarms.encode(out);
        self.bytes.encode(out);
        self.digest.encode(out);
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self {
            revision: Revision(u64::decode(input)?),
            compacted: Option::<u64>::decode(input)?.map(Revision),
            swept: Place { revision: Revision(u64::decode(input)?), index: u32::decode(input)? },
            keys: u64::decode(input)?,
            leases: u64::decode(input)?,
            alarms: u64::decode(input)?,
            bytes: u64::decode(input)?,
            digest: u64::decode(input)?,
        })
    }
}
