//! Swami: who decides on joins and leaves of each chain, and grants the leases that its members serve by.
//!
//! | at    | hears                      | does                                     | tells                              |
//! |-------|----------------------------|------------------------------------------|------------------------------------|
//! | swami | Leads, from its log member | asks to take over                        | own log client: TakeOver           |
//! | swami | Everything, the answer     | decides, until its lead ends             |                                    |
//! | node  | alarm                      |                                          | every swami: Renew                 |
//! | swami | Renew, of who acts on its place | notes when                          | node: Granted                      |
//! | swami | Renew, of another          |                                          | node: Configure                    |
//! | swami | what `decide` makes a change of | nothing more for who is to leave    | own log client: Change             |
//! | swami | Changed, the answer        |                                          | nodes: Configure, until they act on it |
//! | node  | Configure                  | acts on it                               | every swami: ActsOn                |
//! | tail  | the joiner is in step      |                                          | every swami: ActsOn, in step       |
//! | swami | that a member should go that is well |                                | member: Retire                     |
//! | member | Retire                    | gives up its right                       | swami: Retired                     |
//!
//! Beside each member of the `_system` log stands a swami. The one whose member leads decides; the others are silent. What
//! it decides on is in `decide`, what is decided is in `system`, and no data passes through it.
//!
//! **Why nobody serves who was put out.** A node serves while its lease lives, on its own clock, counted from when it asked.
//! 1. Whoever granted the lease counts it from when it granted it, which was later, and longer by what the clocks may
//!    differ. It lets a node leave when that is over, or when the node gave up its right. From that decision on it grants
//!    that node nothing.
//! 2. Only the swami whose member leads grants: it looks at its clock at each step, and its right ends before anybody else
//!    leads ([`crate::paxos::log`], `observe`). So when another begins to decide, no lease is granted any more by those
//!    before. Each of those that they granted began before that, and the new one counts all leases from when it began: it
//!    waits for one whole lease before it lets anyone leave. No grant has to be shorter for that.
//! 3. A change that was decided earlier may come to the log late, when its node has a new lease of another swami. So
//!    whoever begins takes over first: that raises the revision of every chain, and a change that expects an older one is
//!    refused. The answer to that is also where it learns what those before it have decided.
//! 4. A node that was out for a while, or is in again, may still take itself for the member that it was. So a lease is
//!    granted only to who said that it acts on the place that it has now. Whoever is a member under an older prefix and
//!    under all since is one under the newest: nothing is committed without it.
//! 5. A change that nobody answered is asked for again and not given up, so that it is never made behind our back.
//!
//! **Why it does not put out everyone.** Who stood still has heard nobody; so a swami whose right ran out begins anew, and
//! one that was held up for shorter counts all leases anew. The last member whose lease may live stays.
//!
//! Not chosen: one lease for all chains of a node (a chain whose loop is stuck would live by its neighbours'); a grant that
//! ends with the leader's lease (a new one would still wait); swamis that all grant (they would have to agree on each).
//!
//! Source: notes "Dynamic Configuration" (swami), "ALF Locks"; van Renesse and Schneider, OSDI 2004, section 5 (the master).

mod decide;
mod decider;
mod electorate;
mod patience;
mod system;
mod watch;
mod wire;

pub use decide::{Decision, Observed, decide};
pub use decider::{Mutant, Swami};
pub use system::{
    ADDRESS_BYTES_MAX, Addresses, Answer, CHAIN_COUNT_MAX, CHAIN_LENGTH_MAX, CHANGES_LEN_MAX, Chain, Command, Founded,
    NODE_COUNT_MAX, Query, Refusal, Registered, State, System, Wanted,
};

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::time::Duration;

use quorate_model::{Context, DecodeError, Event, NodeId, Process, Reader, Wire};

use super::membership;
use crate::paxos::log::{self, Lease};

/// How long a node of a chain may serve after it asked: short, so that one that was killed has left within a quarter of a
/// second. A node asks every third of it. A clock may outrun another by half a thousandth.
pub const LEASE: Lease = Lease { term: Duration::from_millis(150), drift_per_million: 500 };

/// How long a node is waited for at most that is slow, or joins: see [`Swami::patient`].
pub const PATIENCE_MAX: Duration = Duration::from_secs(2);

/// What is said: to and by the members and clients of the log, and to and by nodes of chains.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Message {
    /// Of the log.
    Log(log::Message<System>),
    /// Of chains.
    Membership(membership::Message),
    /// Gossip to the swami of the same node: the node is reached.
    Alive(NodeId),
    /// Gossip to the swami of the same node: the node is not reached.
    Suspected(NodeId),
}

impl From<log::Message<System>> for Message {
    fn from(message: log::Message<System>) -> Self {
        Self::Log(message)
    }
}

/// The alarms.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Timer {
    /// Of the log.
    Log(log::Timer),
    /// It is time to look after everything.
    Look,
}

impl From<log::Timer> for Timer {
    fn from(timer: log::Timer) -> Self {
        Self::Log(timer)
    }
}

/// A process of the `_system` keyspace: one type for all roles, so that one host can run them.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Role {
    /// A member of the log.
    Log(Box<log::Node<System>>),
    /// The process that takes requests on a node and sees them through.
    Client(log::Client<System>),
    /// Who decides.
    Swami(Box<Swami>),
}

impl Role {
    /// The member of the log, if it is one.
    #[must_use]
    pub fn log(&self) -> Option<&log::Node<System>> {
        match self {
            Self::Log(node) => Some(node),
            Self::Client(_) | Self::Swami(_) => None,
        }
    }

    /// Who decides, if it is one.
    #[must_use]
    pub fn swami(&self) -> Option<&Swami> {
        match self {
            Self::Swami(swami) => Some(swami),
            Self::Client(_) | Self::Log(_) => None,
        }
    }
}

impl Process for Role {
    type Message = Message;
    type Timer = Timer;
    type Record = log::Record<System>;

    fn on(&mut self, event: Event<Self>, cx: &mut Context<'_, Self>) {
        match self {
            Self::Log(node) => {
                if let Some(event) = for_log(event) {
                    cx.part(|cx| node.on(event, cx));
                }
            }
            Self::Client(client) => {
                if let Some(event) = for_log(event) {
                    cx.part(|cx| client.on(event, cx));
                }
            }
            Self::Swami(swami) => swami.on(for_swami(event), &mut cx.role()),
        }
    }

    fn replay(&mut self, record: log::Record<System>) {
        match self {
            Self::Log(node) => node.replay(record),
            Self::Client(client) => client.replay(record),
            Self::Swami(swami) => swami.replay(record),
        }
    }

    fn compact(&self) -> impl Iterator<Item = log::Record<System>> {
        let (node, client, swami) = match self {
            Self::Log(node) => (Some(node.compact()), None, None),
            Self::Client(client) => (None, Some(client.compact()), None),
            Self::Swami(swami) => (None, None, Some(swami.compact())),
        };
        node.into_iter().flatten().chain(client.into_iter().flatten()).chain(swami.into_iter().flatten())
    }
}

/// What a role of the log hears of it: nothing of what is not said to the log.
fn for_log<Q: Process<Message = log::Message<System>, Timer = log::Timer>>(event: Event<Role>) -> Option<Event<Q>> {
    Some(match event {
        Event::Start => Event::Start,
        Event::Message { from, message: Message::Log(message) } => Event::Message { from, message },
        Event::Alarm(Timer::Log(timer)) => Event::Alarm(timer),
        Event::Message { .. } | Event::Alarm(_) => return None,
    })
}

fn for_swami(event: Event<Role>) -> Event<Swami> {
    match event {
        Event::Start => Event::Start,
        Event::Message { from, message } => Event::Message { from, message },
        Event::Alarm(timer) => Event::Alarm(timer),
    }
}

const LOG: u8 = 1;
const MEMBERSHIP: u8 = 2;

impl Wire for Message {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Log(message) => {
                out.push(LOG);
                message.encode(out);
            }
            Self::Membership(message) => {
                out.push(MEMBERSHIP);
                message.encode(out);
            }
            Self::Alive(_) | Self::Suspected(_) => panic!("{self:?} is said on one node only"),
        }
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(match input.byte()? {
            LOG => Self::Log(log::Message::decode(input)?),
            MEMBERSHIP => Self::Membership(membership::Message::decode(input)?),
            other => return Err(DecodeError::Unknown { what: "system message", value: other.into() }),
        })
    }
}
