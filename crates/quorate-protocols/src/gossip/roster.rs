//! The roster: the greatest fact that was heard of each member, in the order of their numbers.

use alloc::sync::Arc;
use alloc::vec::Vec;

use quorate_model::NodeId;

use super::fact::Fact;
use super::message::Part;

/// A list rather than a tree: ten thousand members know ten thousand each, and it is read far more often than it grows.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub(super) struct Roster {
    facts: Vec<Arc<Fact>>,
    up_len: usize,
}

impl Roster {
    fn place(&self, node: NodeId) -> Result<usize, usize> {
        self.facts.binary_search_by_key(&node, |fact| fact.node)
    }

    pub fn get(&self, node: NodeId) -> Option<&Arc<Fact>> {
        self.place(node).ok().map(|at| &self.facts[at])
    }

    /// Puts `fact` in the place of what was held of the member.
    ///
    /// # Panics
    /// If what was held is greater: incarnations never go back.
    pub fn put(&mut self, fact: Arc<Fact>) {
        self.up_len += usize::from(fact.is_up());
        match self.place(fact.node) {
            Ok(at) => {
                assert!(fact.rank() > self.facts[at].rank(), "of two facts about a member the greater one is kept");
                self.up_len -= usize::from(self.facts[at].is_up());
                self.facts[at] = fact;
            }
            Err(at) => self.facts.insert(at, fact),
        }
    }

    pub fn forget(&mut self, node: NodeId) {
        if let Ok(at) = self.place(node) {
            self.up_len -= usize::from(self.facts[at].is_up());
            self.facts.remove(at);
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<Fact>> {
        self.facts.iter()
    }

    pub fn len(&self) -> usize {
        self.facts.len()
    }

    /// How many members are up, as far as is known.
    pub fn up_len(&self) -> usize {
        self.up_len
    }

    /// What is held of the members from `first` to `last`, both included.
    pub fn between(&self, first: NodeId, last: NodeId) -> &[Arc<Fact>] {
        let begin = self.facts.partition_point(|fact| fact.node < first);
        let end = self.facts.partition_point(|fact| fact.node <= last);
        self.facts.get(begin..end).unwrap_or(&[]) // a part that ends before it begins is empty
    }

    /// What is held of the members from `first` to `last`, both included, in short.
    pub fn part(&self, first: NodeId, last: NodeId) -> Part {
        let facts = self.between(first, last);
        // A sum, since the parts of a part then need no order; the digests are mixed already.
        let digest = facts.iter().fold(0_u64, |sum, fact| sum.wrapping_add(fact.digest()));
        Part { first, last, len: facts.len() as u32, digest }
    }

    /// Cuts the part from `first` to `last` into up to `count` parts in which about as many members are held.
    pub fn split(&self, first: NodeId, last: NodeId, count: usize) -> Vec<Part> {
        let facts = self.between(first, last);
        let step = facts.len().div_ceil(count.max(1)).max(1);
        let mut begins: Vec<NodeId> = facts.chunks(step).map(|chunk| chunk[0].node).collect();
        match begins.first_mut() {
            Some(begin) => *begin = first,
            None => begins.push(first),
        }
        let ends = begins.iter().skip(1).map(|next| NodeId(next.0 - 1)).chain([last]);
        begins.iter().zip(ends).map(|(&begin, end)| self.part(begin, end)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::fact::{Incarnation, Standing};
    use super::*;

    fn roster(nodes: impl IntoIterator<Item = u32>) -> Roster {
        let mut roster = Roster::default();
        for node in nodes {
            let incarnation = Incarnation { life: 1, count: 0 };
            roster.put(Arc::new(Fact { node: NodeId(node), incarnation, standing: Standing::Dead }));
        }
        roster
    }

    const ALL: (NodeId, NodeId) = (NodeId(0), NodeId(u32::MAX));

    #[test]
    fn the_parts_of_a_part_cover_it_and_sum_up_to_it() {
        for len in [0, 1, 2, 15, 16, 17, 100, 1000] {
            let roster = roster((0..len).map(|node| node * 7 + 3));
            let whole = roster.part(ALL.0, ALL.1);
            let parts = roster.split(ALL.0, ALL.1, 16);
            assert!(parts.len() <= 16 && !parts.is_empty());
            assert_eq!((parts[0].first, parts[parts.len() - 1].last), ALL);
            assert!(parts.windows(2).all(|pair| pair[0].last.0 + 1 == pair[1].first.0), "no gap, no overlap");
            assert_eq!(parts.iter().map(|part| part.len).sum::<u32>(), whole.len);
            assert_eq!(parts.iter().fold(0_u64, |sum, part| sum.wrapping_add(part.digest)), whole.digest);
        }
    }

    #[test]
    fn a_part_with_another_fact_has_another_digest() {
        let (one, other) = (roster([1, 2, 3]), roster([1, 2, 4]));
        assert_ne!(one.part(ALL.0, ALL.1), other.part(ALL.0, ALL.1));
        assert_eq!(one.part(NodeId(1), NodeId(2)), other.part(NodeId(1), NodeId(2)));
        assert!(one.between(NodeId(3), NodeId(1)).is_empty(), "a part that ends before it begins");
    }
}
