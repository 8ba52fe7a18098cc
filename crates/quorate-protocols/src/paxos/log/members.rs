//! The members: who votes, as the log itself has decided.
//!
//! A change is an entry of the log. It takes effect with the next slot, and the leader orders nothing behind it before it
//! is chosen: the pipeline runs empty, and all votes that are under way belong to one set of members. So a leader counts
//! one quorum at a time, and a candidate that knows everything up to a slot knows who decides the next one. The price is
//! one moment of waiting for each change, which is rare.
//!
//! Not chosen: effect a fixed number of slots later, which needs no waiting, but two sets of members in the pipeline at
//! once, and empty slots to fill on a log that is idle.
//! Source: Lamport, "Paxos Made Simple", section 3 (a configuration is part of the state that the log drives); Lamport,
//! Malkhi and Zhou, "Stoppable Paxos", 2008 (nothing is decided behind the entry that stops a configuration).

use alloc::vec::Vec;
use core::fmt;

use quorate_model::quorum::majority;
use quorate_model::{DecodeError, NodeId, Reader, Wire};

/// Who votes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Members {
    since: u64,
    nodes: Vec<NodeId>,
}

/// Why a set of members cannot be had. Nothing was changed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum MembersError {
    /// It is empty, so nobody could ever change it again.
    Nobody,
    /// This node is in it twice.
    Twice(NodeId),
}

impl fmt::Display for MembersError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nobody => write!(f, "a log needs at least one member"),
            Self::Twice(node) => write!(f, "node {} is named twice", node.0),
        }
    }
}

impl core::error::Error for MembersError {}

impl Members {
    /// The members that the log begins with.
    ///
    /// # Errors
    /// If there is none, or one twice.
    pub fn first(nodes: Vec<NodeId>) -> Result<Self, MembersError> {
        Self::check(&nodes)?;
        Ok(Self { since: 0, nodes })
    }

    /// Whether `nodes` could be members.
    ///
    /// # Errors
    /// If there is none, or one twice.
    pub fn check(nodes: &[NodeId]) -> Result<(), MembersError> {
        if nodes.is_empty() {
            return Err(MembersError::Nobody);
        }
        let twice = nodes.iter().enumerate().find(|(at, node)| nodes[..*at].contains(node));
        twice.map_or(Ok(()), |(_, node)| Err(MembersError::Twice(*node)))
    }

    /// The members that the entry at slot `since` made.
    pub(super) fn changed(since: u64, nodes: Vec<NodeId>) -> Self {
        Self { since, nodes }
    }

    /// The slot whose entry made them the members; 0 for those that the log began with.
    #[must_use]
    pub fn since(&self) -> u64 {
        self.since
    }

    /// All of them.
    #[must_use]
    pub fn nodes(&self) -> &[NodeId] {
        &self.nodes
    }

    /// Whether `node` is one of them.
    #[must_use]
    pub fn contains(&self, node: NodeId) -> bool {
        self.nodes.contains(&node)
    }

    /// How many of them decide.
    #[must_use]
    pub fn quorum(&self) -> usize {
        majority(self.nodes.len())
    }
}

impl Wire for Members {
    fn encode(&self, out: &mut Vec<u8>) {
        self.since.encode(out);
        self.nodes.encode(out);
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        let (since, nodes) = (u64::decode(input)?, Vec::decode(input)?);
        Self::check(&nodes).map_err(|_| DecodeError::Malformed("a set of members is empty or names one twice"))?;
        Ok(Self { since, nodes })
    }
}
