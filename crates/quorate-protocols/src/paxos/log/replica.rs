//! The replica: applies what was chosen, in order, each operation once.

use quorate_model::{Machine, Wire};

use super::super::ballot::Ballot;
use super::members::Members;
use super::message::{Base, Item, Order, Outcome};
use super::session::{Known, Sessions};
use crate::operation::OperationId;

/// What came of the log up to `applied`. It is lost in a restart, and made anew from the last base.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct Replica<M, A> {
    pub machine: M,
    pub sessions: Sessions<Outcome<A>>,
    pub members: Members,
    pub applied: u64,
}

impl<M: Machine> Replica<M, M::Answer> {
    /// The state before the first slot, or what the machine's own storage brought through a restart.
    ///
    /// # Panics
    /// If the machine's own storage holds sessions that are not ours.
    pub fn new(members: Members, machine: M) -> Self {
        let Some((applied, beside)) = machine.recovered() else {
            return Self { machine, sessions: Sessions::new(), members, applied: 0 };
        };
        let (sessions, members) = Wire::from_bytes(beside).expect("what a checkpoint stored is what it reads back");
        Self { machine, sessions, members, applied }
    }

    /// What it would take to be here without the log, for one who has promised `ballot`.
    pub fn base(&self, ballot: Ballot) -> Base<M::Answer, M::Snapshot> {
        let state = Some((self.sessions.clone(), self.machine.snapshot()));
        Base { index: self.applied, members: self.members.clone(), ballot, state }
    }

    /// Goes on from `base`.
    ///
    /// # Panics
    /// If the base relies on storage that holds less.
    pub fn restore(&mut self, base: Base<M::Answer, M::Snapshot>) {
        if let Some((sessions, snapshot)) = base.state {
            self.sessions = sessions;
            self.machine.restore(snapshot);
            self.members = base.members;
            self.applied = base.index;
        }
        assert!(
            base.index <= self.applied,
            "the log begins after slot {}, but the store holds only what came of slot {}: the store's folder is older \
             than the log's",
            base.index,
            self.applied
        );
    }

    /// Applies the next slot. What came of it, and of which operation; nothing if nobody can wait for it.
    pub fn apply(&mut self, item: &Item<M::Command>, twice: bool) -> Option<(OperationId, Outcome<M::Answer>)> {
        self.applied += 1;
        let Item::Entry(entry) = item else { return None };
        let done = match self.sessions.known(entry.operation) {
            Known::Answered(outcome) if !twice => Some(Some((entry.operation, outcome.clone()))),
            Known::Over if !twice => Some(None), // of a life that is over
            _ => None,
        };
        if let Some(done) = done {
            // A change of members that changes nothing is still one: nothing was ordered behind it, and whoever leads
            // goes on behind it as behind any other.
            if item.changes_members() {
                self.members = Members::changed(self.applied, self.members.nodes().to_vec());
            }
            return done;
        }
        let outcome = match &entry.command {
            Order::Command(command) => Outcome::Answer(self.machine.apply(self.applied, command)),
            Order::Members(nodes) => {
                self.members = Members::changed(self.applied, nodes.clone());
                Outcome::Changed
            }
        };
        self.sessions.remember(entry.operation, entry.done_below, outcome.clone());
        Some((entry.operation, outcome))
    }
}
