//! A link: what two members know of each other's lives.
//!
//! A member that starts anew has forgotten what it did not write down, and messages of its earlier life may still be under
//! way. So each life has a number, written down before anything is said, and each message on a link names the lives of
//! both ends. What names another life than the present one was said to or by someone who is no more.

use alloc::vec::Vec;
use core::fmt;

use quorate_model::{DecodeError, Reader, Wire};

/// Which configuration and which lives a message belongs to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp {
    /// The length of the sender's configuration prefix.
    pub configuration: u64,
    /// The sender's life.
    pub boot: u64,
    /// The receiver's life, as the sender knows it; 0 when it does not.
    pub peer_boot: u64,
}

// Short, since traces and diagrams are full of them: the sender's life, the receiver's, the configuration.
impl fmt::Debug for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}>{}@{}", self.boot, self.peer_boot, self.configuration)
    }
}

/// The way to the successor.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub(super) struct Down {
    /// The successor's life, once it welcomed us.
    pub boot: Option<u64>,
    /// The last index that was sent.
    pub sent: u64,
    /// The index that it was last told to be durable up to here.
    pub told: u64,
    /// A joiner: everything up to here is on its disk.
    pub has: u64,
    /// The same, when the alarm rang last.
    pub has_at_retry: u64,
    /// A joiner: when it has everything up to here, commits wait for it from then on.
    pub in_step_at: u64,
}

/// The way to the predecessor.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub(super) struct Up {
    /// The predecessor's life, once it greeted us.
    pub boot: Option<u64>,
    /// Everything up to here is durable on all members from the head to the predecessor. It stays true whoever restarts.
    pub durable: u64,
    /// The predecessor knew that everything up to here was committed.
    pub committed: u64,
    /// A greeting that waits for its answer until we know our own log: the end of the predecessor's log.
    pub greeted: Option<u64>,
    /// As the joiner: the index that it was last told to be on our disk.
    pub told: u64,
}

impl Wire for Stamp {
    fn encode(&self, out: &mut Vec<u8>) {
        self.configuration.encode(out);
        self.boot.encode(out);
        self.peer_boot.encode(out);
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self { configuration: u64::decode(input)?, boot: u64::decode(input)?, peer_boot: u64::decode(input)? })
    }
}
