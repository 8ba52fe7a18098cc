//! Ballots: attempts to decide. Each belongs to one node, and no node begins one twice.

use alloc::vec::Vec;
use core::fmt;

use quorate_model::{DecodeError, NodeId, Reader, Wire};

/// An attempt to decide: the counter first, the node that makes it to tell equal counters apart. The default is below
/// every ballot that anyone begins.
///
/// Source: Lamport, "Paxos Made Simple", section 2.2 (proposal numbers).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Ballot {
    /// Which attempt, counted from 1.
    pub counter: u64,
    /// Whose.
    pub node: NodeId,
}

impl Ballot {
    /// The least ballot of `node` that is above this one.
    #[must_use]
    pub fn next_of(self, node: NodeId) -> Self {
        Self { counter: self.counter + 1, node }
    }
}

// Short, since traces and diagrams are full of them: counter, node.
impl fmt::Debug for Ballot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.counter, self.node.0)
    }
}

impl Wire for Ballot {
    fn encode(&self, out: &mut Vec<u8>) {
        self.counter.encode(out);
        self.node.encode(out);
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self { counter: u64::decode(input)?, node: NodeId::decode(input)? })
    }
}
