//! A fact: how one member stands, as of one of its incarnations.
//!
//! Facts about one member are in one order, and everyone keeps the greatest that they heard of. So it does not matter in
//! which order, how often or how late facts come: whoever heard the same facts holds the same ones.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use quorate_model::{DecodeError, NodeId, Reader, Wire};

use super::profile::Profile;

/// The greatest life and count that are taken from outside. A member that counts its lives by the milliseconds since 1970 gets
/// there in millions of years.
const COUNTED_MAX: u64 = 1 << 62;

/// Which of the things that a member said of itself is the newest. Only the member raises it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Incarnation {
    /// Which life of the member, written down before anything is said in it.
    pub life: u64,
    /// How often it had to speak for itself in that life: to refute, or since its profile changed.
    pub count: u64,
}

// Short, since traces and diagrams are full of them.
impl fmt::Debug for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.life, self.count)
    }
}

/// How a member stands.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Standing {
    /// It said so itself.
    Alive(Arc<Profile>),
    /// It answered neither a member nor those that the member asked to help. It is asked again, and may refute.
    Suspected {
        /// What it said of itself.
        profile: Arc<Profile>,
        /// Who got no answer.
        by: NodeId,
    },
    /// It was suspected for long enough to refute, and did not.
    Dead,
    /// It said that it leaves.
    Left,
}

/// How one member stands, as of one incarnation.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fact {
    /// Which member.
    pub node: NodeId,
    /// As of which incarnation.
    pub incarnation: Incarnation,
    /// How it stands.
    pub standing: Standing,
}

impl fmt::Debug for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{:?} ", self.node.0, self.incarnation)?;
        match &self.standing {
            Standing::Alive(_) => write!(f, "alive"),
            Standing::Suspected { by, .. } => write!(f, "suspected by {}", by.0),
            Standing::Dead => write!(f, "dead"),
            Standing::Left => write!(f, "left"),
        }
    }
}

impl Fact {
    /// What it is compared by: the greater one is kept. Who suspects makes no difference.
    #[must_use]
    pub fn rank(&self) -> (Incarnation, u8) {
        (self.incarnation, self.standing_number())
    }

    /// Whether the member is asked and asks: it is alive, or only suspected.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.profile().is_some()
    }

    /// Whether the member is alive and nobody doubts it.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        matches!(self.standing, Standing::Alive(_))
    }

    /// What the member said of itself; nothing once it is dead or left.
    #[must_use]
    pub fn profile(&self) -> Option<&Arc<Profile>> {
        match &self.standing {
            Standing::Alive(profile) | Standing::Suspected { profile, .. } => Some(profile),
            Standing::Dead | Standing::Left => None,
        }
    }

    fn standing_number(&self) -> u8 {
        match self.standing {
            Standing::Alive(_) => ALIVE,
            Standing::Suspected { .. } => SUSPECTED,
            Standing::Dead => DEAD,
            Standing::Left => LEFT,
        }
    }

    /// A number that tells facts apart by what they are compared by. What a member says of itself in one incarnation is
    /// always the same, so this stands for the whole fact.
    pub(super) fn digest(&self) -> u64 {
        let standing = u64::from(self.standing_number());
        let parts = [self.node.0.into(), self.incarnation.life, self.incarnation.count, standing];
        parts.into_iter().fold(0, |digest, part| mix(digest ^ part))
    }
}

/// Spreads each bit over all bits: the finalizer of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

// In the order in which one overrules the other within an incarnation.
const ALIVE: u8 = 1;
const SUSPECTED: u8 = 2;
const DEAD: u8 = 3;
const LEFT: u8 = 4;

impl Wire for Fact {
    fn encode(&self, out: &mut Vec<u8>) {
        self.node.encode(out);
        self.incarnation.life.encode(out);
        self.incarnation.count.encode(out);
        out.push(self.standing_number());
        match &self.standing {
            Standing::Alive(profile) => profile.encode(out),
            Standing::Suspected { profile, by } => {
                profile.encode(out);
                by.encode(out);
            }
            Standing::Dead | Standing::Left => {}
        }
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        let node = NodeId::decode(input)?;
        let incarnation = Incarnation { life: u64::decode(input)?, count: u64::decode(input)? };
        if incarnation.life.max(incarnation.count) >= COUNTED_MAX {
            return Err(DecodeError::Malformed("incarnation")); // it could not be raised
        }
        let standing = match input.byte()? {
            ALIVE => Standing::Alive(Arc::new(Profile::decode(input)?)),
            SUSPECTED => Standing::Suspected { profile: Arc::new(Profile::decode(input)?), by: NodeId::decode(input)? },
            DEAD => Standing::Dead,
            LEFT => Standing::Left,
            other => return Err(DecodeError::Unknown { what: "standing", value: other.into() }),
        };
        Ok(Self { node, incarnation, standing })
    }
}
