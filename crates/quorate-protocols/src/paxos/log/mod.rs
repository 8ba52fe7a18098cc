//! The log: slots that are each a write-once register, under one leader, which drive a machine.
//!
//! | at        | hears                         | does                                 | tells                            |
//! |-----------|-------------------------------|--------------------------------------|----------------------------------|
//! | client    | Ask                           | number it                            | own member: Propose or Read      |
//! | follower  | Propose, Read                 |                                      | leader: Propose, Question        |
//! | member    | either, and knows no leader   | append a promise to itself           | members: Prepare                 |
//! | member    | Prepare, not below a promise  | append the promise                   | candidate: Promise, its votes    |
//! | candidate | Promise, quorum               | leads: the highest votes again       | members: Accept                  |
//! | leader    | Propose                       | give it the next slot, append a vote | members: Accept, at once         |
//! | member    | Accept, not below a promise   | append the vote                      | leader: Voted                    |
//! | leader    | Voted, quorum                 | apply                                | members: Chosen                  |
//! | member    | Chosen                        | apply                                | own client: Applied              |
//! | leader    | Question                      |                                      | members: Confirm                 |
//! | member    | Confirm, not below a promise  | grant a lease                        | leader: Confirmed                |
//! | leader    | Confirmed, quorum             |                                      | who asked: ReadAt                |
//! | leader    | Voted, of one far behind      |                                      | it: Accept of old slots, or Snapshot |
//! | any       | what is below a promise       |                                      | sender: Refused                  |
//! | leader    | Confirmed, quorum             |                                      | its observer, if any: Leads      |
//!
//! **One phase 1 for all slots.** A promise is for all slots that the candidate does not know, to the end of time. So a
//! leader whom nobody disturbs needs phase 2 alone: a command costs one round, two delays, and the disks of a quorum, which
//! turn while the question travels. Commands that come while the window of batches is full travel together in the next.
//!
//! **Why what is chosen stays.** Slot by slot, as for the register ([`super::register`]). `Voted` speaks of all slots up to
//! an index, and claims of each that the member voted there in this ballot or knows what was chosen. A member that hears
//! `Chosen` takes its vote for it only where that was given in the leader's ballot. A leader that catches a member up puts
//! old slots to the vote once more, in its own ballot: what is chosen already may be voted for in any ballot.
//!
//! **Why the order of effects is enough.** A leader counts its own vote before it is on its disk, and so may know before
//! its disk does that something is chosen; but whatever it says of that leaves only when its votes up to there are on disk
//! ([`quorate_model::Context::send_without`]). A ballot is promised by its owner, durably, before anyone hears of it, so no
//! later life uses it again.
//!
//! **Reads** are in `node/answer`, **leases** in `lease`, **changes of members** in `members`, who **tries to lead** and
//! when in `node/campaign`, who **observes** that in `node/observe`: each file has its argument.
//!
//! Not chosen: reads by a write of nothing (a round without disks is cheaper); heartbeats where nobody observes (a log that
//! nobody uses is silent); slots that different members lead (Mencius, EPaxos): swami is small and slow, and has one place to look at.
//!
//! Source: notes "Paxos Consensus" (batching and windowing, redrives); Lamport, "Paxos Made Simple", section 3; Chandra,
//! Griesemer and Redstone, "Paxos Made Live", PODC 2007 (snapshots, catch-up, leases); Lee et al., "RIFL", SOSP 2015
//! (exactly once).

mod acceptor;
mod client;
mod leader;
mod lease;
mod members;
mod message;
mod node;
mod read;
mod replica;
mod session;
mod wire;

pub use client::{Client, ClientBounds};
pub use lease::Lease;
pub use members::{Members, MembersError};
pub use message::{Base, Batch, Item, Message, Order, Outcome, Record, Request, Timer, Vote};
#[cfg(feature = "mutants")]
pub use node::Mutant;
pub use node::{Node, NodeOptions, NodeStatus};
pub use session::{Known, Sessions};

use alloc::boxed::Box;
use core::hash::{Hash, Hasher};

use quorate_model::{Context, Event, Machine, Process};

/// A process of the protocol: one type for all roles, so that one host can run them.
#[derive(Clone, Debug)]
pub enum Role<M: Machine> {
    /// A member of the log.
    Node(Box<Node<M>>),
    /// The process that takes requests on a node and sees them through.
    Client(Client<M>),
}

impl<M: Machine> Role<M> {
    /// The member, if it is one.
    pub fn node(&self) -> Option<&Node<M>> {
        match self {
            Self::Node(node) => Some(node),
            Self::Client(_) => None,
        }
    }

    /// The member, if it is one, to be changed.
    pub fn node_mut(&mut self) -> Option<&mut Node<M>> {
        match self {
            Self::Node(node) => Some(node),
            Self::Client(_) => None,
        }
    }
}

// By hand: a derive would not see that comparing a role compares commands, queries and answers.
impl<M: Machine> PartialEq for Role<M>
where
    Node<M>: PartialEq,
    Client<M>: PartialEq,
{
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Node(a), Self::Node(b)) => a == b,
            (Self::Client(a), Self::Client(b)) => a == b,
            _ => false,
        }
    }
}

impl<M: Machine> Eq for Role<M>
where
    Node<M>: Eq,
    Client<M>: Eq,
{
}

impl<M: Machine> Hash for Role<M>
where
    Node<M>: Hash,
    Client<M>: Hash,
{
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::Node(node) => node.hash(state),
            Self::Client(client) => client.hash(state),
        }
    }
}

impl<M: Machine> Process for Role<M> {
    type Message = Message<M>;
    type Timer = Timer;
    type Record = Record<M>;

    fn on(&mut self, event: Event<Self>, cx: &mut Context<'_, Self>) {
        match self {
            Self::Node(node) => node.on(for_role(event), &mut cx.role()),
            Self::Client(client) => client.on(for_role(event), &mut cx.role()),
        }
    }

    fn replay(&mut self, record: Record<M>) {
        match self {
            Self::Node(node) => node.replay(record),
            Self::Client(client) => client.replay(record),
        }
    }

    fn compact(&self) -> impl Iterator<Item = Record<M>> {
        let (node, client) = match self {
            Self::Node(node) => (Some(node.compact()), None),
            Self::Client(client) => (None, Some(client.compact())),
        };
        node.into_iter().flatten().chain(client.into_iter().flatten())
    }
}

fn for_role<M, P, Q>(event: Event<P>) -> Event<Q>
where
    M: Machine,
    P: Process<Message = Message<M>, Timer = Timer>,
    Q: Process<Message = Message<M>, Timer = Timer>,
{
    match event {
        Event::Start => Event::Start,
        Event::Message { from, message } => Event::Message { from, message },
        Event::Alarm(timer) => Event::Alarm(timer),
    }
}
