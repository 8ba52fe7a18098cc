//! Fingerprints: 128 bits that stand for a state.
//!
//! Two lanes of folded multiplication (as in wyhash), with different constants, over the words that `Hash` gives. The
//! explorer keeps fingerprints and not states. Two of n different states share one, and a state goes unvisited, with
//! odds of about n^2 / 2^129: 1.5e-21 for a billion states. That takes the hash for a random function, which holds up
//! against accident; nobody attacks his own proof.
//!
//! The same build gives the same fingerprint in each run, so counts and traces can be pinned.

use std::hash::{BuildHasherDefault, Hash, Hasher};

/// Makes a fingerprint of what is hashed into it.
#[derive(Clone, Debug)]
pub struct Fingerprinter {
    low: u64,
    high: u64,
}

const LOW: u64 = 0x9e37_79b9_7f4a_7c15;
const HIGH: u64 = 0xd6e8_feb8_6659_fd93;
const LOW_FACTOR: u64 = 0xa076_1d64_78bd_642f;
const HIGH_FACTOR: u64 = 0xe703_7ed1_a0b4_28db;

fn folded(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ (product >> 64) as u64
}

impl Fingerprinter {
    /// A fingerprinter whose prints differ from those of other seeds.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self { low: LOW ^ seed, high: HIGH ^ seed.rotate_left(32) }
    }

    /// The fingerprint of all that was hashed.
    #[must_use]
    pub fn print(&self) -> u128 {
        let low = folded(self.low ^ self.high.rotate_left(23), LOW_FACTOR ^ LOW);
        let high = folded(self.high ^ low, HIGH_FACTOR ^ HIGH);
        u128::from(high) << 64 | u128::from(low ^ self.low)
    }

    fn word(&mut self, word: u64) {
        self.low = folded(self.low ^ word, LOW_FACTOR).wrapping_add(LOW);
        self.high = folded(self.high ^ word.rotate_left(29), HIGH_FACTOR).wrapping_add(word ^ HIGH);
    }
}

impl Hasher for Fingerprinter {
    fn finish(&self) -> u64 {
        self.print() as u64
    }

    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.word(u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        // The length keeps apart what differs only in zeros at its end.
        self.word(u64::from_le_bytes(last) ^ (bytes.len() as u64) << 56);
    }

    fn write_u8(&mut self, value: u8) {
        self.word(value.into());
    }

    fn write_u16(&mut self, value: u16) {
        self.word(value.into());
    }

    fn write_u32(&mut self, value: u32) {
        self.word(value.into());
    }

    fn write_u64(&mut self, value: u64) {
        self.word(value);
    }

    fn write_u128(&mut self, value: u128) {
        self.word(value as u64);
        self.word((value >> 64) as u64);
    }

    fn write_usize(&mut self, value: usize) {
        self.word(value as u64);
    }
}

/// The fingerprint of `value`.
#[must_use]
pub fn fingerprint(value: &impl Hash) -> u128 {
    let mut hasher = Fingerprinter::seeded(0);
    value.hash(&mut hasher);
    hasher.print()
}

/// A hasher for keys that are fingerprints already.
#[derive(Clone, Copy, Default, Debug)]
pub struct Plain(u64);

impl Hasher for Plain {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u128(&mut self, value: u128) {
        self.0 = value as u64;
    }
}

/// Builds [`Plain`].
pub type PlainHash = BuildHasherDefault<Plain>;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn nearby_values_have_different_prints_in_both_halves() {
        let mut low = HashSet::new();
        let mut high = HashSet::new();
        let mut count = 0;
        for a in 0_u64..100 {
            for b in 0_u8..100 {
                for c in [vec![], vec![0_u8], vec![0, 0], vec![1]] {
                    let print = fingerprint(&(a, b, c));
                    low.insert(print as u64);
                    high.insert((print >> 64) as u64);
                    count += 1;
                }
            }
        }
        assert_eq!((low.len(), high.len()), (count, count));
    }
}
