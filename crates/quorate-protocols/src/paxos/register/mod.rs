//! The write-once register: many may write, one value stays. Everything else in consensus is made of these.
//!
//! | at       | hears                          | does                              | tells                           |
//! |----------|--------------------------------|-----------------------------------|---------------------------------|
//! | client   | Ask                            |                                   | own proposer: Propose           |
//! | proposer | Propose                        | append the next ballot            | acceptors: Prepare              |
//! | acceptor | Prepare, not below its promise | append the promise                | proposer: Promise, its vote     |
//! | proposer | Promise, quorum                | the highest vote's value, or ours | acceptors: Accept               |
//! | acceptor | Accept, not below its promise  | append the vote                   | learners: Voted                 |
//! | acceptor | either, below its promise      |                                   | proposer: Refused               |
//! | learner  | Voted, quorum in one ballot    |                                   | clients: Chosen                 |
//! | client   | Chosen                         | remember it                       | outside: Answered               |
//! | client   | nothing in time                | wait longer next time             | own proposer: Propose (redrive) |
//!
//! **Why only one value is chosen.** Say `v` is chosen in ballot `b`: a quorum voted for it. Take the next ballot above `b`
//! in which anything is put to the vote. Its proposer has promises of a quorum, and some acceptor is in both quorums. That
//! one voted in `b` before it promised, or else it would have refused to vote. So its promise names a vote of `b`, or of
//! a ballot between, which is for `v` too; nothing higher can be named; so the proposer must put `v` to the vote. And so
//! on for every higher ballot. It takes that a promise and a vote outlive a crash (they are on disk before they are said),
//! that any two quorums share an acceptor (majorities), and that one ballot has one value (its owner writes the ballot
//! down before it begins it, and puts one value to the vote).
//!
//! **Why it does not always end.** Proposers can interrupt each other for ever; the time between attempts is drawn at
//! random and grows, so that this ends with probability 1.
//!
//! Source: notes "Paxos Consensus"; Lamport, "Paxos Made Simple", 2001, section 2.

mod acceptor;
mod client;
mod learner;
mod message;
mod proposer;
mod wire;

pub use acceptor::Acceptor;
pub use client::Client;
pub use learner::Learner;
pub use message::{Message, Record, Timer, Vote};
pub use proposer::Proposer;

use core::fmt::Debug;

use quorate_model::{Context, Event, Process};

/// One rule broken on purpose, to prove that breaking it is noticed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Mutant {
    /// The acceptor promises, and votes in lower ballots all the same.
    ForgetsPromise,
    /// The acceptor does not keep what it voted for.
    ForgetsVote,
    /// The proposer puts its own value to the vote, whatever was voted for before.
    IgnoresVotes,
    /// The proposer does not write down that it began a ballot.
    ForgetsBallot,
    /// One acceptor is quorum enough.
    DecidesAlone,
}

/// A process of the protocol: one type for all roles, so that one host can run them.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Role<V> {
    /// Takes requests on a node.
    Client(Client<V>),
    /// Brings values before the acceptors.
    Proposer(Proposer<V>),
    /// Promises and votes.
    Acceptor(Acceptor<V>),
    /// Finds out what was chosen.
    Learner(Learner<V>),
}

impl<V> Role<V> {
    /// Breaks one rule.
    #[cfg(feature = "mutants")]
    #[must_use]
    pub fn breaking(mut self, mutant: Mutant) -> Self {
        match &mut self {
            Self::Client(_) => {} // keeps to its rules
            Self::Proposer(proposer) => proposer.mutant = Some(mutant),
            Self::Acceptor(acceptor) => acceptor.mutant = Some(mutant),
            Self::Learner(learner) => learner.mutant = Some(mutant),
        }
        self
    }
}

#[cfg(feature = "mutants")]
fn breaks(broken: Option<Mutant>, mutant: Mutant) -> bool {
    broken == Some(mutant)
}

#[cfg(not(feature = "mutants"))]
fn breaks(_: Option<Mutant>, _: Mutant) -> bool {
    false
}

impl<V: Clone + Debug> Process for Role<V> {
    type Message = Message<V>;
    type Timer = Timer;
    type Record = Record<V>;

    fn on(&mut self, event: Event<Self>, cx: &mut Context<'_, Self>) {
        match self {
            Self::Client(client) => client.on(for_role(event), &mut cx.role()),
            Self::Proposer(proposer) => proposer.on(for_role(event), &mut cx.role()),
            Self::Acceptor(acceptor) => acceptor.on(for_role(event), &mut cx.role()),
            Self::Learner(learner) => learner.on(for_role(event), &mut cx.role()),
        }
    }

    fn replay(&mut self, record: Record<V>) {
        match self {
            Self::Client(client) => client.replay(record),
            Self::Proposer(proposer) => proposer.replay(record),
            Self::Acceptor(acceptor) => acceptor.replay(record),
            Self::Learner(learner) => learner.replay(record),
        }
    }

    fn compact(&self) -> impl Iterator<Item = Record<V>> {
        let proposer = if let Self::Proposer(proposer) = self { Some(proposer.compact()) } else { None };
        let acceptor = if let Self::Acceptor(acceptor) = self { Some(acceptor.compact()) } else { None };
        // The others have nothing on disk.
        proposer.into_iter().flatten().chain(acceptor.into_iter().flatten())
    }
}

fn for_role<V, P, Q>(event: Event<P>) -> Event<Q>
where
    P: Process<Message = Message<V>, Timer = Timer>,
    Q: Process<Message = Message<V>, Timer = Timer>,
{
    match event {
        Event::Start => Event::Start,
        Event::Message { from, message } => Event::Message { from, message },
        Event::Alarm(timer) => Event::Alarm(timer),
    }
}
