//! Lists by key: the machine that tells most about whoever drives it. An append answers with the whole list, so a lost,
//! doubled, stale or reordered operation shows in the next answer.

use std::collections::BTreeMap;

use bytes::Bytes;
use quorate_model::{DecodeError, Machine, Reader, Wire};

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
    by_key: BTreeMap<u32, Vec<u32>>,
}

impl Machine for Lists {
    type Command = Append;
    type Query = Read;
    type Answer = Vec<u32>;
    type Snapshot = BTreeMap<u32, Vec<u32>>;

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

    fn snapshot(&self) -> BTreeMap<u32, Vec<u32>> {
        self.by_key.clone()
    }

    fn restore(&mut self, snapshot: BTreeMap<u32, Vec<u32>>) {
        self.by_key = snapshot;
    }

    fn page(snapshot: &BTreeMap<u32, Vec<u32>>, at: &[u8], bytes_max: usize) -> (Bytes, Option<Bytes>) {
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
        Self::default()
    }

    fn paste(&mut self, page: Bytes) -> Result<(), DecodeError> {
        self.by_key.extend(BTreeMap::<u32, Vec<u32>>::from_bytes(page)?);
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
