//! How a node stands, for those who watch it.

use quorate_model::Machine;

use super::{Node, Trouble};

/// What a node is in a configuration.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// A member: it serves.
    Member,
    /// It is copied to, and serves nothing yet.
    Joiner,
    /// Not in the chain, or no longer: it serves nothing.
    None,
}

/// How a node stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NodeStatus {
    /// Which life of it this is; 0 before the first.
    pub boot: u64,
    /// Whether it knows its place: its log is no shorter than its successor's.
    pub joined: bool,
    /// What it is in the configuration that it acts on.
    pub place: Place,
    /// Whether its neighbours have greeted and welcomed it. A joiner is nobody's neighbour.
    pub linked: bool,
    /// What keeps it from its place, if anything does.
    pub trouble: Option<Trouble>,
    /// The end of the log that it found when it started, or became the tail: everything that was committed before lies up to here.
    pub floor: u64,
    /// The last index of its log.
    pub last: u64,
    /// The last index that it knows to be committed; all of that is applied.
    pub committed: u64,
    /// There is no room on this node since its log ended here.
    pub full_at: Option<u64>,
    /// Whether the head dropped a command since so much is not committed, and takes none until something is.
    pub crowded: bool,
}

impl<M: Machine> Node<M> {
    /// How it stands.
    #[must_use]
    pub fn status(&self) -> NodeStatus {
        let place = match (self.is_member(), self.is_in_line()) {
            (true, _) => Place::Member,
            (false, true) => Place::Joiner,
            (false, false) => Place::None,
        };
        NodeStatus {
            boot: self.boot,
            joined: self.joined,
            place,
            linked: self.is_linked(),
            trouble: self.trouble,
            floor: self.floor,
            last: self.log.last(),
            committed: self.committed,
            full_at: self.full_at,
            crowded: self.crowded,
        }
    }

    /// Whether the neighbours have greeted and welcomed us.
    pub(super) fn is_linked(&self) -> bool {
        let from_above = self.is_head() || self.up.boot.is_some();
        let to_below = self.is_tail() || self.is_end() || self.down.boot.is_some();
        from_above && to_below
    }
}
