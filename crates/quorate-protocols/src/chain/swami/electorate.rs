//! Who the members of the `_system` log should be, so that a node can be removed though it is one. A pure function.
//!
//! | the log has | and | so |
//! |-------------|-----|----|
//! | a member that is not in service | a node in service that is reached | that node takes its place |
//! | a member that is not in service | nobody could take its place, and others stay | it is left out, if it is removed |
//! | fewer than three members | three nodes in service are reached | three members |
//! | anything else | | nothing |
//!
//! A member that is down and in service stays: it has promised and voted, and may come back. Sizes stay odd where they were,
//! since an even number survives no more than the odd one below it.

use alloc::vec::Vec;

use quorate_model::NodeId;

use super::system::{State, Wanted};

/// With so many members a log survives the loss of one.
const SAFE_LEN: usize = 3;

impl State {
    /// The members that the log should have, if these are not the ones. `reached` says whether a node is there.
    #[must_use]
    pub fn electorate(&self, members: &[NodeId], reached: impl Fn(NodeId) -> bool) -> Option<Vec<NodeId>> {
        let wanted = |node: NodeId| self.nodes.get(&node).map(|node| node.wanted);
        let serves = |node: &NodeId| wanted(*node) == Some(Wanted::InService);
        let mut next: Vec<_> = members.iter().copied().filter(serves).collect();
        let others =
            self.nodes.keys().copied().filter(|node| !members.contains(node) && serves(node) && reached(*node));
        let others: Vec<_> = others.collect();
        let len = if next.len() + others.len() >= SAFE_LEN { members.len().max(SAFE_LEN) } else { members.len() };
        let lacking = len.saturating_sub(next.len());
        next.extend(others.into_iter().take(lacking));
        // Who drains stays until there is another; who is removed goes.
        let drains = members.iter().copied().filter(|node| wanted(*node) == Some(Wanted::Draining));
        let lacking = len.saturating_sub(next.len());
        next.extend(drains.take(lacking));
        (!next.is_empty() && next != members).then_some(next)
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::vec;

    use super::super::system::{Addresses, Registered};
    use super::*;

    fn state(wanted: &[Wanted]) -> State {
        let nodes = (1..).zip(wanted).map(|(node, wanted)| {
            let addresses = Addresses { peer: format!("n{node}:1"), client: format!("n{node}:2") };
            (NodeId(node), Registered { addresses, added: 1, wanted: *wanted })
        });
        State { nodes: nodes.collect(), ..State::default() }
    }

    fn electorate(wanted: &[Wanted], members: &[u32], reached: &[u32]) -> Option<Vec<u32>> {
        let members: Vec<_> = members.iter().copied().map(NodeId).collect();
        let next = state(wanted).electorate(&members, |node| reached.contains(&node.0));
        next.map(|next| next.iter().map(|node| node.0).collect())
    }

    #[test]
    fn each_row_of_the_table() {
        use Wanted::{Draining, InService, Leaving};
        let all = [1, 2, 3, 4];
        for (nodes, members, reached, next) in [
            (&[InService; 4][..], &[1, 2, 3][..], &all[..], None),
            (&[InService, Leaving, InService, InService], &[1, 2, 3], &all, Some(vec![1, 3, 4])),
            (&[InService, Draining, InService, InService], &[1, 2, 3], &all, Some(vec![1, 3, 4])),
            (&[InService, Draining, InService, InService], &[1, 3, 2], &[1, 2, 3], None),
            (&[InService, Leaving, InService], &[1, 2, 3], &all, Some(vec![1, 3])),
            (&[InService; 3], &[1], &all, Some(vec![1, 2, 3])),
            (&[InService; 3], &[1], &[1, 2], None),
            (&[Leaving; 3], &[1, 2, 3], &all, None),
        ] {
            assert_eq!(electorate(nodes, members, reached), next, "{nodes:?} {members:?} {reached:?}");
        }
    }
}
