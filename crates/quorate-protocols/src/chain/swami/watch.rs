//! What a swami that decides keeps about one chain: which leases it granted, and how far the nodes are.

use alloc::collections::{BTreeMap, BTreeSet};
use core::time::Duration;

use quorate_model::{Instant, NodeId};

use super::super::configuration::{Change, Configuration};
use super::decide::Observed;
use super::system::Chain;

/// See the module.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Watch {
    /// The members and the joiner.
    line: BTreeMap<NodeId, Placed>,
    /// The length of the chain's prefix.
    prefix_len: u64,
    /// When others asked last.
    heard: BTreeMap<NodeId, Instant>,
    /// The length of the prefix under which the tail said that the joiner is in step.
    in_step: Option<u64>,
    /// The member that was asked to retire, the chain's revision then, and whether it did.
    retiring: Option<(NodeId, u64, bool)>,
    /// The change that was asked for, until it is known what came of it.
    pub pending: Option<Pending>,
}

/// What is kept about a member or the joiner.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Placed {
    /// From when its lease counts: when one was last granted, or when it was the earliest that it could have been.
    granted: Instant,
    /// The length of the prefix that it acts on, as far as it said in this place.
    acts_on: u64,
}

/// A change that was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Pending {
    /// Our name for it.
    pub token: u64,
    /// When it was asked for last.
    pub asked: Instant,
    pub change: Change,
    pub expected: u64,
}

impl Watch {
    /// The chain is like this now. The leases of those who are new count from `from`.
    pub fn learn(&mut self, chain: &Chain, from: Instant) {
        self.prefix_len = chain.configuration.prefix_len();
        let line: BTreeSet<_> = chain.configuration.line().collect();
        self.line.retain(|node, _| line.contains(node));
        for node in line {
            self.line.entry(node).or_insert(Placed { granted: from, acts_on: 0 });
        }
        self.in_step = self.in_step.filter(|prefix_len| *prefix_len == chain.configuration.prefix_len());
        self.retiring = self.retiring.filter(|(_, revision, _)| *revision == chain.revision);
    }

    /// Everybody's lease counts from `now`.
    pub fn count_anew(&mut self, now: Instant) {
        self.line.values_mut().for_each(|placed| placed.granted = now);
    }

    /// Whether a node that acts on a prefix of this length acts on the place that it has. With an older one it may take itself
    /// for a member that it was before, in another place; or its disk may be an old one.
    pub fn acts_on_its_place(&self, node: NodeId, prefix_len: u64) -> bool {
        self.line.contains_key(&node) && prefix_len >= self.prefix_len
    }

    /// The node, which acts on its place, is granted a lease.
    pub fn grant(&mut self, node: NodeId, now: Instant) {
        if let Some(placed) = self.line.get_mut(&node) {
            placed.granted = now;
        }
    }

    /// The node asked for a lease that it cannot have.
    pub fn heard(&mut self, node: NodeId, now: Instant) {
        self.heard.insert(node, now);
    }

    /// Whether the node is about to leave: it may be out already, or have given up its right, so it gets none.
    pub fn lets_go(&self, node: NodeId) -> bool {
        self.retiring.is_some_and(|(retiring, ..)| retiring == node)
            || self.pending.is_some_and(|pending| pending.change == Change::Leave(node))
    }

    /// A node says how far it is.
    pub fn acts_on(&mut self, node: NodeId, prefix_len: u64) {
        if let Some(placed) = self.line.get_mut(&node) {
            placed.acts_on = placed.acts_on.max(prefix_len);
        }
    }

    /// Whom to tell the configuration, again and again: who does not act on it yet, and the tail until it said that the
    /// joiner is in step, for what it said may be lost.
    pub fn behind<'a>(&'a self, configuration: &'a Configuration) -> impl Iterator<Item = NodeId> + 'a {
        let is_awaited = configuration.joiner().is_some() && self.in_step.is_none();
        let is_behind = move |(node, placed): &(&NodeId, &Placed)| {
            placed.acts_on < configuration.prefix_len() || (is_awaited && **node == configuration.tail())
        };
        self.line.iter().filter(is_behind).map(|(node, _)| *node)
    }

    /// The tail says that the joiner is in step.
    pub fn is_in_step(&mut self, prefix_len: u64) {
        self.in_step = Some(prefix_len);
    }

    /// The member is asked to retire.
    pub fn retire(&mut self, node: NodeId, revision: u64) {
        if self.retiring.is_none_or(|(retiring, at, _)| (retiring, at) != (node, revision)) {
            self.retiring = Some((node, revision, false));
        }
    }

    /// A member has retired. An answer to what was said about another revision is none.
    pub fn retired(&mut self, node: NodeId, revision: u64) {
        if let Some((retiring, at, retired)) = &mut self.retiring
            && (*retiring, *at) == (node, revision)
        {
            *retired = true;
        }
    }

    /// What is known at `now`, if the lease of each node lives for `bound` after it was granted.
    pub fn observed(&self, bound: impl Fn(NodeId) -> Duration, now: Instant, suspected: &BTreeSet<NodeId>) -> Observed {
        let lives = |(node, placed): &(&NodeId, &Placed)| now < placed.granted + bound(**node);
        let may_serve = self.line.iter().filter(lives).map(|(node, _)| *node);
        Observed {
            may_serve: may_serve.collect(),
            heard: self
                .heard
                .iter()
                .filter(|(node, heard)| now < **heard + bound(**node))
                .map(|(node, _)| *node)
                .collect(),
            suspected: suspected.clone(),
            in_step: self.in_step.is_some(),
            retired: self.retiring.filter(|(.., retired)| *retired).map(|(node, ..)| node),
        }
    }

    /// How long it is until the next lease has run out.
    pub fn next_end(&self, bound: impl Fn(NodeId) -> Duration, now: Instant) -> Option<Duration> {
        let ends = self.line.iter().map(|(node, placed)| placed.granted + bound(*node)).filter(|end| now < *end);
        ends.min().map(|end| end - now)
    }
}
