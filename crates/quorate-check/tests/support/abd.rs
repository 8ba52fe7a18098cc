//! ABD: an atomic register on a majority of storages.
//!
//! | at      | hears           | does                  | tells                         |
//! |---------|-----------------|-----------------------|-------------------------------|
//! | client  | Read, Write     | next round            | storages: Query               |
//! | storage | Query           |                       | Held(version, value)          |
//! | client  | Held, majority  | highest (+1 to write) | storages: Store               |
//! | storage | Store           | append, if newer      | Ack                           |
//! | client  | Ack, majority   |                       | outside: Value or Written     |
//!
//! Mutants: a reader that does not write back; a storage that forgets (no log).
//! Source: notes "ABD Algorithm".

use quorate_model::{Context, DecodeError, Event, Pid, Process, Reader, Wire};

/// The counter first; then what no other write has: the writer's round, and the writer.
pub type Version = (u64, u64);

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Message {
    Read,
    Write(u64),
    Value(u64),
    Written,
    Query { round: u64 },
    Held { round: u64, version: Version, value: u64 },
    Store { round: u64, version: Version, value: u64 },
    Ack { round: u64 },
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Took {
    pub version: Version,
    pub value: u64,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Role {
    Storage(Storage),
    Client(Client),
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Storage {
    pub version: Version,
    pub value: u64,
    pub keeps_log: bool,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Client {
    pub storages: Vec<Pid>,
    pub writes_back: bool,
    /// Asks again when no majority answered in time.
    pub patient: bool,
    pub round: u64,
    pub phase: Phase,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Phase {
    Idle,
    /// A majority is asked what it holds; `write` is the value to write, if this is a write.
    Asking {
        asker: Pid,
        write: Option<u64>,
        heard: Vec<Pid>,
        highest: (Version, u64),
    },
    /// A majority is told to store.
    Telling {
        asker: Pid,
        answer: Message,
        version: Version,
        value: u64,
        heard: Vec<Pid>,
    },
}

impl Role {
    pub fn storage() -> Self {
        Self::Storage(Storage { version: (0, 0), value: 0, keeps_log: true })
    }

    pub fn forgetful_storage() -> Self {
        Self::Storage(Storage { version: (0, 0), value: 0, keeps_log: false })
    }

    pub fn client(storages: &[Pid]) -> Self {
        let storages = storages.to_vec();
        Self::Client(Client { storages, writes_back: true, patient: false, round: 0, phase: Phase::Idle })
    }

    pub fn hasty_client(storages: &[Pid]) -> Self {
        let storages = storages.to_vec();
        Self::Client(Client { storages, writes_back: false, patient: false, round: 0, phase: Phase::Idle })
    }

    pub fn hasty_patient_client(storages: &[Pid]) -> Self {
        let storages = storages.to_vec();
        Self::Client(Client { storages, writes_back: false, patient: true, round: 0, phase: Phase::Idle })
    }

    pub fn patient_client(storages: &[Pid]) -> Self {
        let storages = storages.to_vec();
        Self::Client(Client { storages, writes_back: true, patient: true, round: 0, phase: Phase::Idle })
    }
}

pub const AGAIN: std::ops::Range<std::time::Duration> =
    std::time::Duration::from_millis(100)..std::time::Duration::from_millis(200);

impl Process for Role {
    type Message = Message;
    type Timer = ();
    type Record = Took;

    fn on(&mut self, event: Event<Self>, cx: &mut Context<'_, Self>) {
        match self {
            Self::Storage(_) => self.on_storage(event, cx),
            Self::Client(client) => client.on(event, cx),
        }
    }

    fn replay(&mut self, record: Took) {
        let Self::Storage(storage) = self else { panic!("only a storage has records") };
        storage.version = record.version;
        storage.value = record.value;
    }

    fn compact(&self) -> impl Iterator<Item = Took> {
        let took = match self {
            Self::Storage(storage) if storage.version > (0, 0) => {
                Some(Took { version: storage.version, value: storage.value })
            }
            _ => None,
        };
        took.into_iter()
    }
}

impl Role {
    fn on_storage(&mut self, event: Event<Self>, cx: &mut Context<'_, Self>) {
        let Self::Storage(storage) = &*self else { return };
        match event {
            Event::Message { from, message: Message::Query { round } } => {
                let (version, value) = (storage.version, storage.value);
                cx.send(from, Message::Held { round, version, value });
            }
            Event::Message { from, message: Message::Store { round, version, value } } => {
                if version > storage.version {
                    let record = Took { version, value };
                    if storage.keeps_log {
                        cx.append(self, record);
                    } else {
                        self.replay(record);
                    }
                }
                cx.send(from, Message::Ack { round });
            }
            _ => {} // a storage asks nothing, so nothing else is for it
        }
    }
}

impl Client {
    fn majority(&self) -> usize {
        self.storages.len() / 2 + 1
    }

    fn tell_all(&self, message: &Message, cx: &mut Context<'_, Role>) {
        for storage in &self.storages {
            cx.send(*storage, message.clone());
        }
        if self.patient {
            cx.set((), AGAIN);
        }
    }

    fn on(&mut self, event: Event<Role>, cx: &mut Context<'_, Role>) {
        match (&mut self.phase, event) {
            // The chip clock never goes back, so no round of an earlier life comes again, nor a version made in it.
            (_, Event::Start) => self.round = cx.now.0,
            (Phase::Idle, Event::Message { from, message: message @ (Message::Read | Message::Write(_)) }) => {
                let write = if let Message::Write(value) = message { Some(value) } else { None };
                self.round += 1;
                self.phase = Phase::Asking { asker: from, write, heard: Vec::new(), highest: ((0, 0), 0) };
                self.tell_all(&Message::Query { round: self.round }, cx);
            }
            (
                Phase::Asking { asker, write, heard, highest },
                Event::Message { from, message: Message::Held { round, version, value } },
            ) if round == self.round => {
                if !heard.contains(&from) {
                    heard.push(from);
                    heard.sort();
                }
                *highest = (*highest).max((version, value));
                if heard.len() < self.storages.len() / 2 + 1 {
                    return;
                }
                let (asker, (highest, held)) = (*asker, *highest);
                match *write {
                    None if !self.writes_back => {
                        self.phase = Phase::Idle;
                        cx.stop(());
                        cx.send(asker, Message::Value(held));
                    }
                    None => self.tell(asker, Message::Value(held), highest, held, cx),
                    Some(value) => self.tell(
                        asker,
                        Message::Written,
                        (highest.0 + 1, self.round << 8 | u64::from(cx.me.node.0)),
                        value,
                        cx,
                    ),
                }
            }
            (Phase::Telling { asker, answer, heard, .. }, Event::Message { from, message: Message::Ack { round } })
                if round == self.round =>
            {
                if !heard.contains(&from) {
                    heard.push(from);
                    heard.sort();
                }
                if heard.len() < self.storages.len() / 2 + 1 {
                    return;
                }
                cx.send(*asker, answer.clone());
                self.phase = Phase::Idle;
                cx.stop(());
            }
            (Phase::Asking { .. }, Event::Alarm(())) => self.tell_all(&Message::Query { round: self.round }, cx),
            (Phase::Telling { version, value, .. }, Event::Alarm(())) => {
                let message = Message::Store { round: self.round, version: *version, value: *value };
                self.tell_all(&message, cx);
            }
            _ => {} // an answer to a round that is over
        }
    }

    fn tell(&mut self, asker: Pid, answer: Message, version: Version, value: u64, cx: &mut Context<'_, Role>) {
        self.round += 1;
        self.phase = Phase::Telling { asker, answer, version, value, heard: Vec::new() };
        self.tell_all(&Message::Store { round: self.round, version, value }, cx);
    }
}

impl Wire for Message {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Read => out.push(1),
            Self::Write(value) => {
                out.push(2);
                value.encode(out);
            }
            Self::Value(value) => {
                out.push(3);
                value.encode(out);
            }
            Self::Written => out.push(4),
            Self::Query { round } => {
                out.push(5);
                round.encode(out);
            }
            Self::Held { round, version, value } => {
                out.push(6);
                ((*round, *version), *value).encode(out);
            }
            Self::Store { round, version, value } => {
                out.push(7);
                ((*round, *version), *value).encode(out);
            }
            Self::Ack { round } => {
                out.push(8);
                round.encode(out);
            }
        }
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(match input.byte()? {
            1 => Self::Read,
            2 => Self::Write(u64::decode(input)?),
            3 => Self::Value(u64::decode(input)?),
            4 => Self::Written,
            5 => Self::Query { round: u64::decode(input)? },
            6 => {
                let ((round, version), value) = Wire::decode(input)?;
                Self::Held { round, version, value }
            }
            7 => {
                let ((round, version), value) = Wire::decode(input)?;
                Self::Store { round, version, value }
            }
            8 => Self::Ack { round: u64::decode(input)? },
            other => return Err(DecodeError::Unknown { what: "ABD message", value: other.into() }),
        })
    }
}

impl Wire for Took {
    fn encode(&self, out: &mut Vec<u8>) {
        (self.version, self.value).encode(out);
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        let (version, value) = Wire::decode(input)?;
        Ok(Self { version, value })
    }
}

use quorate_check::linearizable::{RegisterMap, RegisterOp, RegisterRet};
use quorate_check::{Call, Cast};

/// One register, called 0.
pub type Spec = RegisterMap<u8, u64>;

pub fn call(ask: &Message, answer: Option<&Message>) -> Option<Call<RegisterOp<u8, u64>, RegisterRet<u64>>> {
    let op = match ask {
        Message::Write(value) => RegisterOp::Write(0, Some(*value)),
        _ => RegisterOp::Read(0),
    };
    let ret = answer.map(|answer| match answer {
        // 0 stands for a register that nobody wrote.
        Message::Value(0) => RegisterRet::Value(None),
        Message::Value(value) => RegisterRet::Value(Some(*value)),
        _ => RegisterRet::Written,
    });
    Some(Call { op, ret })
}

pub fn storage_pids(count: u32) -> Vec<Pid> {
    (1..=count).map(|node| Pid::chain(node, 0)).collect()
}

/// `count` storages, and one client for each script, each at a node of its own.
pub fn cast(
    count: u32,
    storage: fn() -> Role,
    client: fn(&[Pid]) -> Role,
    scripts: impl IntoIterator<Item = Vec<Message>>,
) -> Cast<Role> {
    let storages = storage_pids(count);
    let mut cast = Cast::new();
    for pid in &storages {
        cast = cast.process(*pid, storage());
    }
    for (index, script) in scripts.into_iter().enumerate() {
        let node = 11 + index as u32;
        cast = cast.process(Pid::client(node, 0), client(&storages));
        cast = cast.asks(Pid::outside(node, 0), Pid::client(node, 0), script);
    }
    cast.linearizable("the register is atomic", Spec::new(), call)
}
