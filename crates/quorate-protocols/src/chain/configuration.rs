//! The configuration of a chain: its ordered members, as the prefix of a log of joins and leaves that a node has.
//!
//! Source: notes "Dynamic Configuration".

use alloc::vec::Vec;

use quorate_model::NodeId;

/// The ordered members of a chain: the first is the head, the last is the tail.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Configuration {
    prefix_len: u64,
    members: Vec<NodeId>,
}

impl Configuration {
    /// A configuration that `prefix_len` events of the configuration log lead to.
    ///
    /// # Panics
    /// If there is no member, or one twice.
    #[must_use]
    pub fn new(prefix_len: u64, members: Vec<NodeId>) -> Self {
        assert!(!members.is_empty(), "a chain has at least one member");
        for (at, member) in members.iter().enumerate() {
            assert!(!members[..at].contains(member), "a node is a member of a chain once");
        }
        Self { prefix_len, members }
    }

    /// How many events of the configuration log led here.
    #[must_use]
    pub fn prefix_len(&self) -> u64 {
        self.prefix_len
    }

    /// All members, head first.
    #[must_use]
    pub fn members(&self) -> &[NodeId] {
        &self.members
    }

    /// Where writes enter.
    #[must_use]
    pub fn head(&self) -> NodeId {
        self.members[0]
    }

    /// Where writes are committed.
    #[must_use]
    pub fn tail(&self) -> NodeId {
        self.members[self.members.len() - 1]
    }

    /// The next member towards the head.
    #[must_use]
    pub fn predecessor(&self, node: NodeId) -> Option<NodeId> {
        let at = self.members.iter().position(|member| *member == node)?;
        at.checked_sub(1).map(|at| self.members[at])
    }

    /// The next member towards the tail.
    #[must_use]
    pub fn successor(&self, node: NodeId) -> Option<NodeId> {
        let at = self.members.iter().position(|member| *member == node)?;
        self.members.get(at + 1).copied()
    }
}
