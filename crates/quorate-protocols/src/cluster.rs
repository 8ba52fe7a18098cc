//! What one node of a cluster runs: a member of a chain, the log that decides on the members of chains, and those who speak
//! for them. One type for all of them, so that one host can drive them with one log.
//!
//! | process | speaks |
//! |---------|--------|
//! | member and client of a chain | of the chain |
//! | member and client of the `_system` log, swami | of the system |
//! | a member of a chain and a swami with each other | of membership |

use alloc::vec::Vec;

use quorate_model::{Context, DecodeError, Event, Machine, Process, Reader, Wire};

use crate::chain::{self, membership, swami};
use crate::paxos::log;

/// The keyspace of the log that decides on the members of chains: the last of all numbers, so that it is no chain's.
pub const SYSTEM_KEYSPACE: u32 = u32::MAX;

/// What is said.
#[derive(Clone, Debug)]
pub enum Message<M: Machine> {
    /// Of a chain.
    Chain(chain::Message<M>),
    /// Of the system.
    System(swami::Message),
}

/// The alarms.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Timer {
    /// Of a chain.
    Chain(chain::Timer),
    /// Of the system.
    System(swami::Timer),
}

/// What is written down.
#[derive(Clone, Debug)]
pub enum Record<M: Machine> {
    /// Of a chain.
    Chain(chain::Record<M>),
    /// Of the system.
    System(log::Record<swami::System>),
}

/// A process of a node.
#[derive(Clone, Debug)]
pub enum Role<M: Machine> {
    /// Of a chain.
    Chain(chain::Role<M>),
    /// Of the system.
    System(swami::Role),
}

impl<M: Machine> Role<M> {
    /// The member of a chain, if it is one.
    pub fn node(&self) -> Option<&chain::Node<M>> {
        match self {
            Self::Chain(role) => role.node(),
            Self::System(_) => None,
        }
    }

    /// The process of the system, if it is one.
    pub fn system(&self) -> Option<&swami::Role> {
        match self {
            Self::Chain(_) => None,
            Self::System(role) => Some(role),
        }
    }
}

impl<M: Machine> From<chain::Message<M>> for Message<M> {
    fn from(message: chain::Message<M>) -> Self {
        match message {
            // Both speak of membership; on its way it is said in one language.
            chain::Message::Membership(message) => Self::System(swami::Message::Membership(message)),
            message => Self::Chain(message),
        }
    }
}

impl<M: Machine> From<swami::Message> for Message<M> {
    fn from(message: swami::Message) -> Self {
        Self::System(message)
    }
}

impl<M: Machine> From<membership::Message> for Message<M> {
    fn from(message: membership::Message) -> Self {
        Self::System(swami::Message::Membership(message))
    }
}

impl From<chain::Timer> for Timer {
    fn from(timer: chain::Timer) -> Self {
        Self::Chain(timer)
    }
}

impl From<swami::Timer> for Timer {
    fn from(timer: swami::Timer) -> Self {
        Self::System(timer)
    }
}

impl<M: Machine> From<chain::Record<M>> for Record<M> {
    fn from(record: chain::Record<M>) -> Self {
        Self::Chain(record)
    }
}

impl<M: Machine> From<log::Record<swami::System>> for Record<M> {
    fn from(record: log::Record<swami::System>) -> Self {
        Self::System(record)
    }
}

impl<M: Machine> Process for Role<M> {
    type Message = Message<M>;
    type Timer = Timer;
    type Record = Record<M>;

    fn on(&mut self, event: Event<Self>, cx: &mut Context<'_, Self>) {
        match self {
            Self::Chain(role) => {
                if let Some(event) = for_chain(event) {
                    cx.part(|cx| role.on(event, cx));
                }
            }
            Self::System(role) => {
                if let Some(event) = for_system(event) {
                    cx.part(|cx| role.on(event, cx));
                }
            }
        }
    }

    fn replay(&mut self, record: Record<M>) {
        match (self, record) {
            (Self::Chain(role), Record::Chain(record)) => role.replay(record),
            (Self::System(role), Record::System(record)) => role.replay(record),
            (Self::Chain(_) | Self::System(_), _) => {
                panic!("the log has a record of another process under this one's name")
            }
        }
    }

    fn compact(&self) -> impl Iterator<Item = Record<M>> {
        let (chain, system) = match self {
            Self::Chain(role) => (Some(role.compact().map(Record::Chain)), None),
            Self::System(role) => (None, Some(role.compact().map(Record::System))),
        };
        chain.into_iter().flatten().chain(system.into_iter().flatten())
    }
}

/// What a process of a chain hears of it: nothing of what is not said to it.
fn for_chain<M: Machine>(event: Event<Role<M>>) -> Option<Event<chain::Role<M>>> {
    Some(match event {
        Event::Start => Event::Start,
        Event::Message { from, message: Message::Chain(message) } => Event::Message { from, message },
        Event::Message { from, message: Message::System(swami::Message::Membership(message)) } => {
            Event::Message { from, message: chain::Message::Membership(message) }
        }
        Event::Alarm(Timer::Chain(timer)) => Event::Alarm(timer),
        Event::Message { .. } | Event::Alarm(_) => return None,
    })
}

fn for_system<M: Machine>(event: Event<Role<M>>) -> Option<Event<swami::Role>> {
    Some(match event {
        Event::Start => Event::Start,
        Event::Message { from, message: Message::System(message) } => Event::Message { from, message },
        Event::Alarm(Timer::System(timer)) => Event::Alarm(timer),
        Event::Message { .. } | Event::Alarm(_) => return None,
    })
}

const CHAIN: u8 = 1;
const SYSTEM: u8 = 2;

impl<M: Machine> Wire for Message<M>
where
    chain::Message<M>: Wire,
{
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Chain(message) => {
                out.push(CHAIN);
                message.encode(out);
            }
            Self::System(message) => {
                out.push(SYSTEM);
                message.encode(out);
            }
        }
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(match input.byte()? {
            CHAIN => Self::Chain(chain::Message::decode(input)?),
            SYSTEM => Self::System(swami::Message::decode(input)?),
            other => return Err(DecodeError::Unknown { what: "message", value: other.into() }),
        })
    }
}

impl<M: Machine> Wire for Record<M>
where
    chain::Record<M>: Wire,
{
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Chain(record) => {
                out.push(CHAIN);
                record.encode(out);
            }
            Self::System(record) => {
                out.push(SYSTEM);
                record.encode(out);
            }
        }
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(match input.byte()? {
            CHAIN => Self::Chain(chain::Record::decode(input)?),
            SYSTEM => Self::System(log::Record::decode(input)?),
            other => return Err(DecodeError::Unknown { what: "record", value: other.into() }),
        })
    }
}
