//! The bytes of messages between nodes and of records. Numbers are on disks and on the wire: they are never used again
//! for something else. What is said on one node only has no bytes.

use alloc::boxed::Box;
use alloc::vec::Vec;

use quorate_model::{DecodeError, Machine, Reader, Wire};

use super::super::ballot::Ballot;
use super::members::Members;
use super::message::{Base, Batch, Item, Message, Order, Outcome, Record, Vote};
use crate::operation::{Entry, OperationId};

const COMMAND: u8 = 1;
const MEMBERS: u8 = 2;

impl<C: Wire> Wire for Order<C> {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Command(command) => {
                out.push(COMMAND);
                command.encode(out);
            }
            Self::Members(nodes) => {
                out.push(MEMBERS);
                nodes.encode(out);
            }
        }
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        match input.byte()? {
            COMMAND => Ok(Self::Command(C::decode(input)?)),
            MEMBERS => {
                let nodes = Vec::decode(input)?;
                Members::check(&nodes)
                    .map_err(|_| DecodeError::Malformed("an order names no members, or one twice"))?;
                Ok(Self::Members(nodes))
            }
            other => Err(DecodeError::Unknown { what: "order", value: other.into() }),
        }
    }
}

impl<C: Wire> Wire for Item<C> {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Nothing => false.encode(out),
            Self::Entry(entry) => {
                true.encode(out);
                entry.encode(out);
            }
        }
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(if bool::decode(input)? { Self::Entry(Entry::decode(input)?) } else { Self::Nothing })
    }
}

impl<C: Wire> Wire for Vote<C> {
    fn encode(&self, out: &mut Vec<u8>) {
        self.ballot.encode(out);
        self.item.encode(out);
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self { ballot: Ballot::decode(input)?, item: Item::decode(input)? })
    }
}

impl<A: Wire> Wire for Outcome<A> {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Changed => false.encode(out),
            Self::Answer(answer) => {
                true.encode(out);
                answer.encode(out);
            }
        }
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(if bool::decode(input)? { Self::Answer(A::decode(input)?) } else { Self::Changed })
    }
}

impl<A: Wire, S: Wire> Wire for Base<A, S> {
    fn encode(&self, out: &mut Vec<u8>) {
        self.index.encode(out);
        self.members.encode(out);
        self.ballot.encode(out);
        self.state.encode(out);
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        let (index, members, ballot) = (u64::decode(input)?, Members::decode(input)?, Ballot::decode(input)?);
        Ok(Self { index, members, ballot, state: Option::decode(input)? })
    }
}

fn encode_batch<C: Wire>(batch: &Batch<C>, out: &mut Vec<u8>) {
    (batch.len() as u64).encode(out);
    for item in batch.iter() {
        item.encode(out);
    }
}

fn decode_batch<C: Wire>(first: u64, input: &mut Reader) -> Result<Batch<C>, DecodeError> {
    let items = Vec::<Item<C>>::decode(input)?;
    if first == 0 || first.checked_add(items.len() as u64).is_none() {
        return Err(DecodeError::Malformed("slots are counted from 1, and do not go on for ever"));
    }
    Ok(items.into())
}

const PROPOSE: u8 = 1;
const PREPARE: u8 = 2;
const PROMISE: u8 = 3;
const REFUSED: u8 = 4;
const ACCEPT: u8 = 5;
const VOTED: u8 = 6;
const CHOSEN: u8 = 7;
const SNAPSHOT: u8 = 8;
const CONFIRM: u8 = 9;
const CONFIRMED: u8 = 10;
const QUESTION: u8 = 11;
const READ_AT: u8 = 12;
const NUDGE: u8 = 13;
const HELD: u8 = 14;
const RECALL: u8 = 15;
const TOLD: u8 = 16;

impl<M: Machine> Wire for Message<M>
where
    M::Command: Wire,
    M::Snapshot: Wire,
{
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Propose { entry } => {
                out.push(PROPOSE);
                entry.encode(out);
            }
            Self::Prepare { ballot, applied } => put(PREPARE, *ballot, &[*applied], out),
            Self::Promise { ballot, applied, votes } => {
                put(PROMISE, *ballot, &[*applied], out);
                votes.encode(out);
            }
            Self::Refused { ballot, higher } => {
                put(REFUSED, *ballot, &[], out);
                higher.encode(out);
            }
            Self::Accept { ballot, first, items } => {
                put(ACCEPT, *ballot, &[*first], out);
                encode_batch(items, out);
            }
            Self::Voted { ballot, index, applied } => put(VOTED, *ballot, &[*index, *applied], out),
            Self::Held { ballot, index, applied } => put(HELD, *ballot, &[*index, *applied], out),
            Self::Recall { nonce, applied } => {
                out.push(RECALL);
                (*nonce, *applied).encode(out);
            }
            Self::Recalled { nonce, promised, votes } => {
                put(TOLD, *promised, &[*nonce], out);
                votes.encode(out);
            }
            Self::Chosen { ballot, index } => put(CHOSEN, *ballot, &[*index], out),
            Self::Snapshot { ballot, base } => {
                put(SNAPSHOT, *ballot, &[], out);
                base.encode(out);
            }
            Self::Confirm { ballot, round } => put(CONFIRM, *ballot, &[*round], out),
            Self::Confirmed { ballot, round } => put(CONFIRMED, *ballot, &[*round], out),
            Self::Question { operation } => {
                out.push(QUESTION);
                operation.encode(out);
            }
            Self::ReadAt { operation, index } => {
                out.push(READ_AT);
                operation.encode(out);
                index.encode(out);
            }
            Self::Nudge { applied } => {
                out.push(NUDGE);
                applied.encode(out);
            }
            Self::Ask { .. }
            | Self::Answered { .. }
            | Self::Busy { .. }
            | Self::Unfit { .. }
            | Self::Read { .. }
            | Self::Peek { .. }
            | Self::ReadDone { .. }
            | Self::Applied(_)
            | Self::Checkpoint
            | Self::Leads { .. }
            | Self::Follows => panic!("{self:?} is said on one node only"),
        }
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        let kind = input.byte()?;
        match kind {
            PROPOSE => return Ok(Self::Propose { entry: Entry::decode(input)? }),
            QUESTION => return Ok(Self::Question { operation: OperationId::decode(input)? }),
            READ_AT => {
                return Ok(Self::ReadAt { operation: OperationId::decode(input)?, index: u64::decode(input)? });
            }
            RECALL => return Ok(Self::Recall { nonce: u64::decode(input)?, applied: u64::decode(input)? }),
            NUDGE => return Ok(Self::Nudge { applied: u64::decode(input)? }),
            _ => {} // all others begin with a ballot
        }
        let ballot = Ballot::decode(input)?;
        Ok(match kind {
            PREPARE => Self::Prepare { ballot, applied: u64::decode(input)? },
            PROMISE => Self::Promise { ballot, applied: u64::decode(input)?, votes: Vec::decode(input)? },
            REFUSED => Self::Refused { ballot, higher: Ballot::decode(input)? },
            ACCEPT => {
                let first = u64::decode(input)?;
                Self::Accept { ballot, first, items: decode_batch(first, input)? }
            }
            VOTED => Self::Voted { ballot, index: u64::decode(input)?, applied: u64::decode(input)? },
            HELD => Self::Held { ballot, index: u64::decode(input)?, applied: u64::decode(input)? },
            TOLD => Self::Recalled { promised: ballot, nonce: u64::decode(input)?, votes: Vec::decode(input)? },
            CHOSEN => Self::Chosen { ballot, index: u64::decode(input)? },
            SNAPSHOT => Self::Snapshot { ballot, base: Box::decode(input)? },
            CONFIRM => Self::Confirm { ballot, round: u64::decode(input)? },
            CONFIRMED => Self::Confirmed { ballot, round: u64::decode(input)? },
            other => return Err(DecodeError::Unknown { what: "consensus message", value: other.into() }),
        })
    }
}

fn put(kind: u8, ballot: Ballot, numbers: &[u64], out: &mut Vec<u8>) {
    out.push(kind);
    ballot.encode(out);
    for number in numbers {
        number.encode(out);
    }
}

const BOOT: u8 = 1;
const PROMISED: u8 = 2;
const VOTES: u8 = 3;
const BASE: u8 = 4;
const RECALLED: u8 = 5;

impl<M: Machine> Wire for Record<M>
where
    M::Command: Wire,
    M::Snapshot: Wire,
{
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Boot(boot) => {
                out.push(BOOT);
                boot.encode(out);
            }
            Self::Promised(ballot) => put(PROMISED, *ballot, &[], out),
            Self::Voted { ballot, first, items } => {
                put(VOTES, *ballot, &[*first], out);
                encode_batch(items, out);
            }
            Self::Recalled { promised, votes } => {
                put(RECALLED, *promised, &[], out);
                votes.encode(out);
            }
            Self::Base(base) => {
                out.push(BASE);
                base.encode(out);
            }
        }
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(match input.byte()? {
            BOOT => Self::Boot(u64::decode(input)?),
            PROMISED => Self::Promised(Ballot::decode(input)?),
            VOTES => {
                let (ballot, first) = (Ballot::decode(input)?, u64::decode(input)?);
                Self::Voted { ballot, first, items: decode_batch(first, input)? }
            }
            RECALLED => Self::Recalled { promised: Ballot::decode(input)?, votes: Vec::decode(input)? },
            BASE => Self::Base(Box::decode(input)?),
            other => return Err(DecodeError::Unknown { what: "consensus record", value: other.into() }),
        })
    }
}
