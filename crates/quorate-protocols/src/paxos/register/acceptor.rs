//! The acceptor: the register's memory. It promises and votes, and has both on disk before it says so.
//!
//! Source: Lamport, "Paxos Made Simple", section 2.2 (P1a), section 2.5 (what must be on stable storage).

use alloc::vec::Vec;
use core::fmt::Debug;

use quorate_model::{Context, Event, NodeId, Pid, Process, Service};

use super::super::ballot::Ballot;
use super::Mutant;
use super::message::{Message, Record, Vote};

/// The process that promises and votes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Acceptor<V> {
    learners: Vec<NodeId>,
    pub(super) mutant: Option<Mutant>,
    /// Durable: takes part in no ballot below this one.
    promised: Ballot,
    /// Durable: the vote of the highest ballot that it gave.
    vote: Option<Vote<V>>,
}

impl<V: Clone + Debug> Acceptor<V> {
    /// An acceptor, before its records are replayed, that tells the learners on these nodes how it votes.
    #[must_use]
    pub fn new(learners: Vec<NodeId>) -> Self {
        Self { learners, mutant: None, promised: Ballot::default(), vote: None }
    }

    /// The vote of the highest ballot that it gave.
    #[must_use]
    pub fn vote(&self) -> Option<&Vote<V>> {
        self.vote.as_ref()
    }

    fn prepare(&mut self, from: Pid, ballot: Ballot, cx: &mut Context<'_, Self>) {
        if ballot < self.promised {
            return cx.send(from, Message::Refused { promised: self.promised });
        }
        let vote = self.vote.clone();
        if ballot > self.promised && !super::breaks(self.mutant, Mutant::ForgetsPromise) {
            cx.append(self, Record::Promised(ballot)); // said only when it is on disk: output commit
        }
        cx.send(from, Message::Promise { ballot, vote });
    }

    fn accept(&mut self, from: Pid, vote: Vote<V>, cx: &mut Context<'_, Self>) {
        if vote.ballot < self.promised {
            return cx.send(from, Message::Refused { promised: self.promised });
        }
        if self.vote.as_ref().is_none_or(|given| given.ballot < vote.ballot) {
            cx.append(self, Record::Voted(vote.clone()));
        }
        for &node in &self.learners {
            cx.send(Pid { node, service: Service::Learner, ..cx.me }, Message::Voted { vote: vote.clone() });
        }
    }
}

impl<V: Clone + Debug> Process for Acceptor<V> {
    type Message = Message<V>;
    type Timer = super::Timer;
    type Record = Record<V>;

    fn on(&mut self, event: Event<Self>, cx: &mut Context<'_, Self>) {
        match event {
            Event::Message { from, message: Message::Prepare { ballot } } => self.prepare(from, ballot, cx),
            Event::Message { from, message: Message::Accept { vote } } => self.accept(from, vote, cx),
            _ => {} // said to another role
        }
    }

    fn replay(&mut self, record: Record<V>) {
        match record {
            Record::Promised(ballot) => self.promised = self.promised.max(ballot),
            Record::Voted(vote) => {
                self.promised = self.promised.max(vote.ballot); // to vote in a ballot is to have promised it
                if !super::breaks(self.mutant, Mutant::ForgetsVote) {
                    self.vote = Some(vote);
                }
            }
            Record::Began(_) => {} // a proposer's
        }
    }

    fn compact(&self) -> impl Iterator<Item = Record<V>> {
        let vote = self.vote.clone().map(Record::Voted);
        vote.into_iter().chain([Record::Promised(self.promised)])
    }
}
