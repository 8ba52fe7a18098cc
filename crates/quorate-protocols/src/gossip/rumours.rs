//! Rumours: facts that are news, told along with other messages until enough members were told.
//!
//! A rumour stops by a statistical rule: each member that hears it tells it `told_factor` times the logarithm of how many
//! members there are, and then keeps it to itself. With a factor of `c` times the natural logarithm about `n^-(2c-2)` of
//! `n` members are missed (SWIM, section 4.1); what is missed is brought by exchanges. Told least goes first, so the
//! newest news are the quickest.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;

use quorate_model::{NodeId, Wire};

use super::fact::Fact;

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
struct Rumour {
    fact: Arc<Fact>,
    wire_bytes: usize,
    told: u32,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub(super) struct Rumours {
    by_node: BTreeMap<NodeId, Rumour>,
    /// How often each was told, and whom it is about: least told first.
    order: BTreeSet<(u32, NodeId)>,
}

impl Rumours {
    /// Begins to tell `fact`, in the place of what was told of the same member. Beyond `len_max` the rumour that was told
    /// most is dropped: exchanges bring it.
    pub fn begin(&mut self, fact: Arc<Fact>, len_max: usize) {
        let node = fact.node;
        let wire_bytes = fact.to_bytes().len();
        if let Some(old) = self.by_node.insert(node, Rumour { fact, wire_bytes, told: 0 }) {
            self.order.remove(&(old.told, node));
        }
        self.order.insert((0, node));
        if self.by_node.len() > len_max
            && let Some((_, most)) = self.order.pop_last()
        {
            self.by_node.remove(&most);
        }
    }

    /// Picks what to tell in a message with room for `room_bytes`, and counts it as told. What is in `into` already is
    /// counted and not told twice.
    pub fn pick(&mut self, mut room_bytes: usize, told_max: u32, into: &mut Vec<Arc<Fact>>) {
        let mut picked = Vec::new();
        for &(told, node) in &self.order {
            let rumour = &self.by_node[&node];
            if into.iter().all(|fact| fact.node != node) {
                if rumour.wire_bytes > room_bytes {
                    break;
                }
                room_bytes -= rumour.wire_bytes;
                into.push(Arc::clone(&rumour.fact));
            }
            picked.push((told, node));
        }
        for (told, node) in picked {
            self.order.remove(&(told, node));
            if told + 1 >= told_max {
                self.by_node.remove(&node);
            } else if let Some(rumour) = self.by_node.get_mut(&node) {
                rumour.told += 1;
                self.order.insert((rumour.told, node));
            }
        }
    }

    /// Stops what is told of `node`.
    pub fn end(&mut self, node: NodeId) {
        if let Some(old) = self.by_node.remove(&node) {
            self.order.remove(&(old.told, node));
        }
    }

    pub fn is_told(&self, node: NodeId) -> bool {
        self.by_node.contains_key(&node)
    }

    pub fn len(&self) -> usize {
        self.by_node.len()
    }
}

#[cfg(test)]
mod tests {
    use super::super::fact::{Incarnation, Standing};
    use super::*;

    fn fact(node: u32) -> Arc<Fact> {
        Arc::new(Fact { node: NodeId(node), incarnation: Incarnation { life: 1, count: 0 }, standing: Standing::Dead })
    }

    fn pick(rumours: &mut Rumours, room_bytes: usize, told_max: u32) -> Vec<u32> {
        let mut picked = Vec::new();
        rumours.pick(room_bytes, told_max, &mut picked);
        picked.iter().map(|fact| fact.node.0).collect()
    }

    #[test]
    fn a_rumour_is_told_so_often_and_then_stops() {
        let mut rumours = Rumours::default();
        rumours.begin(fact(1), 8);
        for _ in 0..3 {
            assert_eq!(pick(&mut rumours, 100, 3), [1]);
        }
        assert_eq!(pick(&mut rumours, 100, 3), [0_u32; 0]);
        assert_eq!(rumours.len(), 0);
    }

    #[test]
    fn what_was_told_least_goes_first_and_what_was_told_most_is_dropped() {
        let mut rumours = Rumours::default();
        let bytes = fact(1).to_bytes().len();
        rumours.begin(fact(1), 2);
        assert_eq!(pick(&mut rumours, bytes, 9), [1]);
        rumours.begin(fact(2), 2);
        assert_eq!(pick(&mut rumours, bytes, 9), [2], "there is room for one, and it is the news");
        assert_eq!(pick(&mut rumours, 2 * bytes, 9), [1, 2]);
        rumours.begin(fact(3), 2);
        assert_eq!(pick(&mut rumours, 9 * bytes, 9), [3, 1]);
    }

    #[test]
    fn what_a_message_has_already_is_counted_and_not_told_twice() {
        let mut rumours = Rumours::default();
        rumours.begin(fact(1), 8);
        let mut told = alloc::vec![fact(1)];
        rumours.pick(100, 1, &mut told);
        assert_eq!((told.len(), rumours.len()), (1, 0));
    }
}
