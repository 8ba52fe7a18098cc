//! The keys of a configuration: 32 bytes as 64 hexadecimal digits, never printed but into a configuration.

use std::fmt;

use quorate_runtime::datagram::{Key, KeyRing, KeyRingError};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A key that seals and opens gossip.
///
/// [`GossipKey::PUBLIC`] is what a cluster without keys uses. Everyone knows it, so it keeps nobody out who wants to come in; the
/// name of the cluster is part of what is made of it, so it keeps clusters apart that were wired together by mistake, and
/// what is no gossip, was changed on the way or came twice is refused as with any other key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct GossipKey([u8; 32]);

impl GossipKey {
    /// The key that is no secret.
    pub const PUBLIC: Self = Self([0; 32]);

    /// A new key, drawn by chance.
    #[must_use]
    pub fn drawn() -> Self {
        Self(rand::random())
    }

    fn key(self) -> Key {
        Key::new(self.0)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        if text.len() != 64 || !text.is_ascii() {
            return None;
        }
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
        }
        // A sign is no digit, though numbers may have one.
        text.bytes().all(|digit| digit.is_ascii_hexdigit()).then_some(Self(bytes))
    }
}

/// The ring of a cluster: the first of `keys` seals, all of them open. Without any it is [`GossipKey::PUBLIC`].
///
/// # Errors
/// When there are too many keys.
pub fn ring(cluster: &str, keys: &[GossipKey]) -> Result<KeyRing, KeyRingError> {
    let (first, others) = keys.split_first().unwrap_or((&GossipKey::PUBLIC, &[]));
    let mut ring = KeyRing::new(cluster, &first.key());
    for other in others {
        ring.install(&other.key())?;
    }
    Ok(ring)
}

impl fmt::Debug for GossipKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GossipKey(secret)")
    }
}

impl Serialize for GossipKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let digits: String = self.0.iter().map(|byte| format!("{byte:02x}")).collect();
        serializer.serialize_str(&digits)
    }
}

impl<'de> Deserialize<'de> for GossipKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        // What was written is not repeated: it may be most of a key.
        let wrong = || de::Error::custom("a key of gossip is 64 hexadecimal digits: `openssl rand -hex 32` makes one");
        Self::parse(&text).ok_or_else(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_as_it_was_written_and_nothing_else_is_a_key() {
        let key = GossipKey::drawn();
        let text = serde_json::to_string(&key).expect("it can be written");
        assert_eq!(serde_json::from_str::<GossipKey>(&text).expect("it is a key"), key);
        assert_eq!(format!("{key:?}"), "GossipKey(secret)");
        let wrong = ["", "00", &"0".repeat(63), &"0".repeat(65), &"0g".repeat(32), &"+1".repeat(32), &"é".repeat(32)];
        for wrong in wrong {
            let error = serde_json::from_str::<GossipKey>(&format!("{wrong:?}")).expect_err("it is no key").to_string();
            assert!(error.contains("openssl rand -hex 32") && (wrong.is_empty() || !error.contains(wrong)), "{error}");
        }
    }

    #[test]
    fn the_first_key_seals_and_without_one_it_is_the_public_one() {
        let [one, other] = [GossipKey::drawn(), GossipKey::drawn()];
        let tags = |keys: &[GossipKey]| ring("c", keys).expect("few keys").tags().collect::<Vec<_>>();
        assert_eq!(tags(&[one, other])[0], tags(&[one])[0]);
        assert_eq!(tags(&[one, other])[1], tags(&[other])[0]);
        assert_eq!(tags(&[]), tags(&[GossipKey::PUBLIC]));
        assert_ne!(ring("d", &[]).expect("no key").tags().collect::<Vec<_>>(), tags(&[]));
    }
}
