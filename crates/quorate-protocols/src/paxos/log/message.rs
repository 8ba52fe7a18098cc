//! What the processes of a log tell each other, and what they write down.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use quorate_model::{Instant, Machine, NodeId};

use super::super::ballot::Ballot;
use super::members::{Members, MembersError};
use super::session::Sessions;
use crate::operation::{Entry, OperationId};

/// What an entry of the log orders.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Order<C> {
    /// The machine does this.
    Command(C),
    /// From the next slot on these are the members.
    Members(Vec<NodeId>),
}

impl<C: fmt::Debug> fmt::Debug for Order<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command(command) => write!(f, "{command:?}"),
            Self::Members(nodes) => write!(f, "Members {:?}", nodes.iter().map(|node| node.0).collect::<Vec<_>>()),
        }
    }
}

/// What one slot of the log holds.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Item<C> {
    /// A hole that an earlier leader left: nobody voted there, but for a later slot somebody did.
    Nothing,
    /// An entry.
    Entry(Entry<Order<C>>),
}

impl<C> Item<C> {
    /// Whether it changes the members.
    pub fn changes_members(&self) -> bool {
        matches!(self, Self::Entry(Entry { command: Order::Members(_), .. }))
    }

    /// The name of its operation, if it is an entry.
    pub fn operation(&self) -> Option<OperationId> {
        match self {
            Self::Nothing => None,
            Self::Entry(entry) => Some(entry.operation),
        }
    }
}

impl<C: fmt::Debug> fmt::Debug for Item<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => write!(f, "Nothing"),
            Self::Entry(entry) => write!(f, "{entry:?}"),
        }
    }
}

/// Items of consecutive slots that travel together. Shared, since a member sends, writes and keeps them.
pub type Batch<C> = Arc<[Item<C>]>;

/// A vote for what a slot holds.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vote<C> {
    /// In which ballot.
    pub ballot: Ballot,
    /// For what. In one ballot there is only one item to vote for in each slot.
    pub item: Item<C>,
}

impl<C: fmt::Debug> fmt::Debug for Vote<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}:{:?}", self.ballot, self.item)
    }
}

/// Votes, each with its slot.
pub type Votes<C> = Vec<(u64, Vote<C>)>;

/// What came of an entry.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Outcome<A> {
    /// The machine's answer.
    Answer(A),
    /// The members are changed.
    Changed,
}

/// What came of all slots up to one: enough to go on from there without them.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Base<A, S> {
    /// Up to which slot.
    pub index: u64,
    /// Who decides the next one.
    pub members: Members,
    /// No ballot below this one decided any slot up to here, or decides any that comes: whoever goes on from here takes part
    /// in none.
    pub ballot: Ballot,
    /// The sessions and the machine. Without them, the machine's own storage holds them.
    pub state: Option<(Sessions<Outcome<A>>, S)>,
}

/// What an outside asker wants.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Request<C, Q> {
    /// Change something, exactly once.
    Command(C),
    /// Read something, as it is after everything that was acknowledged before the question.
    Query(Q),
    /// Read something as the own node has it, perhaps behind, and never waiting for others.
    Peek(Q),
    /// Let these be the members.
    Members(Vec<NodeId>),
}

/// What is said.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Message<M: Machine> {
    /// Outside to client: a request, with a name of the asker's own choice.
    Ask {
        /// The asker's name for it.
        token: u64,
        /// What it wants.
        request: Request<M::Command, M::Query>,
    },
    /// Client to outside: the outcome.
    Answered {
        /// The asker's name for it.
        token: u64,
        /// What came of it.
        outcome: Outcome<M::Answer>,
    },
    /// Client to outside: too much waits already; nothing was done.
    Busy {
        /// The asker's name for it.
        token: u64,
    },
    /// Client to outside: these cannot be members; nothing was done.
    Unfit {
        /// The asker's name for it.
        token: u64,
        /// Why.
        error: MembersError,
    },
    /// Client to its own member: a query.
    Read {
        /// The client's name for it.
        operation: OperationId,
        /// What to read.
        query: M::Query,
    },
    /// Client to its own member: a query to answer from what is there.
    Peek {
        /// The client's name for it.
        operation: OperationId,
        /// What to read.
        query: M::Query,
    },
    /// Member to its own client: the answer to a query.
    ReadDone {
        /// The client's name for it.
        operation: OperationId,
        /// The answer.
        answer: M::Answer,
    },
    /// Member to its own client: entries of the client that were applied, with their outcomes.
    Applied(Vec<(OperationId, Outcome<M::Answer>)>),
    /// Outside to member: begin to make what came of the log durable in the machine's own storage.
    Checkpoint,
    /// Client to its own member, and on to the leader: order this.
    Propose {
        /// What to order.
        entry: Entry<Order<M::Command>>,
    },
    /// Candidate to members: take part in no ballot below this one any more, and say what you voted for.
    Prepare {
        /// The ballot that begins.
        ballot: Ballot,
        /// The candidate knows what was chosen up to here.
        applied: u64,
    },
    /// Member to candidate: I promise; these were my last votes.
    Promise {
        /// The ballot that was prepared.
        ballot: Ballot,
        /// I know what was chosen up to here.
        applied: u64,
        /// The slots after those that the candidate knows, with the vote of the highest ballot that I gave in each.
        votes: Votes<M::Command>,
    },
    /// Member to whoever speaks for a ballot that is over, or asks one who does not lead: there is a higher ballot.
    Refused {
        /// What was refused; the lowest ballot of all if it was a request.
        ballot: Ballot,
        /// The highest that I know.
        higher: Ballot,
    },
    /// Leader to members: vote for these.
    Accept {
        /// The leader's ballot.
        ballot: Ballot,
        /// The slot of the first of `items`.
        first: u64,
        /// The items.
        items: Batch<M::Command>,
    },
    /// Member to leader: up to here I voted in your ballot in every slot, or know what was chosen.
    Voted {
        /// The leader's ballot.
        ballot: Ballot,
        /// Up to here.
        index: u64,
        /// I know what was chosen up to here.
        applied: u64,
    },
    /// Somebody who has no vote to leader: I hold all that you put to the vote up to here.
    Held {
        /// The leader's ballot.
        ballot: Ballot,
        /// Up to here.
        index: u64,
        /// I know what was chosen up to here.
        applied: u64,
    },
    /// A member that has no memory to the others: what did I promise and vote for?
    Recall {
        /// Names the asker's life.
        nonce: u64,
        /// I know what was chosen up to here.
        applied: u64,
    },
    /// Member to one that has no memory: this is what I promised and voted for.
    Recalled {
        /// The asker's life.
        nonce: u64,
        /// No ballot below this one.
        promised: Ballot,
        /// The slots after those that the asker knows, with the vote of the highest ballot that I gave in each.
        votes: Votes<M::Command>,
    },
    /// Leader to members: everything up to here is chosen.
    Chosen {
        /// The leader's ballot: who voted in it holds what was chosen.
        ballot: Ballot,
        /// Up to here.
        index: u64,
    },
    /// To whoever is so far behind that the slots that it lacks are forgotten, or were decided by other members.
    Snapshot {
        /// The leader's ballot, or the candidate's; the lowest of all if neither leads.
        ballot: Ballot,
        /// What came of all slots up to one.
        base: Box<Base<M::Answer, M::Snapshot>>,
    },
    /// Leader to members: am I still the leader?
    Confirm {
        /// The leader's ballot.
        ballot: Ballot,
        /// Which round of questions of this ballot.
        round: u64,
    },
    /// Member to leader: I promised no higher ballot.
    Confirmed {
        /// The leader's ballot.
        ballot: Ballot,
        /// Which round.
        round: u64,
    },
    /// Member to leader: up to where must I have applied the log to answer reads that came before this?
    Question {
        /// The name of one of the reads, which names the question.
        operation: OperationId,
    },
    /// Leader to member: up to here.
    ReadAt {
        /// The question's name.
        operation: OperationId,
        /// Up to here.
        index: u64,
    },
    /// Member to its observer: we lead, and nobody else will before `until`.
    Leads {
        /// On the clock of this node.
        until: Instant,
    },
    /// Member to its observer: we lead no more.
    Follows,
    /// To the leader: I began anew, or lag; tell me how far you are.
    Nudge {
        /// I know what was chosen up to here.
        applied: u64,
    },
}

/// The alarms.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Timer {
    /// Something was not answered.
    Retry,
    /// It is time to confirm that we lead.
    Confirm,
}

/// What is written down.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Record<M: Machine> {
    /// A client's: a life of it began.
    Boot(u64),
    /// Takes part in no ballot below this one.
    Promised(Ballot),
    /// Voted for these.
    Voted {
        /// In which ballot.
        ballot: Ballot,
        /// The slot of the first of `items`.
        first: u64,
        /// The items.
        items: Batch<M::Command>,
    },
    /// Has recalled what it promised and voted for, or has nothing to recall.
    Recalled {
        /// Takes part in no ballot below this one.
        promised: Ballot,
        /// The slots with the votes.
        votes: Votes<M::Command>,
    },
    /// What came of the slots up to one.
    Base(Box<Base<M::Answer, M::Snapshot>>),
}
