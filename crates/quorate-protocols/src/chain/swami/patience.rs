//! Patience: how long a swami waits for a node that is silent, beyond its lease.
//!
//! A lease is short, so that a death is noticed soon. But a busy machine stands still for as long now and then, and to put
//! its node out would only make more work: the node joins anew and is copied to. So every swami, whether it decides or not,
//! notes how punctual the nodes are ([`Punctuality`]), and whoever decides lets none go that is not silent for much longer
//! than it ever was lately. This changes nothing of what is safe: a node may be let go at any time after its lease has run
//! out ([`super::super::membership`], rule 4).

use alloc::collections::BTreeMap;
use core::time::Duration;

use quorate_model::time::Punctuality;
use quorate_model::{Instant, NodeId};

use super::system::NODE_COUNT_MAX;

/// See the module.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Patience {
    /// The longest that is waited for anyone.
    max: Duration,
    /// Each node that was heard lately, with the life that it spoke of.
    nodes: BTreeMap<NodeId, (u64, Punctuality)>,
}

impl Patience {
    pub fn new(max: Duration) -> Self {
        Self { max, nodes: BTreeMap::new() }
    }

    /// A node asks for its lease, in its life `boot`.
    pub fn hear(&mut self, node: NodeId, boot: u64, now: Instant) {
        match self.nodes.get_mut(&node) {
            Some((known, punctuality)) if *known == boot && now - punctuality.heard() < self.max => {
                punctuality.hear(now)
            }
            _ => {
                // It was dead, or cut off: that says nothing of how punctual it is.
                let max = self.max;
                self.nodes.retain(|_, (_, punctuality)| now - punctuality.heard() < max);
                if self.nodes.len() < NODE_COUNT_MAX {
                    self.nodes.insert(node, (boot, Punctuality::first_heard(now)));
                }
            }
        }
    }

    /// How long a node may be silent. Who was never heard may only just begin, as we do.
    pub fn of(&self, node: NodeId) -> Duration {
        self.nodes.get(&node).map_or(self.max, |(_, punctuality)| punctuality.patience().min(self.max))
    }

    /// How long a joiner may be silent: it is busy with what it is given, and nobody waits for it.
    pub fn of_joiner(&self) -> Duration {
        self.max
    }
}

/// How long a node may be silent before it is let go: its lease lives for `lease` after it was granted at most.
pub(super) fn bound_of(
    lease: Duration,
    patience: Option<&Patience>,
    joiner: Option<NodeId>,
) -> impl Fn(NodeId) -> Duration {
    move |node| match patience {
        Some(patience) if joiner == Some(node) => lease.max(patience.of_joiner()),
        Some(patience) => lease.max(patience.of(node)),
        None => lease,
    }
}
