//! Packed keys: the sorted keys of one node of a tree, what they have in common stored once.
//!
//! Neighbouring keys begin alike (`/registry/pods/…`), so a search compares what they share once and then only the ends.
//! The first eight bytes of each end stand beside each other as a number, and mostly decide: a node is searched in a few
//! cache lines, where keys of their own would cost a miss for each comparison, and some 60 bytes of pointers and
//! allocator for each key.

use alloc::vec::Vec;
use core::cmp::Ordering;

use arrayvec::ArrayVec;
use bytes::Bytes;

/// At most `N` sorted keys, none twice.
#[derive(Clone, Debug, Default)]
pub(crate) struct Keys<const N: usize> {
    /// The first bytes of the rest of each key, as a number that orders as they do; zero where the rest is shorter.
    heads: ArrayVec<u64, N>,
    /// Where the rest of each key ends in `bytes`.
    ends: ArrayVec<u32, N>,
    shared: usize,
    /// What all begin with, then the rest of each.
    bytes: Vec<u8>,
}

fn head_of(rest: &[u8]) -> u64 {
    if let Some(head) = rest.first_chunk() {
        return u64::from_be_bytes(*head);
    }
    let mut head = [0; 8];
    head[..rest.len()].copy_from_slice(rest);
    u64::from_be_bytes(head)
}

impl<const N: usize> Keys<N> {
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// The bytes that the keys take.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Where `key` stands, or where it would.
    pub fn search(&self, key: &[u8]) -> Result<usize, usize> {
        let shared = &self.bytes[..self.shared];
        let Some(rest) = key.strip_prefix(shared) else {
            return Err(if key < shared { 0 } else { self.len() });
        };
        let head = head_of(rest);
        let mut low = self.heads.partition_point(|&own| own < head);
        let mut high = low;
        while high < self.len() && self.heads[high] == head {
            high += 1;
        }
        while low < high {
            let middle = usize::midpoint(low, high);
            match self.rest(middle).cmp(rest) {
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
                Ordering::Equal => return Ok(middle),
            }
        }
        Err(low)
    }

    fn start(&self, index: usize) -> usize {
        if index == 0 { self.shared } else { self.ends[index - 1] as usize }
    }

    fn rest(&self, index: usize) -> &[u8] {
        &self.bytes[self.start(index)..self.ends[index] as usize]
    }

    fn write(&self, index: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.bytes[..self.shared]);
        out.extend_from_slice(self.rest(index));
    }

    /// The key at `index`.
    pub fn get(&self, index: usize) -> Vec<u8> {
        let mut key = Vec::with_capacity(self.shared + self.rest(index).len());
        self.write(index, &mut key);
        key
    }

    /// The keys from `index` on, in one buffer, and where each ends in it.
    pub fn unpack(&self, index: usize) -> (Bytes, Vec<u32>) {
        let count = self.len() - index;
        let mut buffer = Vec::with_capacity(self.bytes.len() - self.start(index) + count * self.shared);
        let mut ends = Vec::with_capacity(count);
        for index in index..self.len() {
            self.write(index, &mut buffer);
            ends.push(buffer.len() as u32);
        }
        (Bytes::from(buffer), ends)
    }

    /// Puts a key where a search said it would stand.
    pub fn insert(&mut self, index: usize, key: &[u8]) {
        if self.ends.is_empty() {
            self.bytes = key.to_vec();
            self.shared = key.len();
        } else if !key.starts_with(&self.bytes[..self.shared]) {
            *self = self.packed(0, self.len(), common(&self.bytes[..self.shared], key));
        }
        let rest = &key[self.shared..];
        let at = self.start(index);
        self.bytes.splice(at..at, rest.iter().copied());
        self.heads.insert(index, head_of(rest));
        self.ends.insert(index, at as u32);
        self.ends[index..].iter_mut().for_each(|end| *end += rest.len() as u32);
    }

    pub fn remove(&mut self, index: usize) {
        let (start, end) = (self.start(index), self.ends[index] as usize);
        self.bytes.drain(start..end);
        self.heads.remove(index);
        self.ends.remove(index);
        self.ends[index..].iter_mut().for_each(|later| *later -= (end - start) as u32);
    }

    /// Takes the keys from `index` on out.
    pub fn split_off(&mut self, index: usize) -> Self {
        let right = self.repacked(index, self.len());
        *self = self.repacked(0, index);
        right
    }

    /// Appends keys, all greater than those that are here.
    pub fn append(&mut self, right: &Self) {
        if right.len() == 0 {
            return;
        }
        if self.len() == 0 {
            *self = right.clone();
            return;
        }
        let common = common(&self.bytes[..self.shared], &right.bytes[..right.shared]);
        let mut joined = self.packed(0, self.len(), common);
        let right = right.packed(0, right.len(), common);
        let moved = (joined.bytes.len() - common) as u32;
        joined.heads.extend(right.heads.iter().copied());
        joined.bytes.extend_from_slice(&right.bytes[common..]);
        joined.ends.extend(right.ends.iter().map(|end| end + moved));
        *self = joined;
    }

    /// Some of the keys, with all that they share stored once.
    fn repacked(&self, from: usize, to: usize) -> Self {
        if from == to {
            return Self::default();
        }
        // Sorted, so what the first and the last share, all share.
        let shared = self.shared + common(self.rest(from), self.rest(to - 1));
        self.packed(from, to, shared)
    }

    /// Some of the keys, of which at least `shared` bytes are the same, with so many stored once.
    fn packed(&self, from: usize, to: usize, shared: usize) -> Self {
        let mut bytes = Vec::with_capacity(self.bytes.len());
        let (mut heads, mut ends) = (ArrayVec::new(), ArrayVec::new());
        bytes.extend_from_slice(&self.bytes[..self.shared.min(shared)]);
        if shared > self.shared {
            bytes.extend_from_slice(&self.rest(from)[..shared - self.shared]);
        }
        for index in from..to {
            let start = bytes.len();
            if shared < self.shared {
                bytes.extend_from_slice(&self.bytes[shared..self.shared]);
                bytes.extend_from_slice(self.rest(index));
            } else {
                bytes.extend_from_slice(&self.rest(index)[shared - self.shared..]);
            }
            heads.push(head_of(&bytes[start..]));
            ends.push(bytes.len() as u32);
        }
        Self { heads, ends, shared, bytes }
    }
}

/// How many bytes two keys have in common from the first on.
pub(crate) fn common(one: &[u8], other: &[u8]) -> usize {
    one.iter().zip(other).take_while(|(one, other)| one == other).count()
}
