//! The bytes of the system's commands, answers and snapshots. Numbers are on disks and on the wire: they are never used
//! again for something else.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use quorate_model::{DecodeError, NodeId, Reader, Wire};

use super::super::configuration::{Change, ChangeError, Configuration};
use super::system::{Addresses, Answer, Chain, Command, Founded, Refusal, Registered, State, Wanted};

fn unknown<T>(what: &'static str, value: u8) -> Result<T, DecodeError> {
    Err(DecodeError::Unknown { what, value: value.into() })
}

fn put(kind: u8, value: &impl Wire, out: &mut Vec<u8>) {
    out.push(kind);
    value.encode(out);
}

impl Wire for Addresses {
    fn encode(&self, out: &mut Vec<u8>) {
        self.peer.encode(out);
        self.client.encode(out);
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self { peer: String::decode(input)?, client: String::decode(input)? })
    }
}

impl Wire for Wanted {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(match self {
            Self::InService => 1,
            Self::Draining => 2,
            Self::Leaving => 3,
        });
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(match input.byte()? {
            1 => Self::InService,
            2 => Self::Draining,
            3 => Self::Leaving,
            other => return unknown("wish for a node", other),
        })
    }
}

impl Wire for Registered {
    fn encode(&self, out: &mut Vec<u8>) {
        self.addresses.encode(out);
        self.added.encode(out);
        self.wanted.encode(out);
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self { addresses: Wire::decode(input)?, added: Wire::decode(input)?, wanted: Wire::decode(input)? })
    }
}

impl Wire for Change {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Join(node) => put(1, node, out),
            Self::Admit(node) => put(2, node, out),
            Self::Leave(node) => put(3, node, out),
        }
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(match input.byte()? {
            1 => Self::Join(NodeId::decode(input)?),
            2 => Self::Admit(NodeId::decode(input)?),
            3 => Self::Leave(NodeId::decode(input)?),
            other => return unknown("change of a chain", other),
        })
    }
}

impl Wire for ChangeError {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Present(node) => put(1, node, out),
            Self::Joining(node) => put(2, node, out),
            Self::Absent(node) => put(3, node, out),
            Self::OnlyMember(node) => put(4, node, out),
        }
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(match input.byte()? {
            1 => Self::Present(NodeId::decode(input)?),
            2 => Self::Joining(NodeId::decode(input)?),
            3 => Self::Absent(NodeId::decode(input)?),
            4 => Self::OnlyMember(NodeId::decode(input)?),
            other => return unknown("error of a change", other),
        })
    }
}

impl Wire for Chain {
    fn encode(&self, out: &mut Vec<u8>) {
        self.revision.encode(out);
        self.wanted_len.encode(out);
        self.configuration.encode(out);
        (self.changes.len() as u64).encode(out);
        for change in &self.changes {
            change.0.encode(out);
            change.1.encode(out);
        }
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        let (revision, wanted_len) = (u64::decode(input)?, u32::decode(input)?);
        let configuration = Configuration::decode(input)?;
        let changes = Vec::<(u64, Change)>::decode(input)?.into();
        Ok(Self { revision, wanted_len, configuration, changes })
    }
}

impl Wire for Founded {
    fn encode(&self, out: &mut Vec<u8>) {
        self.wanted_len.encode(out);
        self.members.encode(out);
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self { wanted_len: Wire::decode(input)?, members: Wire::decode(input)? })
    }
}

impl Wire for State {
    fn encode(&self, out: &mut Vec<u8>) {
        self.revision.encode(out);
        self.numbered.encode(out);
        self.nodes.encode(out);
        self.chains.encode(out);
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        let (revision, numbered) = (u64::decode(input)?, u32::decode(input)?);
        Ok(Self { revision, numbered, nodes: BTreeMap::decode(input)?, chains: BTreeMap::decode(input)? })
    }
}

const FOUND: u8 = 1;
const REGISTER: u8 = 2;
const UPDATE: u8 = 3;
const RESTORE: u8 = 4;
const DRAIN: u8 = 5;
const REMOVE: u8 = 6;
const SET_LENGTH: u8 = 7;
const TAKE_OVER: u8 = 8;
const CHANGE: u8 = 9;

impl Wire for Command {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Found { nodes, chains } => {
                put(FOUND, nodes, out);
                chains.encode(out);
            }
            Self::Register(addresses) => put(REGISTER, addresses, out),
            Self::Update(node, addresses) => {
                put(UPDATE, node, out);
                addresses.encode(out);
            }
            Self::Restore(node) => put(RESTORE, node, out),
            Self::Drain(node) => put(DRAIN, node, out),
            Self::Remove(node) => put(REMOVE, node, out),
            Self::SetLength { chain, len } => {
                put(SET_LENGTH, chain, out);
                len.encode(out);
            }
            Self::TakeOver => out.push(TAKE_OVER),
            Self::Change { chain, change, expected } => {
                put(CHANGE, chain, out);
                change.encode(out);
                expected.encode(out);
            }
        }
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(match input.byte()? {
            FOUND => Self::Found { nodes: Wire::decode(input)?, chains: Wire::decode(input)? },
            REGISTER => Self::Register(Wire::decode(input)?),
            UPDATE => Self::Update(Wire::decode(input)?, Wire::decode(input)?),
            RESTORE => Self::Restore(Wire::decode(input)?),
            DRAIN => Self::Drain(Wire::decode(input)?),
            REMOVE => Self::Remove(Wire::decode(input)?),
            SET_LENGTH => Self::SetLength { chain: Wire::decode(input)?, len: Wire::decode(input)? },
            TAKE_OVER => Self::TakeOver,
            CHANGE => Self::Change {
                chain: Wire::decode(input)?,
                change: Wire::decode(input)?,
                expected: Wire::decode(input)?,
            },
            other => return unknown("system command", other),
        })
    }
}

impl Wire for Refusal {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Founded => out.push(1),
            Self::Unfounded => out.push(2),
            Self::UnknownNode(node) => put(3, node, out),
            Self::UnknownChain(chain) => put(4, chain, out),
            Self::Leaving(node) => put(5, node, out),
            Self::Taken(node) => put(6, node, out),
            Self::Address => out.push(7),
            Self::Full => out.push(8),
            Self::Length => out.push(9),
            Self::Moved(chain) => put(10, chain, out),
            Self::Unfit(error) => put(11, error, out),
        }
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(match input.byte()? {
            1 => Self::Founded,
            2 => Self::Unfounded,
            3 => Self::UnknownNode(Wire::decode(input)?),
            4 => Self::UnknownChain(Wire::decode(input)?),
            5 => Self::Leaving(Wire::decode(input)?),
            6 => Self::Taken(Wire::decode(input)?),
            7 => Self::Address,
            8 => Self::Full,
            9 => Self::Length,
            10 => Self::Moved(Box::decode(input)?),
            11 => Self::Unfit(Wire::decode(input)?),
            other => return unknown("refusal", other),
        })
    }
}

impl Wire for Answer {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Registered(node) => put(1, node, out),
            Self::Done { revision } => put(2, revision, out),
            Self::Changed(chain) => put(3, chain, out),
            Self::Everything(state) => put(4, state, out),
            Self::Unchanged => out.push(5),
            Self::Refused(refusal) => put(6, refusal, out),
        }
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(match input.byte()? {
            1 => Self::Registered(Wire::decode(input)?),
            2 => Self::Done { revision: Wire::decode(input)? },
            3 => Self::Changed(Box::decode(input)?),
            4 => Self::Everything(Box::decode(input)?),
            5 => Self::Unchanged,
            6 => Self::Refused(Wire::decode(input)?),
            other => return unknown("system answer", other),
        })
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use quorate_model::Machine;

    use super::super::system::System;
    use super::*;

    fn at(name: &str) -> Addresses {
        Addresses { peer: String::from(name), client: String::from("c") }
    }

    /// Three nodes, and a chain of the first two.
    fn founded() -> (System, Command) {
        let chains = BTreeMap::from([(0, Founded { wanted_len: 2, members: vec![NodeId(1), NodeId(2)] })]);
        let command = Command::Found { nodes: (1..).map(NodeId).zip([at("a"), at("b"), at("c")]).collect(), chains };
        let mut system = System::default();
        assert_eq!(system.apply(1, &command), Answer::Done { revision: 1 });
        (system, command)
    }

    fn change(change: Change, expected: u64) -> Command {
        Command::Change { chain: 0, change, expected }
    }

    /// What each command is answered with, one after the other; and all that is said has bytes that give it back.
    #[test]
    fn commands_do_what_the_table_says_and_have_bytes() {
        let (mut system, found) = founded();
        let done = |revision| Answer::Done { revision };
        let refused = Answer::Refused;
        let three = NodeId(3);
        for (command, expected) in [
            (found, Some(refused(Refusal::Founded))),
            (Command::Register(at("c")), Some(Answer::Registered(three))),
            (Command::Register(at("d")), Some(Answer::Registered(NodeId(4)))),
            (Command::Register(at("")), Some(refused(Refusal::Address))),
            (Command::Update(three, at("a")), Some(refused(Refusal::Taken(NodeId(1))))),
            (Command::Update(three, at("e")), Some(done(3))),
            (Command::Drain(NodeId(9)), Some(refused(Refusal::UnknownNode(NodeId(9))))),
            (Command::SetLength { chain: 0, len: 0 }, Some(refused(Refusal::Length))),
            (Command::SetLength { chain: 1, len: 1 }, Some(refused(Refusal::UnknownChain(1)))),
            (Command::SetLength { chain: 0, len: 3 }, Some(done(4))),
            (change(Change::Join(NodeId(9)), 4), Some(refused(Refusal::UnknownNode(NodeId(9))))),
            (change(Change::Join(three), 4), None),
            (change(Change::Admit(NodeId(4)), 5), Some(refused(Refusal::Unfit(ChangeError::Absent(NodeId(4)))))),
            (change(Change::Admit(three), 4), None), // decided on what is past
            (Command::TakeOver, None),
            (change(Change::Admit(three), 5), None), // decided before another took over
            (change(Change::Admit(three), 6), None),
            (Command::Remove(NodeId(1)), Some(done(8))),
            (Command::Restore(NodeId(1)), Some(refused(Refusal::Leaving(NodeId(1))))),
            (change(Change::Leave(NodeId(1)), 7), None),
            (Command::Register(at("a")), Some(Answer::Registered(NodeId(5)))), // it was forgotten, and is another now
        ] {
            assert_eq!(Command::from_bytes(command.to_bytes()), Ok(command.clone()));
            let answer = system.apply(1, &command);
            assert_eq!(Answer::from_bytes(answer.to_bytes()), Ok(answer.clone()));
            match expected {
                Some(expected) => assert_eq!(answer, expected, "{command:?}"),
                None => assert!(!matches!(answer, Answer::Refused(Refusal::Unfit(_))), "{command:?}: {answer:?}"),
            }
            let snapshot = system.snapshot();
            assert_eq!(State::from_bytes(snapshot.to_bytes()), Ok(snapshot));
        }
        let chain = &system.state().chains[&0];
        assert_eq!(chain.configuration.members(), [NodeId(2), three]);
        assert_eq!(chain.configuration.prefix_len(), 4, "three changes were made, and two refused");
        assert!(!system.state().nodes.contains_key(&NodeId(1)), "who was removed and is in no chain is forgotten");
    }

    #[test]
    fn bytes_that_are_cut_are_an_error() {
        let (system, command) = founded();
        let (command, snapshot) = (command.to_bytes(), system.snapshot().to_bytes());
        assert!((0..command.len()).all(|len| Command::from_bytes(command.slice(..len)).is_err()));
        assert!((0..snapshot.len()).all(|len| State::from_bytes(snapshot.slice(..len)).is_err()));
    }
}
