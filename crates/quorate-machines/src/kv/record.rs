//! A record: one version of a key, or its tombstone, as it stands in the table.
//!
//! `tag, revision, index, [create, version, lease], [previous place], depth, value`. Numbers are LEB128, revisions of
//! the past are distances, so the head of a version is some 12 bytes; the value is the rest and is never copied out.
//!
//! Each record points to the one before it, so a key's history is a chain from the newest on. `depth` counts the chain;
//! at every [`MILESTONE_EVERY`]th record a milestone is kept by key and revision, so that a read far in the past takes a
//! search and at most so many steps, however often the key was written.

use alloc::vec::Vec;

use bytes::Bytes;
use quorate_model::codec::put_varint;
use quorate_model::{DecodeError, Reader, Wire};

use super::command::{KeyValue, LeaseId, Revision};
use super::layout::Place;

/// How many records of a key's history lie between two milestones.
pub(crate) const MILESTONE_EVERY: u64 = 16;

const TOMBSTONE: u8 = 1;
const HAS_PREVIOUS: u8 = 2;
const TAGS: u8 = TOMBSTONE | HAS_PREVIOUS;

/// One version of a key, or its tombstone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Record {
    pub place: Place,
    pub previous: Option<Place>,
    /// How many records the chain has from here on, at least 1.
    pub depth: u64,
    /// `None` is a tombstone.
    pub version: Option<Version>,
}

/// What a key held.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Version {
    pub create: Revision,
    pub number: u64,
    pub lease: LeaseId,
    pub value: Bytes,
}

impl Record {
    pub fn is_milestone(&self) -> bool {
        self.depth.is_multiple_of(MILESTONE_EVERY)
    }

    /// The version as clients see it; `None` for a tombstone.
    pub fn key_value(self, key: Bytes) -> Option<KeyValue> {
        let version = self.version?;
        Some(KeyValue {
            key,
            create_revision: version.create,
            mod_revision: self.place.revision,
            version: version.number,
            value: version.value,
            lease: version.lease,
        })
    }

    pub fn to_bytes(&self) -> Bytes {
        let value: &[u8] = self.version.as_ref().map_or(&[], |version| &version.value);
        let mut bytes = Vec::with_capacity(self.head_bytes() + value.len());
        let tag = if self.version.is_none() { TOMBSTONE } else { 0 };
        bytes.push(tag | if self.previous.is_some() { HAS_PREVIOUS } else { 0 });
        self.numbers(|number| put_varint(number, &mut bytes));
        bytes.extend_from_slice(value);
        Bytes::from(bytes)
    }

    fn head_bytes(&self) -> usize {
        let mut bytes = 1;
        self.numbers(|number| bytes += (u64::BITS - (number | 1).leading_zeros()).div_ceil(7) as usize);
        bytes
    }

    /// The numbers of the head, in order.
    fn numbers(&self, mut number: impl FnMut(u64)) {
        let Place { revision, index } = self.place;
        number(revision.0);
        number(index.into());
        if let Some(version) = &self.version {
            number(revision.0 - version.create.0);
            number(version.number);
            let lease = version.lease.0;
            number(((lease << 1) ^ (lease >> 63)) as u64); // zigzag, as `i64` is read
        }
        if let Some(previous) = self.previous {
            number(revision.0 - previous.revision.0);
            number(previous.index.into());
        }
        number(self.depth);
    }

    /// The record that `bytes` of our own table hold.
    pub fn of(bytes: Bytes) -> Self {
        Self::decode(bytes).expect("the table holds what was put in: what a disk brought back was verified before")
    }

    /// The record that `bytes` are.
    ///
    /// # Errors
    /// When they are none.
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut input = Reader::new(bytes);
        let tag = input.byte()?;
        if tag & !TAGS != 0 {
            return Err(DecodeError::Unknown { what: "record tag", value: tag.into() });
        }
        let place = Place { revision: Revision(input.varint()?), index: index(&mut input)? };
        let before = |distance: u64| place.revision.0.checked_sub(distance).map(Revision);
        let mut version = None;
        if tag & TOMBSTONE == 0 {
            let create = before(input.varint()?).ok_or(DecodeError::Malformed("creating revision"))?;
            let number = input.varint()?;
            version = Some(Version { create, number, lease: LeaseId(i64::decode(&mut input)?), value: Bytes::new() });
        }
        let mut previous = None;
        if tag & HAS_PREVIOUS != 0 {
            let revision = before(input.varint()?).ok_or(DecodeError::Malformed("previous revision"))?;
            previous = Some(Place { revision, index: index(&mut input)? });
        }
        let depth = input.varint()?;
        if let Some(version) = &mut version {
            version.value = input.take(input.left())?;
        }
        input.end()?;
        Ok(Self { place, previous, depth, version })
    }
}

fn index(input: &mut Reader) -> Result<u32, DecodeError> {
    u32::try_from(input.varint()?).map_err(|_| DecodeError::Malformed("index of a change"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_back_as_it_was_written() {
        let place = |revision, index| Place { revision: Revision(revision), index };
        let version =
            Version { create: Revision(3), number: 9, lease: LeaseId(-4), value: Bytes::from_static(b"the value") };
        let records = [
            Record { place: place(12, 700), previous: Some(place(9, 1)), depth: 16, version: Some(version.clone()) },
            Record { place: place(3, 0), previous: None, depth: 1, version: Some(version) },
            Record { place: place(u64::MAX, u32::MAX), previous: Some(place(1, 0)), depth: 2, version: None },
        ];
        for record in records {
            let bytes = record.to_bytes();
            let value_bytes = record.version.as_ref().map_or(0, |version| version.value.len());
            assert_eq!(record.head_bytes() + value_bytes, bytes.len(), "memory was asked for that is not used");
            assert_eq!(Record::decode(bytes.clone()), Ok(record));
            for length in 0..bytes.len().min(6) {
                assert!(Record::decode(bytes.slice(..length)).is_err(), "a cut head was read");
            }
        }
        assert!(Record::decode(Bytes::from_static(&[4, 1, 1])).is_err(), "an unknown tag was read");
    }
}
