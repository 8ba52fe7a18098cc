//! The learner: counts votes. What a quorum voted for in one ballot is chosen, for good.
//!
//! Source: Lamport, "Paxos Made Simple", section 2.3.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt::Debug;

use quorate_model::quorum::majority;
use quorate_model::{Context, Event, NodeId, Pid, Process, Service};

use super::Mutant;
use super::message::{Message, Record, Vote};

/// The process that finds out what was chosen.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Learner<V> {
    acceptors: Vec<NodeId>,
    clients: Vec<NodeId>,
    pub(super) mutant: Option<Mutant>,
    /// The newest vote of each acceptor that we heard of.
    votes: BTreeMap<NodeId, Vote<V>>,
    /// The newest vote that a quorum gave.
    chosen: Option<Vote<V>>,
}

impl<V: Clone + Debug> Learner<V> {
    /// A learner that listens to the acceptors on these nodes, and tells the clients on those.
    #[must_use]
    pub fn new(acceptors: Vec<NodeId>, clients: Vec<NodeId>) -> Self {
        Self { acceptors, clients, mutant: None, votes: BTreeMap::new(), chosen: None }
    }

    /// What was chosen, as far as it knows.
    #[must_use]
    pub fn chosen(&self) -> Option<&V> {
        self.chosen.as_ref().map(|vote| &vote.value)
    }

    fn quorum(&self) -> usize {
        if super::breaks(self.mutant, Mutant::DecidesAlone) { 1 } else { majority(self.acceptors.len()) }
    }

    fn voted(&mut self, acceptor: NodeId, vote: Vote<V>, cx: &mut Context<'_, Self>) {
        let known = self.votes.get(&acceptor).is_some_and(|known| known.ballot >= vote.ballot);
        if known || !self.acceptors.contains(&acceptor) {
            return;
        }
        let ballot = vote.ballot;
        self.votes.insert(acceptor, vote.clone());
        let is_newer = self.chosen.as_ref().is_none_or(|chosen| chosen.ballot < ballot);
        let count = self.votes.values().filter(|other| other.ballot == ballot).count();
        // Said again when it is chosen again: somebody redrives it, so perhaps our word was lost.
        if is_newer && count >= self.quorum() {
            for &node in &self.clients {
                let client = Pid { node, service: Service::Client, ..cx.me };
                cx.send(client, Message::Chosen { value: vote.value.clone() });
            }
            self.chosen = Some(vote);
        }
    }
}

impl<V: Clone + Debug> Process for Learner<V> {
    type Message = Message<V>;
    type Timer = super::Timer;
    type Record = Record<V>;

    fn on(&mut self, event: Event<Self>, cx: &mut Context<'_, Self>) {
        if let Event::Message { from, message: Message::Voted { vote } } = event {
            self.voted(from.node, vote, cx);
        }
    }

    fn replay(&mut self, _: Record<V>) {} // what it knows the acceptors know

    fn compact(&self) -> impl Iterator<Item = Record<V>> {
        core::iter::empty()
    }
}
