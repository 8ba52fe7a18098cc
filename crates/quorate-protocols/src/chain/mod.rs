//! Chain: writes enter at the head, leave at the tail, and so have one order.
//!
//! | at     | hears             | does                              | tells                                   |
//! |--------|-------------------|-----------------------------------|-----------------------------------------|
//! | client | Ask               | number it                         | own node: Order or Read                 |
//! | node   | Order             | nothing                           | head: Propose                           |
//! | head   | Propose           | order it, append                  | next: Forward; once on disk, Durable    |
//! | middle | Forward           | append                            | next: Forward; once on disk, Durable    |
//! | tail   | Forward, Durable  | append; commit what all have      | before: Committed                       |
//! | node   | Committed         | apply                             | before: Committed; own client: Applied  |
//! | node   | Read              | nothing uncommitted touches it    | own client: ReadDone                    |
//! | node   | Read              | something does                    | tail: Question; later ReadDone          |
//!
//! A member passes a write on *before* it writes it to its own disk, and says `Durable` after: the disks turn in
//! parallel, so a put costs one disk write of time, whatever the length of the chain. `Durable` is a claim about the
//! whole way from the head to its sender. The tail commits what is durable on the way and on its own disk, that is, on
//! every member; `Committed` then runs back up. None of these waits for records that came later: a message rests on the
//! records of what it speaks of, and on no others ([`quorate_model::Context::send_without`]).
//!
//! **Why the logs never differ.** Only the head gives numbers, and before it gives one it knows that nobody has an entry
//! with this number: a member that starts anew first asks its successor for what it lost ([`Message::Hello`],
//! [`Message::Welcome`]) and answers its own predecessor only after that. So the question runs to the tail and the answer
//! comes back. Messages of an earlier life are told by the boot numbers of both ends ([`Stamp`]) and dropped.
//!
//! **Why any node may answer a read.** A committed write is in the log of every member. So a member that has no
//! uncommitted entry that touches the question has all that was acknowledged. Otherwise it asks the tail how far it has
//! committed; all reads that wait share one question. A tail that starts anew does not know how far it had committed, so
//! it answers only when it has committed again all that it found in its log.
//!
//! **Why members may come and go.** Each message carries the length of the sender's configuration prefix, and is heard under
//! the same prefix only; each node moves to a longer one when it hears of it, and writes it down first.
//! 1. What was committed under a prefix is on the disks of all its members, so on all that stay.
//! 2. A survivor that moved on claims nothing more under the old prefix, so what is not on its disk by then is not committed
//!    under it.
//! 3. A joiner is admitted only after the tail committed nothing without it, so what was committed is on its disk too.
//! 4. Only a *read* at a node that was removed and does not know it can be stale: that is what leases are for.
//!
//! See `node/configure`, `node/copy` and `node/lease`. Not chosen: an admission while the joiner still lacks something that
//! was committed. The members that have it could leave next.
//!
//! Source: notes "Chain Architecture"; van Renesse and Schneider, "Chain Replication", OSDI 2004; Terrace and Freedman,
//! "Object Storage on CRAQ", USENIX ATC 2009 (reads anywhere); Lee et al., "RIFL", SOSP 2015 (exactly once).

mod client;
mod configuration;
mod link;
mod log;
pub mod membership;
mod message;
mod node;
mod read;
mod session;
pub mod swami;
mod wire;

pub use client::{Client, ClientBounds};
pub use configuration::{Change, ChangeError, Configuration};
pub use link::Stamp;
pub use message::{Batch, Entry, Message, Next, OperationId, Record, Request, Timer};
#[cfg(feature = "mutants")]
pub use node::Mutant;
pub use node::{Node, NodeOptions, NodeStatus, Place, Trouble};
pub use session::Sessions;

use alloc::boxed::Box;
use core::hash::{Hash, Hasher};

use quorate_model::{Context, Event, Machine, Process};

/// A process of the protocol: one type for all roles, so that one host can run them.
#[derive(Clone, Debug)]
pub enum Role<M: Machine> {
    /// A member of the chain.
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
