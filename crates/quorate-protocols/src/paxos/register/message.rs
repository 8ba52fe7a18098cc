//! What the processes of a write-once register tell each other, and what they write down.

use core::fmt;

use super::super::ballot::Ballot;

/// A vote: the acceptor takes this value in this ballot.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vote<V> {
    /// In which ballot.
    pub ballot: Ballot,
    /// For what. In one ballot there is only one value to vote for.
    pub value: V,
}

impl<V: fmt::Debug> fmt::Debug for Vote<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}:{:?}", self.ballot, self.value)
    }
}

/// What is said.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Message<V> {
    /// Outside to client: write this, if nothing is written yet.
    Ask {
        /// The asker's name for it.
        token: u64,
        /// What to write.
        value: V,
    },
    /// Client to outside: this is what is written, for good.
    Answered {
        /// The asker's name for it.
        token: u64,
        /// What is written.
        value: V,
    },
    /// Client to outside: too many wait already; nothing was done.
    Busy {
        /// The asker's name for it.
        token: u64,
    },
    /// Client to its own proposer: bring this before the acceptors, in a new ballot.
    Propose {
        /// What to write.
        value: V,
    },
    /// Proposer to acceptors: take part in no ballot below this one any more, and say what you voted for.
    Prepare {
        /// The ballot that begins.
        ballot: Ballot,
    },
    /// Acceptor to proposer: I promise; this was my last vote.
    Promise {
        /// The ballot that was prepared.
        ballot: Ballot,
        /// The vote of the highest ballot that I gave, if I gave one.
        vote: Option<Vote<V>>,
    },
    /// Proposer to acceptors: vote for this.
    Accept {
        /// The ballot and the value.
        vote: Vote<V>,
    },
    /// Acceptor to proposer: I promised a higher ballot than yours.
    Refused {
        /// What I promised.
        promised: Ballot,
    },
    /// Acceptor to learners: I voted.
    Voted {
        /// For this.
        vote: Vote<V>,
    },
    /// Learner to clients: a quorum voted for this in one ballot.
    Chosen {
        /// The value.
        value: V,
    },
}

/// The alarms.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Timer {
    /// Nothing was chosen in time: propose again, in a higher ballot.
    Redrive,
}

/// What is written down.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Record<V> {
    /// A proposer's: it began this ballot, and never will again.
    Began(Ballot),
    /// An acceptor's: it takes part in no ballot below this one.
    Promised(Ballot),
    /// An acceptor's: it voted.
    Voted(Vote<V>),
}
