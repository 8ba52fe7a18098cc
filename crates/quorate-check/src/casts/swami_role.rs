//! The processes of the swami's casts, as one type.

use quorate_model::{Context, DecodeError, Event, Process, Reader, Wire};
use quorate_protocols::chain::swami::{self, Message, State, System};
use quorate_protocols::paxos::log;

use super::swami_node::{ChainNode, NodeRecord, NodeTimer};
use super::swami_tape::{Tape, Turn};

/// A process of the cast.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum SwamiRole {
    /// Of the `_system` keyspace.
    System(swami::Role),
    /// A node of the chain.
    Node(Box<ChainNode>),
    /// All of the log, in one.
    Tape(Box<Tape>),
}

/// Its alarms.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum SwamiTimer {
    /// Of the `_system` keyspace.
    System(swami::Timer),
    /// Of a node.
    Node(NodeTimer),
    /// Of the log in one.
    Tape(Turn),
}

/// What it writes down.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum SwamiRecord {
    /// Of the `_system` keyspace.
    System(log::Record<System>),
    /// Of a node.
    Node(NodeRecord),
}

impl From<swami::Timer> for SwamiTimer {
    fn from(timer: swami::Timer) -> Self {
        Self::System(timer)
    }
}

impl From<NodeTimer> for SwamiTimer {
    fn from(timer: NodeTimer) -> Self {
        Self::Node(timer)
    }
}

impl From<Turn> for SwamiTimer {
    fn from(timer: Turn) -> Self {
        Self::Tape(timer)
    }
}

impl From<()> for SwamiRecord {
    fn from((): ()) -> Self {
        panic!("the log in one writes nothing down")
    }
}

impl From<log::Record<System>> for SwamiRecord {
    fn from(record: log::Record<System>) -> Self {
        Self::System(record)
    }
}

impl From<NodeRecord> for SwamiRecord {
    fn from(record: NodeRecord) -> Self {
        Self::Node(record)
    }
}

impl Wire for SwamiRecord {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::System(record) => {
                out.push(1);
                record.encode(out);
            }
            Self::Node(record) => {
                out.push(2);
                record.encode(out);
            }
        }
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(match input.byte()? {
            1 => Self::System(Wire::decode(input)?),
            2 => Self::Node(Wire::decode(input)?),
            other => return Err(DecodeError::Unknown { what: "record", value: other.into() }),
        })
    }
}

impl Process for SwamiRole {
    type Message = Message;
    type Timer = SwamiTimer;
    type Record = SwamiRecord;

    fn on(&mut self, event: Event<Self>, cx: &mut Context<'_, Self>) {
        match (self, event) {
            (Self::System(role), Event::Alarm(SwamiTimer::System(timer))) => {
                cx.part(|cx| role.on(Event::Alarm(timer), cx))
            }
            (Self::Node(node), Event::Alarm(SwamiTimer::Node(timer))) => cx.part(|cx| node.on(Event::Alarm(timer), cx)),
            (Self::Tape(tape), Event::Alarm(SwamiTimer::Tape(timer))) => cx.part(|cx| tape.on(Event::Alarm(timer), cx)),
            (_, Event::Alarm(_)) => {} // of another kind
            (Self::System(role), event) => cx.part(|cx| role.on(heard(event), cx)),
            (Self::Node(node), event) => cx.part(|cx| node.on(heard(event), cx)),
            (Self::Tape(tape), event) => cx.part(|cx| tape.on(heard(event), cx)),
        }
    }

    fn replay(&mut self, record: SwamiRecord) {
        match (self, record) {
            (Self::System(role), SwamiRecord::System(record)) => role.replay(record),
            (Self::Node(node), SwamiRecord::Node(record)) => node.replay(record),
            _ => panic!("a process replays what it wrote"),
        }
    }

    fn compact(&self) -> impl Iterator<Item = SwamiRecord> {
        let records: Vec<_> = match self {
            Self::System(role) => role.compact().map(SwamiRecord::System).collect(),
            Self::Node(node) => node.compact().map(SwamiRecord::Node).collect(),
            Self::Tape(_) => Vec::new(),
        };
        records.into_iter()
    }
}

impl SwamiRole {
    /// The stand-in, if it is one.
    #[must_use]
    pub fn node(&self) -> Option<&ChainNode> {
        match self {
            Self::Node(node) => Some(node),
            Self::System(_) | Self::Tape(_) => None,
        }
    }

    /// What a member of the log knows, if it is one.
    #[must_use]
    pub fn state(&self) -> Option<&State> {
        match self {
            Self::System(role) => role.log().map(|node| node.machine().state()),
            Self::Tape(tape) => Some(tape.system().state()),
            Self::Node(_) => None,
        }
    }
}

/// What is no alarm is the same to all.
fn heard<Q: Process<Message = Message>>(event: Event<SwamiRole>) -> Event<Q> {
    match event {
        Event::Message { from, message } => Event::Message { from, message },
        Event::Start | Event::Alarm(_) => Event::Start,
    }
}
