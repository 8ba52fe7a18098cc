//! What the processes of a chain tell each other, and what they write down.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use bytes::Bytes;
use quorate_model::{Machine, NodeId, Pid};

use super::configuration::Configuration;
use super::link::Stamp;
use super::membership;
use super::session::Sessions;

/// The name of an operation: the client's session, and which of its operations. Applied at most once.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperationId {
    /// The node whose client asked.
    pub owner: NodeId,
    /// Which life of that client; grows with each start.
    pub epoch: u64,
    /// Which operation of that life, counted from 1.
    pub number: u64,
}

// Short, since traces and diagrams are full of them: node, epoch, number.
impl fmt::Debug for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.owner.0, self.epoch, self.number)
    }
}

impl<C: fmt::Debug> fmt::Debug for Entry<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?}", self.operation, self.command)
    }
}

/// One place of the log.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Entry<C> {
    /// Whose command.
    pub operation: OperationId,
    /// The client needs no answer any more to its operations below this number.
    pub done_below: u64,
    /// What to do.
    pub command: C,
}

/// Entries that travel together. Shared, since a member sends, writes and keeps them.
pub type Batch<C> = Arc<[Entry<C>]>;

/// What an outside asker wants.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Request<C, Q> {
    /// Change something, exactly once.
    Command(C),
    /// Read something, as it is after everything that was acknowledged before the question.
    Query(Q),
    /// Read something as the own node has it, perhaps behind, and never waiting for others.
    Peek(Q),
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
    /// Client to outside: the answer.
    Answered {
        /// The asker's name for it.
        token: u64,
        /// The answer.
        answer: M::Answer,
    },
    /// Client to outside: too much waits already; nothing was done.
    Busy {
        /// The asker's name for it.
        token: u64,
    },
    /// Client to outside: this node is no member. Nothing was done; another node can be asked.
    NotMember {
        /// The asker's name for it.
        token: u64,
    },
    /// Client to outside: this node is no member any more. It is not known whether the command was, or will be, executed.
    Left {
        /// The asker's name for it.
        token: u64,
    },
    /// Node to its own client: we are no member.
    Refused {
        /// The client's name for what it asked.
        operation: OperationId,
        /// Whether we may have passed it on to the head while we were one.
        passed_on: bool,
    },
    /// Client to its own node: a query.
    Read {
        /// The client's name for it.
        operation: OperationId,
        /// What to read.
        query: M::Query,
    },
    /// Node to its own client: the answer to a query.
    ReadDone {
        /// The client's name for it.
        operation: OperationId,
        /// The answer.
        answer: M::Answer,
    },
    /// Node to its own client: commands of the client that were applied, with their answers.
    Applied(Vec<(OperationId, M::Answer)>),
    /// Client to its own node: a query to answer from what is there.
    Peek {
        /// The client's name for it.
        operation: OperationId,
        /// What to read.
        query: M::Query,
    },
    /// Outside to node: answer this query whenever something was applied, or no longer.
    Observe(Option<M::Query>),
    /// Node to its observer outside: something was applied.
    Observed {
        /// See [`Machine::mark`].
        mark: u64,
        /// The answer to the query that the observer gave, if it gave one.
        answer: Option<M::Answer>,
    },
    /// Outside to node: begin to make what came of the log durable in the machine's own storage.
    Checkpoint,
    /// Outside to node: the disk or the log has no room. Until there is room again, nothing new is taken.
    NoRoom,
    /// Outside to node: there is room again.
    RoomAgain,
    /// One outsider to another: bytes that the protocol carries and does not read. May be lost.
    Relay(Bytes),
    /// Outside to node: from now on these may decide on the members of the chain. One of them does, we speak to all.
    Swamis(Vec<Pid>),
    /// Node to its own client: I act on another configuration. What waits may have been dropped: ask it again.
    Moved,
    /// Between a node and whoever decides on the members of the chain.
    Membership(membership::Message),
    /// Client to its own node: order this.
    Order(Entry<M::Command>),
    /// To the head: order this.
    Propose {
        /// The length of the sender's configuration prefix.
        configuration: u64,
        /// What to order.
        entry: Entry<M::Command>,
    },
    /// To the predecessor: I began anew; greet me.
    Nudge {
        /// Which lives.
        stamp: Stamp,
    },
    /// To the successor: this is where my log ends; how about yours?
    Hello {
        /// The last index of the sender's log.
        last: u64,
        /// The last index that the sender knows to be committed.
        committed: u64,
        /// Which lives.
        stamp: Stamp,
    },
    /// To the predecessor: this is where my log ends, and what you lack of it.
    Welcome {
        /// The last index of the sender's log.
        last: u64,
        /// The index of the first of `entries`.
        first: u64,
        /// What the receiver lacks, or as much of it as fits a message.
        entries: Batch<M::Command>,
        /// Which lives.
        stamp: Stamp,
    },
    /// To the successor: the next entries.
    Forward {
        /// The index of the first of `entries`.
        first: u64,
        /// The entries.
        entries: Batch<M::Command>,
        /// Which lives.
        stamp: Stamp,
    },
    /// To the successor: all members from the head to the sender have everything up to `index` on disk.
    Durable {
        /// Up to here.
        index: u64,
        /// Which lives.
        stamp: Stamp,
    },
    /// From the joiner to the tail: everything up to `index` is on its disk.
    Holds {
        /// Up to here.
        index: u64,
        /// Which lives.
        stamp: Stamp,
    },
    /// To the joiner: a page of what came of the log.
    Page {
        /// Of everything up to this index of the log.
        index: u64,
        /// Where it begins, as the page before said; empty for the first.
        at: Bytes,
        /// The page.
        page: Bytes,
        /// What follows it.
        next: Next<M::Answer>,
        /// Which lives.
        stamp: Stamp,
    },
    /// From the joiner: give me the page that begins here.
    Fetch {
        /// Of which copy.
        index: u64,
        /// Where the page begins.
        at: Bytes,
        /// Which lives.
        stamp: Stamp,
    },
    /// To the predecessor, and from the tail to the joiner: everything up to `index` is on every member's disk, for good.
    Committed {
        /// Up to here.
        index: u64,
        /// Which lives.
        stamp: Stamp,
    },
    /// To the tail: how far have you committed?
    Question {
        /// Which question of this life.
        nonce: u64,
        /// Which lives.
        stamp: Stamp,
    },
    /// From the tail: so far, at some moment after the question.
    CommittedAt {
        /// Which question.
        nonce: u64,
        /// So far.
        index: u64,
        /// Which lives.
        stamp: Stamp,
    },
}

/// What follows a page of a copy.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Next<A> {
    /// A page that begins here.
    Page(Bytes),
    /// Nothing. Beside the pages there are the sessions.
    End(Sessions<A>),
}

/// The alarms.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Timer {
    /// Say again what was not answered.
    Retry,
    /// Order what came in since.
    Order,
    /// Ask for the right to read.
    Renew,
}

/// What is written down.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Record<M: Machine> {
    /// A life of the process began.
    Boot(u64),
    /// The configuration to act on from now on.
    Configured(Configuration),
    /// As the tail: nothing is committed without the joiner while the prefix of this length is acted on.
    InStep(u64),
    /// Entries, the first of them at index `first`.
    Entries {
        /// The index of the first of `entries`.
        first: u64,
        /// The entries.
        entries: Batch<M::Command>,
    },
    /// What came of everything up to `index`. Without a state, the machine's own storage holds it.
    Base {
        /// Up to here.
        index: u64,
        /// The sessions and the machine.
        state: Option<(Sessions<M::Answer>, M::Snapshot)>,
    },
}

impl<M: Machine> Message<M> {
    /// The length of the configuration prefix that a member said it under; nothing for what is said outside of all.
    pub(super) fn prefix_len(&self) -> Option<u64> {
        match self {
            Self::Propose { configuration, .. } => Some(*configuration),
            Self::Nudge { stamp }
            | Self::Hello { stamp, .. }
            | Self::Welcome { stamp, .. }
            | Self::Forward { stamp, .. }
            | Self::Durable { stamp, .. }
            | Self::Holds { stamp, .. }
            | Self::Page { stamp, .. }
            | Self::Fetch { stamp, .. }
            | Self::Committed { stamp, .. }
            | Self::Question { stamp, .. }
            | Self::CommittedAt { stamp, .. } => Some(stamp.configuration),
            _ => None,
        }
    }
}
