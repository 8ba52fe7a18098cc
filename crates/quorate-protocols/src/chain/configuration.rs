//! The configuration of a chain: its ordered members, as the prefix of a log of joins and leaves that a node has.
//!
//! | change | allowed when | after it |
//! |--------|--------------|----------|
//! | `Join(node)` | it is not in the chain, and nobody joins | it stands behind the tail and is copied to: the joiner |
//! | `Admit(node)` | it is the joiner | it is the tail |
//! | `Leave(node)` | it is the joiner, or a member and not the only one | it is not in the chain |
//!
//! Whoever decides holds to rules that the fold cannot see: [`super::membership`]. A node that left comes back, if at all,
//! with an empty folder.
//!
//! Source: notes "Dynamic Configuration".

use alloc::vec::Vec;
use core::fmt;

use quorate_model::{DecodeError, NodeId, Reader, Wire};

/// One event of the configuration log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Change {
    /// The node stands behind the tail from now on, and is copied to. It is no member yet.
    Join(NodeId),
    /// The joiner is the tail from now on.
    Admit(NodeId),
    /// The member or joiner is none any more.
    Leave(NodeId),
}

/// Why a change cannot follow. The configuration is as it was.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ChangeError {
    /// The node that should join is a member or the joiner already.
    Present(NodeId),
    /// Another node joins: admit it or let it leave first.
    Joining(NodeId),
    /// The node is not in the chain, or, to be admitted, not the joiner.
    Absent(NodeId),
    /// The node is the only member: without it the chain has no data.
    OnlyMember(NodeId),
}

impl fmt::Display for ChangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Present(node) => write!(f, "node {} is in the chain already", node.0),
            Self::Joining(node) => write!(f, "node {} is joining: admit it or let it leave first", node.0),
            Self::Absent(node) => write!(f, "node {} is not there to be admitted or to leave", node.0),
            Self::OnlyMember(node) => write!(f, "node {} is the only member, so it cannot leave", node.0),
        }
    }
}

impl core::error::Error for ChangeError {}

/// A node that stands behind the tail.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
struct Joiner {
    node: NodeId,
    /// The length of the prefix that ends with its join: which of several joins of the same node this is.
    since: u64,
}

/// The ordered members of a chain: the first is the head, the last is the tail.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Configuration {
    prefix_len: u64,
    members: Vec<NodeId>,
    joiner: Option<Joiner>,
}

// Short, since traces and diagrams are full of them: the length of the prefix, the members, the joiner.
impl fmt::Debug for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.prefix_len)?;
        for member in &self.members {
            write!(f, " {}", member.0)?;
        }
        self.joiner.map_or(Ok(()), |joiner| write!(f, " +{}", joiner.node.0))
    }
}

impl Configuration {
    /// A configuration that `prefix_len` events of the configuration log lead to.
    ///
    /// # Panics
    /// If there is no member, or one twice.
    #[must_use]
    pub fn new(prefix_len: u64, members: Vec<NodeId>) -> Self {
        assert!(!members.is_empty(), "a chain has at least one member");
        assert!(all_differ(&members), "a node is a member of a chain once");
        Self { prefix_len, members, joiner: None }
    }

    /// The configuration that `change` leads to; see the table of this module.
    ///
    /// # Errors
    /// When the change cannot follow. Nothing changed.
    pub fn after(&self, change: Change) -> Result<Self, ChangeError> {
        let mut next = self.clone();
        next.prefix_len += 1;
        match (change, self.joiner()) {
            (Change::Join(node), joiner) => {
                if self.line().any(|other| other == node) {
                    return Err(ChangeError::Present(node));
                }
                if let Some(other) = joiner {
                    return Err(ChangeError::Joining(other));
                }
                next.joiner = Some(Joiner { node, since: next.prefix_len });
            }
            (Change::Admit(node), joiner) => {
                if joiner != Some(node) {
                    return Err(ChangeError::Absent(node));
                }
                next.joiner = None;
                next.members.push(node);
            }
            (Change::Leave(node), Some(joiner)) if joiner == node => next.joiner = None,
            (Change::Leave(node), _) => {
                if !self.is_member(node) {
                    return Err(ChangeError::Absent(node));
                }
                next.members.retain(|member| *member != node);
                if next.members.is_empty() {
                    return Err(ChangeError::OnlyMember(node));
                }
            }
        }
        Ok(next)
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

    /// Whether `node` is a member.
    #[must_use]
    pub fn is_member(&self, node: NodeId) -> bool {
        self.members.contains(&node)
    }

    /// The node that stands behind the tail.
    #[must_use]
    pub fn joiner(&self) -> Option<NodeId> {
        self.joiner.map(|joiner| joiner.node)
    }
    /// Whether it is the same node's same join that both have.
    pub(super) fn has_same_joiner(&self, other: &Self) -> bool {
        self.joiner == other.joiner
    }

    /// The members and the joiner, in the order in which entries run.
    pub fn line(&self) -> impl Iterator<Item = NodeId> {
        self.members.iter().copied().chain(self.joiner())
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

    /// Whom `node` gets entries from.
    #[must_use]
    pub fn predecessor(&self, node: NodeId) -> Option<NodeId> {
        let at = self.line().position(|other| other == node)?;
        self.line().nth(at.checked_sub(1)?)
    }

    /// Whom `node` passes entries to: the next member towards the tail, and the joiner after the tail.
    #[must_use]
    pub fn successor(&self, node: NodeId) -> Option<NodeId> {
        let at = self.line().position(|other| other == node)?;
        self.line().nth(at + 1)
    }
}

fn all_differ(nodes: &[NodeId]) -> bool {
    nodes.iter().enumerate().all(|(at, node)| !nodes[..at].contains(node))
}

impl Wire for Configuration {
    fn encode(&self, out: &mut Vec<u8>) {
        self.prefix_len.encode(out);
        self.members.encode(out);
        self.joiner.map(|joiner| (joiner.node, joiner.since)).encode(out);
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        let (prefix_len, members) = (u64::decode(input)?, Vec::<NodeId>::decode(input)?);
        let joiner = Option::<(NodeId, u64)>::decode(input)?.map(|(node, since)| Joiner { node, since });
        let configuration = Self { prefix_len, members, joiner };
        let line: Vec<_> = configuration.line().collect();
        if configuration.members.is_empty() || !all_differ(&line) {
            return Err(DecodeError::Malformed("chain configuration: its members"));
        }
        Ok(configuration)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: NodeId = NodeId(1);
    const TWO: NodeId = NodeId(2);
    const THREE: NodeId = NodeId(3);

    fn two() -> Configuration {
        Configuration::new(1, alloc::vec![ONE, TWO])
    }

    #[test]
    fn a_node_stands_behind_the_tail_until_it_is_admitted() {
        let joining = two().after(Change::Join(THREE)).expect("nobody joins");
        assert_eq!((joining.prefix_len(), joining.tail(), joining.joiner()), (2, TWO, Some(THREE)));
        assert_eq!((joining.successor(TWO), joining.predecessor(THREE)), (Some(THREE), Some(TWO)));
        let joined = joining.after(Change::Admit(THREE)).expect("it joins");
        assert_eq!((joined.prefix_len(), joined.tail(), joined.joiner()), (3, THREE, None));
        assert_eq!(joining.after(Change::Leave(THREE)).map(|left| left.members), Ok(two().members));
    }

    #[test]
    fn what_cannot_follow_is_refused_and_says_why() {
        let joining = two().after(Change::Join(THREE)).expect("nobody joins");
        let alone = two().after(Change::Leave(ONE)).expect("there is another");
        for (from, change, error) in [
            (two(), Change::Join(TWO), ChangeError::Present(TWO)),
            (joining.clone(), Change::Join(THREE), ChangeError::Present(THREE)),
            (joining.clone(), Change::Join(NodeId(4)), ChangeError::Joining(THREE)),
            (two(), Change::Admit(THREE), ChangeError::Absent(THREE)),
            (joining, Change::Admit(TWO), ChangeError::Absent(TWO)),
            (two(), Change::Leave(THREE), ChangeError::Absent(THREE)),
            (alone, Change::Leave(TWO), ChangeError::OnlyMember(TWO)),
        ] {
            assert_eq!(from.after(change), Err(error), "{change:?} after {from:?}");
        }
    }

    #[test]
    fn bytes_of_no_configuration_are_an_error() {
        let joining = two().after(Change::Join(THREE)).expect("nobody joins");
        assert_eq!(Configuration::from_bytes(joining.to_bytes()), Ok(joining));
        for members in [alloc::vec![], alloc::vec![ONE, ONE]] {
            let bytes = Configuration { members, ..two() }.to_bytes();
            assert!(matches!(Configuration::from_bytes(bytes), Err(DecodeError::Malformed(_))));
        }
    }
}
