//! Lists by key: the machine that tells most about whoever drives it. An append answers with the whole list, so a lost,
//! doubled, stale or reordered operation shows in the next answer.

use std::collections::BTreeMap;

use bytes::Bytes;
use quorate_model::{DecodeError, Machine, Reader, Wire};

use super::shelf::{ByKey, Shelf};
use crate::linearizable::{Keyed, Spec};

/// Appends an item to the list of a key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Append {
    /// Whose list.
    pub key: u32,
    /// What.
    pub item: u32,
}

/// Reads the list of a key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Read {
    /// Whose list.
    pub key: u32,
}

/// The machine.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Lists {
    by_key: ByKey,
    /// Storage of its own, if it has one.
    shelf: Option<Shelf>,
}

impl Lists {
    /// Empty lists with storage of their own.
    #[must_use]
    pub fn stored() -> Self {
        Self { shelf: Some(Shelf::default()), ..Self::default() }
    }

    /// What was found in storage.
    pub(super) fn found((shelf, by_key): (Shelf, ByKey)) -> Self {
        Self { by_key, shelf: Some(shelf) }
    }

    pub(super) fn shelf(&self) -> Option<&Shelf> {
        self.shelf.as_ref()
    }

    pub(super) fn shelf_mut(&mut self) -> Option<&mut Shelf> {
        self.shelf.as_mut()
    }

    /// Whether both say the same, wherever it is stored.
    #[must_use]
    pub fn say_the_same(&self, other: &Self) -> bool {
        self.by_key == other.by_key
    }
}

impl Machine for Lists {
    type Command = Append;
    type Query = Read;
    type Answer = Vec<u32>;
    type Snapshot = ByKey;

    fn apply(&mut self, _: u64, command: &Append) -> Vec<u32> {
        let list = self.by_key.entry(command.key).or_default();
        list.push(command.item);
        list.clone()
    }

    fn read(&self, query: &Read) -> Vec<u32> {
        self.by_key.get(&query.key).cloned().unwrap_or_default()
    }

    fn touches(command: &Append, query: &Read) -> bool {
        command.key == query.key
    }

    fn snapshot(&self) -> ByKey {
        self.by_key.clone()
    }

    fn restore(&mut self, snapshot: ByKey) {
        self.by_key = snapshot;
    }

    fn page(snapshot: &ByKey, at: &[u8], bytes_max: usize) -> (Bytes, Option<Bytes>) {
        let from = at.try_into().map_or(0, u32::from_be_bytes);
        let mut page = BTreeMap::new();
        for (key, list) in snapshot.range(from..) {
            if !page.is_empty() && page.to_bytes().len() + list.to_bytes().len() > bytes_max {
                return (page.to_bytes(), Some(Bytes::copy_from_slice(&key.to_be_bytes())));
            }
            page.insert(*key, list.clone());
        }
        (page.to_bytes(), None)
    }

    fn blank(&self) -> Self {
        Self { by_key: ByKey::new(), shelf: self.shelf.as_ref().map(Shelf::draft) }
    }

    fn recovered(&self) -> Option<(u64, Bytes)> {
        self.shelf.as_ref()?.marker()
    }

    fn stored(&self) -> Option<u64> {
        let marker = self.shelf.as_ref()?.marker();
        Some(marker.map_or(0, |(index, _)| index)) // nothing is stored yet, but it will be stored here
    }

    fn checkpoint(&mut self, index: u64, beside: Bytes) {
        if let Some(shelf) = &mut self.shelf {
            shelf.begin(index, beside, self.by_key.clone());
        }
    }

    fn paste(&mut self, page: Bytes) -> Result<(), DecodeError> {
        self.by_key.extend(ByKey::from_bytes(page)?);
        Ok(())
    }
}

impl Wire for Append {
    fn encode(&self, out: &mut Vec<u8>) {
        self.key.encode(out);
        self.item.encode(out);
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self { key: u32::decode(input)?, item: u32::decode(input)? })
    }
}

/// What lists are compared with.
#[derive(Clone, Copy, Debug, Default)]
pub struct ListSpec;

impl Spec for ListSpec {
    type State = BTreeMap<u32, Vec<u32>>;
    /// The key, and what is appended, if anything is.
    type Op = (u32, Option<u32>);
    type Ret = Vec<u32>;

    fn initial(&self) -> Self::State {
        BTreeMap::new()
    }

    fn step(&self, state: &Self::State, (key, item): &Self::Op, ret: Option<&Vec<u32>>) -> Option<Self::State> {
        let mut after = state.clone();
        let list = after.entry(*key).or_default();
        list.extend(item);
        ret.is_none_or(|ret| ret == list).then_some(after)
    }
}

impl Keyed for ListSpec {
    type Key = u32;

    fn key(&self, (key, _): &Self::Op) -> u32 {
        *key
    }
}
