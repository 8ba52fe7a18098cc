//! The proposer: brings a value before the acceptors in a ballot of its own.
//!
//! Phase 1 asks a quorum what it voted for. If any did, the vote of the highest ballot may have been chosen, so that
//! value, and no other, is put to the vote in phase 2. Source: Lamport, "Paxos Made Simple", section 2.2.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt::Debug;
use core::mem;

use quorate_model::quorum::majority;
use quorate_model::{Context, Event, NodeId, Pid, Process, Service};

use super::super::ballot::Ballot;
use super::Mutant;
use super::message::{Message, Record, Vote};

/// The process that brings values before the acceptors.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Proposer<V> {
    me: NodeId,
    acceptors: Vec<NodeId>,
    pub(super) mutant: Option<Mutant>,
    /// Durable: the newest ballot that we began.
    ballot: Ballot,
    /// The highest ballot that we heard of.
    seen: Ballot,
    phase: Phase<V>,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
enum Phase<V> {
    /// Nothing to do, or the votes are on their way to the learners.
    Idle,
    /// Phase 1 of our ballot.
    Preparing { value: V, promises: BTreeMap<NodeId, Option<Vote<V>>> },
}

impl<V: Clone + Debug> Proposer<V> {
    /// The proposer on node `me`, before its records are replayed.
    #[must_use]
    pub fn new(me: NodeId, acceptors: Vec<NodeId>) -> Self {
        let never = Ballot::default();
        Self { me, acceptors, mutant: None, ballot: never, seen: never, phase: Phase::Idle }
    }

    fn quorum(&self) -> usize {
        if super::breaks(self.mutant, Mutant::DecidesAlone) { 1 } else { majority(self.acceptors.len()) }
    }

    fn tell_acceptors(&self, message: &Message<V>, cx: &mut Context<'_, Self>) {
        for &node in &self.acceptors {
            cx.send(Pid { node, service: Service::Acceptor, ..cx.me }, message.clone());
        }
    }

    /// Phase 1, or phase 1 again: a redrive.
    fn begin(&mut self, value: V, cx: &mut Context<'_, Self>) {
        let ballot = self.ballot.max(self.seen).next_of(self.me);
        if super::breaks(self.mutant, Mutant::ForgetsBallot) {
            self.ballot = ballot;
        } else {
            cx.append(self, Record::Began(ballot)); // 1. no ballot is begun twice, not even by a later life
        }
        self.phase = Phase::Preparing { value, promises: BTreeMap::new() };
        self.tell_acceptors(&Message::Prepare { ballot }, cx);
    }

    fn promised(&mut self, acceptor: NodeId, ballot: Ballot, vote: Option<Vote<V>>, cx: &mut Context<'_, Self>) {
        let quorum = self.quorum();
        let Phase::Preparing { promises, .. } = &mut self.phase else { return }; // phase 1 is over
        if ballot != self.ballot || !self.acceptors.contains(&acceptor) {
            return; // of an attempt that is over
        }
        promises.insert(acceptor, vote);
        if promises.len() < quorum {
            return;
        }
        let Phase::Preparing { value, promises } = mem::replace(&mut self.phase, Phase::Idle) else { return };
        // 2. Of the values that a quorum voted for below this ballot, the one of the highest ballot may be chosen, and no
        //    other can be: this quorum has promised to vote below this ballot no more.
        let newest = promises.into_values().flatten().max_by_key(|vote| vote.ballot);
        let value = match newest {
            Some(vote) if !super::breaks(self.mutant, Mutant::IgnoresVotes) => vote.value,
            _ => value,
        };
        self.tell_acceptors(&Message::Accept { vote: Vote { ballot, value } }, cx);
    }
}

impl<V: Clone + Debug> Process for Proposer<V> {
    type Message = Message<V>;
    type Timer = super::Timer;
    type Record = Record<V>;

    fn on(&mut self, event: Event<Self>, cx: &mut Context<'_, Self>) {
        let Event::Message { from, message } = event else { return }; // it waits for nothing: its client does
        match message {
            Message::Propose { value } => self.begin(value, cx),
            Message::Promise { ballot, vote } => self.promised(from.node, ballot, vote, cx),
            Message::Refused { promised } => self.seen = self.seen.max(promised), // the next attempt will be above it
            _ => {}                                                               // said to another role
        }
    }

    fn replay(&mut self, record: Record<V>) {
        if let Record::Began(ballot) = record {
            self.ballot = self.ballot.max(ballot);
        }
    }

    fn compact(&self) -> impl Iterator<Item = Record<V>> {
        [Record::Began(self.ballot)].into_iter()
    }
}
