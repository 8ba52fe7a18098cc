//! The machine of the `_system` keyspace: which nodes there are, and who the members of each chain are.
//!
//! It is small, in memory, and driven by a log that consensus decides, so that all swamis see the same. Each change raises
//! its revision by one.
//!
//! | command | changes | refused when |
//! |---------|---------|--------------|
//! | `Found` | everything, once | something is there already; it does not fit together |
//! | `Register` | a node is added, in service; the same peer address gives the same node | there are too many |
//! | `Update` | a node's addresses | unknown; another node has the peer address |
//! | `Restore` | a node is in service again | unknown; it is being removed |
//! | `Drain` | a node shall be in no chain | unknown; it is being removed |
//! | `Remove` | the same, and is forgotten when it is in none | unknown |
//! | `SetLength` | how many members a chain shall have | unknown; out of bounds |
//! | `TakeOver` | the revision of every chain: what was decided before and comes later is refused | |
//! | `Change` | a chain's configuration, as `configuration` says | the chain has another revision than was expected; it cannot follow |
//!
//! `Change` belongs to the swami: only it knows which leases may still live. Whoever wants a node out says `Drain`.
//!
//! Source: notes "Dynamic Configuration" (swami), "Optimistic Locking".

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use bytes::Bytes;
use quorate_model::{DecodeError, Machine, NodeId, Wire};

use super::super::configuration::{Change, ChangeError, Configuration};

/// The most nodes that can be registered.
pub const NODE_COUNT_MAX: usize = 1024;
/// The most chains.
pub const CHAIN_COUNT_MAX: usize = 1024;
/// The most members that a chain can be wanted to have.
pub const CHAIN_LENGTH_MAX: u32 = 16;
/// The longest an address can be, in bytes.
pub const ADDRESS_BYTES_MAX: usize = 256;
/// How many of its last changes a chain remembers.
pub const CHANGES_LEN_MAX: usize = 32;

/// Where a node is found.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Addresses {
    /// By other nodes: host and port. No two nodes share one.
    pub peer: String,
    /// By clients: host and port.
    pub client: String,
}

/// What a node is there for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Wanted {
    /// It may be a member of chains.
    InService,
    /// It shall leave all chains, each when others take its place.
    Draining,
    /// The same, and then it is forgotten.
    Leaving,
}

/// A node, as it is registered.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Registered {
    /// Where it is found.
    pub addresses: Addresses,
    /// The revision that it was added at.
    pub added: u64,
    /// What it is there for.
    pub wanted: Wanted,
}

/// A chain.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Chain {
    /// The revision at which anything of this chain or of what its nodes are there for changed last, or someone took over.
    pub revision: u64,
    /// How many members it shall have.
    pub wanted_len: u32,
    /// Who they are.
    pub configuration: Configuration,
    /// Its last changes, oldest first, each with its revision.
    pub changes: VecDeque<(u64, Change)>,
}

/// What a chain begins as.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Founded {
    /// How many members it shall have.
    pub wanted_len: u32,
    /// Its first members, head first.
    pub members: Vec<NodeId>,
}

/// A change.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Command {
    /// Let this be there from the beginning.
    Found {
        /// The nodes.
        nodes: BTreeMap<NodeId, Addresses>,
        /// The chains, by the number of their keyspace.
        chains: BTreeMap<u32, Founded>,
    },
    /// Add a node.
    Register(Addresses),
    /// A node is found elsewhere now.
    Update(NodeId, Addresses),
    /// Let the node be in service.
    Restore(NodeId),
    /// Let the node leave all chains.
    Drain(NodeId),
    /// Let the node leave all chains, and forget it.
    Remove(NodeId),
    /// Let the chain have so many members.
    SetLength {
        /// The number of its keyspace.
        chain: u32,
        /// How many.
        len: u32,
    },
    /// Somebody else decides from now on.
    TakeOver,
    /// Change a chain, if it is still as it was when that was decided.
    Change {
        /// The number of its keyspace.
        chain: u32,
        /// What changes.
        change: Change,
        /// The revision of the chain that this was decided on.
        expected: u64,
    },
}

/// A question.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Query {
    /// Everything, unless the revision is still this one.
    Since(u64),
}

/// Why a command was refused. Nothing changed.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Refusal {
    /// Something is there already, so nothing can be founded.
    Founded,
    /// What should be founded does not fit together: a chain without members, with one twice, or one that is no node.
    Unfounded,
    /// There is no such node.
    UnknownNode(NodeId),
    /// There is no such chain.
    UnknownChain(u32),
    /// The node is being removed.
    Leaving(NodeId),
    /// Another node has this peer address.
    Taken(NodeId),
    /// An address is empty or longer than [`ADDRESS_BYTES_MAX`].
    Address,
    /// There would be more than [`NODE_COUNT_MAX`] nodes or [`CHAIN_COUNT_MAX`] chains.
    Full,
    /// A chain has 1 to [`CHAIN_LENGTH_MAX`] members.
    Length,
    /// The chain has changed since: this is how it is now.
    Moved(Box<Chain>),
    /// The change cannot follow what is there.
    Unfit(ChangeError),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Founded => write!(f, "the cluster is founded already"),
            Self::Unfounded => write!(f, "a chain has no members, one of them twice, or one that is no node"),
            Self::UnknownNode(node) => write!(f, "there is no node {}", node.0),
            Self::UnknownChain(chain) => write!(f, "there is no chain {chain}"),
            Self::Leaving(node) => write!(f, "node {} is being removed: let it join as a new one", node.0),
            Self::Taken(node) => write!(f, "node {} has this address for nodes", node.0),
            Self::Address => write!(f, "an address is empty or longer than {ADDRESS_BYTES_MAX} bytes"),
            Self::Full => write!(f, "there are as many nodes or chains as there can be"),
            Self::Length => write!(f, "a chain has 1 to {CHAIN_LENGTH_MAX} members"),
            Self::Moved(_) => write!(f, "the chain has changed since: look at it and ask again"),
            Self::Unfit(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for Refusal {}

/// What came of a command or a question.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Answer {
    /// The node has this number.
    Registered(NodeId),
    /// Done.
    Done {
        /// At this revision.
        revision: u64,
    },
    /// The chain was changed, and this is how it is now.
    Changed(Box<Chain>),
    /// Everything as it is.
    Everything(Box<State>),
    /// The revision is the one that was asked about.
    Unchanged,
    /// Nothing changed.
    Refused(Refusal),
}

/// Everything that the machine knows.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct State {
    /// How many changes there were.
    pub revision: u64,
    /// The greatest number that a node ever had: none is given twice.
    pub(super) numbered: u32,
    /// The nodes.
    pub nodes: BTreeMap<NodeId, Registered>,
    /// The chains, by the number of their keyspace.
    pub chains: BTreeMap<u32, Chain>,
}

/// The machine.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct System {
    state: State,
    /// A broken rule: changes are made whatever was expected.
    ignores_revision: bool,
}

impl System {
    /// A machine that changes chains whatever was expected of them, to prove that this is noticed.
    #[cfg(feature = "mutants")]
    #[must_use]
    pub fn ignoring_revisions(mut self) -> Self {
        self.ignores_revision = true;
        self
    }

    /// Everything as it is.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }
}

impl State {
    fn next_revision(&mut self) -> u64 {
        self.revision += 1;
        self.revision
    }

    fn done(&mut self) -> Answer {
        Answer::Done { revision: self.next_revision() }
    }

    /// Whether the node is a member of a chain, or joins one.
    #[must_use]
    pub fn is_placed(&self, node: NodeId) -> bool {
        self.chains.values().any(|chain| chain.configuration.line().any(|other| other == node))
    }

    fn named(&mut self, node: NodeId) -> Result<&mut Registered, Refusal> {
        self.nodes.get_mut(&node).ok_or(Refusal::UnknownNode(node))
    }

    fn holder_of(&self, peer: &str) -> Option<NodeId> {
        self.nodes.iter().find(|(_, node)| node.addresses.peer == peer).map(|(id, _)| *id)
    }

    fn found(
        &mut self,
        nodes: &BTreeMap<NodeId, Addresses>,
        chains: &BTreeMap<u32, Founded>,
    ) -> Result<Answer, Refusal> {
        if *self != Self::default() {
            return Err(Refusal::Founded);
        }
        if nodes.len() > NODE_COUNT_MAX || chains.len() > CHAIN_COUNT_MAX {
            return Err(Refusal::Full);
        }
        let mut next = Self { revision: 1, ..Self::default() };
        for (node, addresses) in nodes {
            check(addresses)?;
            if let Some(other) = next.holder_of(&addresses.peer) {
                return Err(Refusal::Taken(other));
            }
            next.add(*node, addresses.clone());
        }
        for (keyspace, founded) in chains {
            check_len(founded.wanted_len)?;
            let members = &founded.members;
            let is_known = |(at, node)| next.nodes.contains_key(node) && !members[..at].contains(node);
            if members.is_empty() || !members.iter().enumerate().all(is_known) {
                return Err(Refusal::Unfounded);
            }
            let (configuration, changes) = (Configuration::new(1, members.clone()), VecDeque::new());
            let chain = Chain { revision: 1, wanted_len: founded.wanted_len, configuration, changes };
            next.chains.insert(*keyspace, chain);
        }
        *self = next;
        Ok(Answer::Done { revision: 1 })
    }

    fn add(&mut self, node: NodeId, addresses: Addresses) {
        self.numbered = self.numbered.max(node.0);
        self.nodes.insert(node, Registered { addresses, added: self.revision, wanted: Wanted::InService });
    }

    fn register(&mut self, addresses: &Addresses) -> Result<Answer, Refusal> {
        check(addresses)?;
        if let Some(node) = self.holder_of(&addresses.peer) {
            return Ok(Answer::Registered(node));
        }
        if self.nodes.len() >= NODE_COUNT_MAX || self.numbered == u32::MAX {
            return Err(Refusal::Full);
        }
        self.next_revision();
        let node = NodeId(self.numbered + 1);
        self.add(node, addresses.clone());
        Ok(Answer::Registered(node))
    }

    fn update(&mut self, node: NodeId, addresses: &Addresses) -> Result<Answer, Refusal> {
        check(addresses)?;
        if let Some(other) = self.holder_of(&addresses.peer).filter(|other| *other != node) {
            return Err(Refusal::Taken(other));
        }
        self.named(node)?.addresses = addresses.clone();
        Ok(self.done())
    }

    fn want(&mut self, node: NodeId, wanted: Wanted) -> Result<Answer, Refusal> {
        let registered = self.named(node)?;
        if registered.wanted == Wanted::Leaving {
            return Err(Refusal::Leaving(node));
        }
        registered.wanted = wanted;
        let revision = self.next_revision();
        // What was decided about a chain of this node was decided about another wish.
        for chain in self.chains.values_mut() {
            if chain.configuration.line().any(|other| other == node) {
                chain.revision = revision;
            }
        }
        Ok(Answer::Done { revision })
    }

    fn remove(&mut self, node: NodeId) -> Result<Answer, Refusal> {
        self.named(node)?.wanted = Wanted::Leaving;
        self.forget_left();
        Ok(self.done())
    }

    /// Forgets nodes that are removed and in no chain.
    fn forget_left(&mut self) {
        let left = self.nodes.iter().filter(|(id, node)| node.wanted == Wanted::Leaving && !self.is_placed(**id));
        let left: Vec<_> = left.map(|(id, _)| *id).collect();
        for node in left {
            self.nodes.remove(&node);
        }
    }

    fn set_len(&mut self, chain: u32, len: u32) -> Result<Answer, Refusal> {
        check_len(len)?;
        let revision = self.revision + 1;
        let found = self.chains.get_mut(&chain).ok_or(Refusal::UnknownChain(chain))?;
        (found.wanted_len, found.revision) = (len, revision);
        Ok(self.done())
    }

    fn take_over(&mut self) -> Answer {
        let revision = self.next_revision();
        for chain in self.chains.values_mut() {
            chain.revision = revision;
        }
        Answer::Everything(Box::new(self.clone()))
    }

    fn change(&mut self, number: u32, change: Change, expected: Option<u64>) -> Result<Answer, Refusal> {
        let revision = self.revision + 1;
        let chain = self.chains.get_mut(&number).ok_or(Refusal::UnknownChain(number))?;
        if expected.is_some_and(|expected| expected != chain.revision) {
            return Err(Refusal::Moved(Box::new(chain.clone())));
        }
        if let Change::Join(node) = change
            && !self.nodes.contains_key(&node)
        {
            return Err(Refusal::UnknownNode(node));
        }
        chain.configuration = chain.configuration.after(change).map_err(Refusal::Unfit)?;
        chain.revision = revision;
        chain.changes.push_back((revision, change));
        if chain.changes.len() > CHANGES_LEN_MAX {
            chain.changes.pop_front();
        }
        let chain = Box::new(chain.clone());
        self.next_revision();
        self.forget_left();
        Ok(Answer::Changed(chain))
    }
}

fn check(addresses: &Addresses) -> Result<(), Refusal> {
    let fits = |address: &String| !address.is_empty() && address.len() <= ADDRESS_BYTES_MAX;
    if fits(&addresses.peer) && fits(&addresses.client) { Ok(()) } else { Err(Refusal::Address) }
}

fn check_len(len: u32) -> Result<(), Refusal> {
    if (1..=CHAIN_LENGTH_MAX).contains(&len) { Ok(()) } else { Err(Refusal::Length) }
}

impl Machine for System {
    type Command = Command;
    type Query = Query;
    type Answer = Answer;
    type Snapshot = State;

    fn apply(&mut self, _: u64, command: &Command) -> Answer {
        let state = &mut self.state;
        let done = match command {
            Command::Found { nodes, chains } => state.found(nodes, chains),
            Command::Register(addresses) => state.register(addresses),
            Command::Update(node, addresses) => state.update(*node, addresses),
            Command::Restore(node) => state.want(*node, Wanted::InService),
            Command::Drain(node) => state.want(*node, Wanted::Draining),
            Command::Remove(node) => state.remove(*node),
            Command::SetLength { chain, len } => state.set_len(*chain, *len),
            Command::TakeOver => Ok(state.take_over()),
            Command::Change { chain, change, expected } => {
                state.change(*chain, *change, Some(*expected).filter(|_| !self.ignores_revision))
            }
        };
        done.unwrap_or_else(Answer::Refused)
    }

    fn read(&self, query: &Query) -> Answer {
        match query {
            Query::Since(revision) if *revision == self.state.revision => Answer::Unchanged,
            Query::Since(_) => Answer::Everything(Box::new(self.state.clone())),
        }
    }

    fn touches(_: &Command, _: &Query) -> bool {
        true
    }

    fn mark(&self) -> u64 {
        self.state.revision
    }

    fn snapshot(&self) -> State {
        self.state.clone()
    }

    fn restore(&mut self, snapshot: State) {
        self.state = snapshot;
    }

    fn page(snapshot: &State, _: &[u8], _: usize) -> (Bytes, Option<Bytes>) {
        (snapshot.to_bytes(), None) // it is small
    }

    fn blank(&self) -> Self {
        Self::default()
    }

    fn paste(&mut self, page: Bytes) -> Result<(), DecodeError> {
        self.state = State::from_bytes(page)?;
        Ok(())
    }

    fn weight(command: &Command) -> usize {
        let text = |addresses: &Addresses| addresses.peer.len() + addresses.client.len() + 8;
        match command {
            Command::Found { nodes, chains } => {
                nodes.values().map(text).sum::<usize>()
                    + chains.values().map(|it| 8 + 5 * it.members.len()).sum::<usize>()
            }
            Command::Register(addresses) | Command::Update(_, addresses) => text(addresses),
            _ => 16,
        }
    }
}
