//! Sealing: what makes bytes from anywhere a message of a member, or nothing.
//!
//! | bytes | what |
//! |-------|------|
//! | 2, 1 | `Qg`, the version of this format |
//! | 4, 4 | tags of the cluster and of the key: hints that tell a mistake from an attack |
//! | 4, 4 | the sender, the receiver (0: whoever listens there) |
//! | 8, 8 | the life of the sender: its boot, and a salt that is drawn when it begins |
//! | 8 | which datagram of that life |
//! | 16 more than the payload | the payload, encrypted, and its authentication tag |
//!
//! ChaCha20-Poly1305 (RFC 8439) under a key of its own for each life of each sender (HKDF, RFC 5869, from the shared key, the
//! name of the cluster, the sender, its boot and its salt), so the count of the datagram is a nonce that never comes again.
//! The name of the cluster and the whole head are authenticated too. Refused is, in this order and before anything is
//! decrypted: what is not ours, another version, another cluster, another receiver, a key that is not there; then what does
//! not authenticate; then what was heard before.
//!
//! What it does not hide: who talks to whom, and how much. What it does not prevent: a member that holds the key can speak
//! for another. And a receiver that starts anew has forgotten its windows, so what was sent to its earlier life can be played to
//! it once more, until it hears of the senders itself; gossip bears that, since messages may be late and doubled anyway.

use quorate_model::NodeId;
use ring::aead::{Aad, LessSafeKey, MAX_TAG_LEN, Nonce};
use ring::digest::{SHA256, digest};

use super::key_ring::{Key, KeyRing, KeyRingError, KeyTag, Life};
use super::window::{Heard, Windows};

/// The largest datagram. With the heads of IPv6 and UDP it passes every link that carries 1,448 bytes, tunnels included.
pub const DATAGRAM_BYTES_MAX: usize = 1400;

/// What sealing adds to a payload.
pub const SEAL_BYTES: usize = HEAD_BYTES + MAX_TAG_LEN;

/// The largest payload.
pub const PAYLOAD_BYTES_MAX: usize = DATAGRAM_BYTES_MAX - SEAL_BYTES;

/// Names no receiver: whoever listens there is meant.
pub const ANYONE: NodeId = NodeId(0);

const HEAD_BYTES: usize = 43;
const MAGIC: [u8; 2] = *b"Qg";
const VERSION: u8 = 1;

/// Why a datagram was refused. Nothing of it was heard, and nothing is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// It is too short, or does not begin as ours do.
    #[error("no datagram of ours: another protocol speaks to this port")]
    NotOurs,
    /// It is of another version than this build speaks.
    #[error("datagram version {found}, but this build speaks version {VERSION}: upgrade the older side")]
    Version {
        /// The version found.
        found: u8,
    },
    /// It is of another cluster.
    #[error("it belongs to another cluster: correct an address or the name of the cluster")]
    OtherCluster,
    /// It was sent to another node.
    #[error("it was sent to node {}: correct an address", .to.0)]
    OtherReceiver {
        /// To whom.
        to: NodeId,
    },
    /// It says that it is from this node.
    #[error("it says that it is from this node: two processes run as one node, or it was sent back")]
    OwnName,
    /// The ring has no such key.
    #[error("it is sealed with a key that is not there: install the key, or stop the node that uses it")]
    UnknownKey,
    /// It does not authenticate: it was changed on the way, or made by someone without the key.
    #[error("it does not authenticate")]
    Forged,
    /// It was heard before, or is older than anyone remembers.
    #[error("it was heard before")]
    Replayed,
    /// It was sealed in a life of its sender that is over.
    #[error("its sender has begun a later life since")]
    EarlierLife,
    /// There are as many senders as there may be.
    #[error("there are more senders than there may be")]
    Crowded,
    /// It authenticates, but holds no message.
    #[error("its payload is no message of this build")]
    Malformed,
}

impl Refusal {
    /// How many kinds there are.
    pub const COUNT: usize = 11;

    /// Each kind's name, as metrics have it, in the order of [`Refusal::index`].
    pub const NAMES: [&str; Self::COUNT] = [
        "not_ours",
        "version",
        "other_cluster",
        "other_receiver",
        "own_name",
        "unknown_key",
        "forged",
        "replayed",
        "earlier_life",
        "crowded",
        "malformed",
    ];

    /// The number of its kind, counted from 0.
    #[must_use]
    pub fn index(&self) -> usize {
        match self {
            Self::NotOurs => 0,
            Self::Version { .. } => 1,
            Self::OtherCluster => 2,
            Self::OtherReceiver { .. } => 3,
            Self::OwnName => 4,
            Self::UnknownKey => 5,
            Self::Forged => 6,
            Self::Replayed => 7,
            Self::EarlierLife => 8,
            Self::Crowded => 9,
            Self::Malformed => 10,
        }
    }
}

/// A payload is larger than [`PAYLOAD_BYTES_MAX`]. Nothing was sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a payload of {length} bytes is larger than a datagram holds, which is {PAYLOAD_BYTES_MAX}")]
pub struct TooLong {
    /// How long it is, in bytes.
    pub length: usize,
}

/// What was opened.
#[derive(Debug, PartialEq, Eq)]
pub struct Opened<'d> {
    /// Who sealed it.
    pub from: NodeId,
    /// What it holds.
    pub payload: &'d [u8],
}

/// Seals what this node sends, and opens what it receives.
pub struct Seal {
    me: NodeId,
    life: Life,
    ring: KeyRing,
    /// The own key for sealing, made from the ring's.
    key: LessSafeKey,
    cluster_tag: [u8; 4],
    sealed_count: u64,
    windows: Windows,
}

impl Seal {
    /// Seals for node `me`, in the life number `boot`, which is greater than those before. Hears at most
    /// `senders_len_max` senders.
    ///
    /// # Panics
    /// If `me` is [`ANYONE`].
    #[must_use]
    pub fn new(me: NodeId, boot: u64, ring: KeyRing, senders_len_max: usize) -> Self {
        assert!(me != ANYONE, "a node has a number above 0");
        let life = Life { boot, salt: rand::random() };
        let cluster_tag = cluster_tag(ring.cluster());
        let key = own_key(&ring, me, life);
        Self { me, life, ring, key, cluster_tag, sealed_count: 0, windows: Windows::new(senders_len_max) }
    }

    /// See [`KeyRing::install`].
    ///
    /// # Errors
    /// When there are too many keys.
    pub fn install(&mut self, key: &Key) -> Result<KeyTag, KeyRingError> {
        self.ring.install(key)
    }

    /// See [`KeyRing::seal_with`].
    ///
    /// # Errors
    /// When there is no such key.
    pub fn seal_with(&mut self, tag: KeyTag) -> Result<(), KeyRingError> {
        self.ring.seal_with(tag)?;
        self.key = own_key(&self.ring, self.me, self.life);
        Ok(())
    }

    /// See [`KeyRing::retire`].
    ///
    /// # Errors
    /// When there is no such key, or it seals.
    pub fn retire(&mut self, tag: KeyTag) -> Result<(), KeyRingError> {
        self.ring.retire(tag)
    }

    /// Seals with the first key of `ring` from now on, and opens with all of them.
    ///
    /// # Panics
    /// If it is the ring of another cluster.
    pub fn set_ring(&mut self, ring: KeyRing) {
        assert_eq!(ring.cluster(), self.ring.cluster(), "a node stays in its cluster");
        self.ring = ring;
        self.key = own_key(&self.ring, self.me, self.life); // the count of its datagrams goes on, so no nonce comes again
    }

    /// The names of the keys; the first one seals.
    pub fn tags(&self) -> impl Iterator<Item = KeyTag> + '_ {
        self.ring.tags()
    }

    /// Forgets what was heard of a node that is gone for good.
    pub fn forget(&mut self, node: NodeId) {
        self.windows.forget(node);
    }

    /// Puts the datagram that takes `payload` to `to` in the place of what is in `datagram`.
    ///
    /// # Errors
    /// When the payload is too long.
    pub fn seal(&mut self, to: NodeId, payload: &[u8], datagram: &mut Vec<u8>) -> Result<(), TooLong> {
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(TooLong { length: payload.len() });
        }
        self.sealed_count += 1;
        let number = self.sealed_count;
        datagram.clear();
        datagram.extend_from_slice(&MAGIC);
        datagram.push(VERSION);
        datagram.extend_from_slice(&self.cluster_tag);
        datagram.extend_from_slice(&self.ring.sealing().0);
        datagram.extend_from_slice(&self.me.0.to_le_bytes());
        datagram.extend_from_slice(&to.0.to_le_bytes());
        datagram.extend_from_slice(&self.life.boot.to_le_bytes());
        datagram.extend_from_slice(&self.life.salt.to_le_bytes());
        datagram.extend_from_slice(&number.to_le_bytes());
        let aad = aad(self.ring.cluster(), datagram);
        datagram.extend_from_slice(payload);
        let sealed = self.key.seal_in_place_separate_tag(nonce(number), aad, &mut datagram[HEAD_BYTES..]);
        datagram.extend_from_slice(sealed.expect("a datagram is not too long for the cipher").as_ref());
        Ok(())
    }

    /// Opens a datagram, in its place.
    ///
    /// # Errors
    /// When it is no datagram that a member of this cluster sent to us, or was heard before.
    pub fn open<'d>(&mut self, datagram: &'d mut [u8]) -> Result<Opened<'d>, Refusal> {
        if datagram.len() > DATAGRAM_BYTES_MAX {
            return Err(Refusal::NotOurs);
        }
        let (head, sealed) = datagram.split_at_mut_checked(HEAD_BYTES).ok_or(Refusal::NotOurs)?;
        let head: &[u8; HEAD_BYTES] = head.first_chunk().ok_or(Refusal::NotOurs)?;
        if head[..2] != MAGIC {
            return Err(Refusal::NotOurs);
        }
        if head[2] != VERSION {
            return Err(Refusal::Version { found: head[2] });
        }
        if field::<4>(head, 3) != self.cluster_tag {
            return Err(Refusal::OtherCluster);
        }
        let tag = KeyTag(field(head, 7));
        let from = NodeId(u32::from_le_bytes(field(head, 11)));
        let to = NodeId(u32::from_le_bytes(field(head, 15)));
        let life = Life { boot: u64::from_le_bytes(field(head, 19)), salt: u64::from_le_bytes(field(head, 27)) };
        let number = u64::from_le_bytes(field(head, 35));
        if to != self.me && to != ANYONE {
            return Err(Refusal::OtherReceiver { to });
        }
        if from == self.me || from == ANYONE {
            return Err(Refusal::OwnName);
        }
        let key = self.ring.key_of(tag, from, life).ok_or(Refusal::UnknownKey)?;
        let aad = aad(self.ring.cluster(), head);
        let payload = key.open_in_place(nonce(number), aad, sealed).map_err(|_| Refusal::Forged)?;
        match self.windows.hear(from, life, number) {
            Heard::First => Ok(Opened { from, payload }),
            Heard::Before => Err(Refusal::Replayed),
            Heard::InEarlierLife => Err(Refusal::EarlierLife),
            Heard::FromOneTooMany => Err(Refusal::Crowded),
        }
    }
}

fn field<const COUNT: usize>(head: &[u8; HEAD_BYTES], at: usize) -> [u8; COUNT] {
    let mut field = [0; COUNT];
    field.copy_from_slice(&head[at..at + COUNT]);
    field
}

fn own_key(ring: &KeyRing, me: NodeId, life: Life) -> LessSafeKey {
    ring.key_of(ring.sealing(), me, life).expect("the key that seals is in the ring")
}

fn cluster_tag(cluster: &str) -> [u8; 4] {
    let hash = digest(&SHA256, cluster.as_bytes());
    let mut tag = [0; 4];
    tag.copy_from_slice(&hash.as_ref()[..4]);
    tag
}

/// The name of the cluster, its length and the head.
fn aad(cluster: &str, head: &[u8]) -> Aad<Vec<u8>> {
    let mut bound = Vec::with_capacity(8 + cluster.len() + HEAD_BYTES);
    bound.extend_from_slice(&(cluster.len() as u64).to_le_bytes());
    bound.extend_from_slice(cluster.as_bytes());
    bound.extend_from_slice(head);
    Aad::from(bound)
}

fn nonce(number: u64) -> Nonce {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&number.to_be_bytes());
    Nonce::assume_unique_for_key(nonce)
}
