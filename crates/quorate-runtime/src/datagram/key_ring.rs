//! The key ring: one key seals, every key opens, so that keys change while all run.
//!
//! | step | on every node, before the next step | sealed with | opened |
//! |------|-------------------------------------|-------------|--------|
//! | 1 | [`KeyRing::install`] the new key | old | old, new |
//! | 2 | [`KeyRing::seal_with`] the new key | old, new | old, new |
//! | 3 | [`KeyRing::retire`] the old key | new | new |
//!
//! A key that sealed from the moment it is there would be refused by all that do not have it yet, and a cluster that
//! changes its key would take its own members for dead.

use std::fmt;

use quorate_model::NodeId;
use ring::aead::{CHACHA20_POLY1305, LessSafeKey, UnboundKey};
use ring::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};

/// How many keys there may be at a time.
pub const KEYS_LEN_MAX: usize = 4;

/// A secret that the members of a cluster share. Never printed.
#[derive(Clone)]
pub struct Key([u8; 32]);

impl Key {
    /// The key of these bytes, which someone drew by chance: a password is no key.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// A new key, drawn by chance.
    #[must_use]
    pub fn drawn() -> Self {
        Self(rand::random())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key(secret)")
    }
}

/// The name of a key, on the wire and for people. Tells nothing about the key, and is another one in each cluster.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyTag(pub(super) [u8; 4]);

impl fmt::Debug for KeyTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for KeyTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Why the ring was not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyRingError {
    /// There are [`KEYS_LEN_MAX`] keys; retire one first. Nothing changed.
    #[error("there are {KEYS_LEN_MAX} keys already: retire one that no node seals with any more")]
    Full,
    /// The ring has no such key; install it first. Nothing changed.
    #[error("there is no key {0}: install it on every node first")]
    Unknown(KeyTag),
    /// The key seals; let another one seal first. Nothing changed.
    #[error("key {0} seals what is sent: seal with another key first, on every node")]
    InUse(KeyTag),
}

/// Which life of a node a datagram was sealed in. The salt is drawn when the life begins, so that no two lives share a
/// key even if their numbers are the same.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Life {
    pub boot: u64,
    pub salt: u64,
}

struct Entry {
    tag: KeyTag,
    secret: Prk,
}

/// See the module. The name of the cluster is part of every key that is made from it.
pub struct KeyRing {
    cluster: String,
    /// The first one seals.
    entries: Vec<Entry>,
}

impl KeyRing {
    /// A ring with one key, which seals.
    #[must_use]
    pub fn new(cluster: &str, key: &Key) -> Self {
        let mut ring = Self { cluster: cluster.to_owned(), entries: Vec::new() };
        ring.entries.push(ring.entry(key));
        ring
    }

    /// The name of the cluster.
    #[must_use]
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// Lets `key` open. A key that is there already stays as it is.
    ///
    /// # Errors
    /// When there are too many keys.
    pub fn install(&mut self, key: &Key) -> Result<KeyTag, KeyRingError> {
        let entry = self.entry(key);
        let tag = entry.tag;
        if self.entry_of(tag).is_none() {
            if self.entries.len() >= KEYS_LEN_MAX {
                return Err(KeyRingError::Full);
            }
            self.entries.push(entry);
        }
        Ok(tag)
    }

    /// Lets the key seal from now on. All others must have installed it before.
    ///
    /// # Errors
    /// When there is no such key.
    pub fn seal_with(&mut self, tag: KeyTag) -> Result<(), KeyRingError> {
        let at = self.entries.iter().position(|entry| entry.tag == tag).ok_or(KeyRingError::Unknown(tag))?;
        self.entries.swap(0, at);
        Ok(())
    }

    /// Takes a key out: it opens nothing any more.
    ///
    /// # Errors
    /// When there is no such key, or it seals.
    pub fn retire(&mut self, tag: KeyTag) -> Result<(), KeyRingError> {
        match self.entries.iter().position(|entry| entry.tag == tag) {
            None => Err(KeyRingError::Unknown(tag)),
            Some(0) => Err(KeyRingError::InUse(tag)),
            Some(at) => {
                self.entries.remove(at);
                Ok(())
            }
        }
    }

    /// The names of the keys; the first one seals.
    pub fn tags(&self) -> impl Iterator<Item = KeyTag> + '_ {
        self.entries.iter().map(|entry| entry.tag)
    }

    pub(super) fn sealing(&self) -> KeyTag {
        self.entries[0].tag
    }

    /// The key for what `from` seals in one of its lives.
    pub(super) fn key_of(&self, tag: KeyTag, from: NodeId, life: Life) -> Option<LessSafeKey> {
        let secret = &self.entry_of(tag)?.secret;
        let (from, boot, salt) = (from.0.to_le_bytes(), life.boot.to_le_bytes(), life.salt.to_le_bytes());
        let info = [b"seal".as_slice(), &from, &boot, &salt];
        let okm = secret.expand(&info, &CHACHA20_POLY1305).expect("a key of 32 bytes is not too long for HKDF");
        Some(LessSafeKey::new(UnboundKey::from(okm)))
    }

    fn entry_of(&self, tag: KeyTag) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.tag == tag)
    }

    fn entry(&self, key: &Key) -> Entry {
        let secret = Salt::new(HKDF_SHA256, self.cluster.as_bytes()).extract(&key.0);
        let mut tag = [0; 4];
        let info = [b"tag".as_slice()];
        let okm = secret.expand(&info, TagLength).expect("a tag of 4 bytes is not too long for HKDF");
        okm.fill(&mut tag).expect("the tag is as long as was asked for");
        Entry { tag: KeyTag(tag), secret }
    }
}

struct TagLength;

impl KeyType for TagLength {
    fn len(&self) -> usize {
        4
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_installed_then_seals_then_the_old_one_goes() {
        let (old, new) = (Key::new([1; 32]), Key::new([2; 32]));
        let mut ring = KeyRing::new("a", &old);
        let old = ring.sealing();
        let new = ring.install(&new).expect("there is room");
        assert_eq!(ring.sealing(), old);
        assert_eq!(ring.retire(old), Err(KeyRingError::InUse(old)));
        ring.seal_with(new).expect("it is there");
        ring.retire(old).expect("it does not seal");
        assert_eq!(ring.tags().collect::<Vec<_>>(), [new]);
        assert_eq!(ring.seal_with(old), Err(KeyRingError::Unknown(old)));
        for byte in 3..3 + KEYS_LEN_MAX as u8 - 1 {
            ring.install(&Key::new([byte; 32])).expect("there is room");
        }
        assert_eq!(ring.install(&Key::new([99; 32])), Err(KeyRingError::Full));
    }

    #[test]
    fn one_key_has_another_name_in_another_cluster() {
        let key = Key::new([1; 32]);
        assert_ne!(KeyRing::new("a", &key).sealing(), KeyRing::new("b", &key).sealing());
        assert_eq!(format!("{key:?}"), "Key(secret)");
    }
}
