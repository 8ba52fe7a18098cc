//! What a member keeps while it tries to lead, and while it leads. What it does then is in [`super::node`].

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;

use quorate_model::time::Staleness;
use quorate_model::{Instant, NodeId, Pid};

use super::super::ballot::Ballot;
use super::message::{Order, Vote};
use crate::operation::{Entry, OperationId};

/// Whether a member leads.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Phase<C> {
    /// Someone else does, or nobody.
    Following,
    /// It asks a quorum what it voted for: phase 1, once for all slots.
    Preparing(Preparing<C>),
    /// It does, as long as no higher ballot comes.
    Leading(Leading<C>),
}

impl<C> Phase<C> {
    /// The ballot that the member leads in or tries to.
    pub fn ballot(&self) -> Option<Ballot> {
        match self {
            Self::Following => None,
            Self::Preparing(preparing) => Some(preparing.ballot),
            Self::Leading(leading) => Some(leading.ballot),
        }
    }
}

/// Phase 1.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct Preparing<C> {
    pub ballot: Ballot,
    /// Who promised, and up to where each knows what was chosen.
    pub promises: BTreeMap<NodeId, u64>,
    /// Of the votes of those who promised the highest in each slot.
    pub recovered: BTreeMap<u64, Vote<C>>,
    pub proposals: Proposals<C>,
}

impl<C> Preparing<C> {
    /// Notes what a member voted for, if it is higher than what is known.
    pub fn recover(&mut self, slot: u64, vote: Vote<C>) {
        if self.recovered.get(&slot).is_none_or(|known| known.ballot < vote.ballot) {
            self.recovered.insert(slot, vote);
        }
    }
}

/// Phase 2, for one slot after the other.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Leading<C> {
    pub ballot: Ballot,
    /// The last slot that anybody may have been told of by an earlier leader: reads wait for it.
    pub floor: u64,
    /// The last slot that is ordered.
    pub last: u64,
    /// The last slot of each batch that is ordered and not chosen.
    pub window: VecDeque<u64>,
    pub peers: BTreeMap<NodeId, Peer>,
    pub proposals: Proposals<C>,
    pub round: Round,
    /// The newest proof that we lead.
    pub proof: Option<Staleness>,
}

/// What a leader knows of another member, or of one who only listens.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub(super) struct Peer {
    /// Up to here it voted in our ballot, or knew what was chosen.
    pub voted: u64,
    /// Up to here it holds what we put to the vote, whether it has a vote or not.
    pub held: u64,
    /// It was sent everything up to here. Unknown while we wait to hear what it has.
    pub sent: Option<u64>,
    /// Up to here it knew what was chosen.
    pub applied: u64,
    /// It was told that everything up to here is chosen.
    pub told: u64,
}

/// Commands that wait to be ordered, and those that are ordered and not applied.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct Proposals<C> {
    pub queue: VecDeque<Entry<Order<C>>>,
    pub open: BTreeSet<OperationId>,
}

impl<C> Proposals<C> {
    pub fn new() -> Self {
        Self { queue: VecDeque::new(), open: BTreeSet::new() }
    }

    /// Adds an entry, unless it waits or is ordered already.
    pub fn add(&mut self, entry: Entry<Order<C>>) {
        if self.open.insert(entry.operation) {
            self.queue.push_back(entry);
        }
    }
}

/// A round of questions whether we still lead. All reads that waited when it began share it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub(super) struct Round {
    /// Which round of this ballot.
    pub number: u64,
    pub is_open: bool,
    /// When it began.
    pub asked: Instant,
    /// Up to where those who wait for it must apply the log.
    pub index: u64,
    pub confirmed: BTreeSet<NodeId>,
    /// Who waits for it, and by the names of which questions.
    pub askers: Vec<(Pid, OperationId)>,
    /// Who came since, and waits for the next.
    pub waiting: Vec<(Pid, OperationId)>,
}
