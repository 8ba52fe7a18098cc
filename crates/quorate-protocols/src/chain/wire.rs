//! The bytes of messages between nodes and of records. Numbers are on disks and on the wire: they are never used again
//! for something else. What is said on one node only has no bytes.

use alloc::vec::Vec;

use quorate_model::{DecodeError, Machine, NodeId, Reader, Wire};

use super::configuration::Configuration;
use super::link::Stamp;
use super::message::{Batch, Entry, Message, Next, OperationId, Record};
use super::session::Sessions;

impl Wire for OperationId {
    fn encode(&self, out: &mut Vec<u8>) {
        self.owner.encode(out);
        self.epoch.encode(out);
        self.number.encode(out);
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self { owner: NodeId::decode(input)?, epoch: u64::decode(input)?, number: u64::decode(input)? })
    }
}

impl<C: Wire> Wire for Entry<C> {
    fn encode(&self, out: &mut Vec<u8>) {
        self.operation.encode(out);
        self.done_below.encode(out);
        self.command.encode(out);
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self { operation: OperationId::decode(input)?, done_below: u64::decode(input)?, command: C::decode(input)? })
    }
}

fn encode_batch<C: Wire>(batch: &Batch<C>, out: &mut Vec<u8>) {
    (batch.len() as u64).encode(out);
    for entry in batch.iter() {
        entry.encode(out);
    }
}

fn decode_batch<C: Wire>(input: &mut Reader) -> Result<Batch<C>, DecodeError> {
    Ok(Vec::<Entry<C>>::decode(input)?.into())
}

const PROPOSE: u8 = 1;
const NUDGE: u8 = 2;
const HELLO: u8 = 3;
const WELCOME: u8 = 4;
const FORWARD: u8 = 5;
const DURABLE: u8 = 6;
const COMMITTED: u8 = 7;
const QUESTION: u8 = 8;
const COMMITTED_AT: u8 = 9;
const RELAY: u8 = 10;
const MEMBERSHIP: u8 = 11;
const HOLDS: u8 = 12;
const PAGE: u8 = 13;
const FETCH: u8 = 14;

impl<M: Machine> Wire for Message<M>
where
    M::Command: Wire,
{
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Propose { configuration, entry } => {
                out.push(PROPOSE);
                configuration.encode(out);
                entry.encode(out);
            }
            Self::Nudge { stamp } => {
                out.push(NUDGE);
                stamp.encode(out);
            }
            Self::Hello { stamp, last, committed } => {
                put_index(HELLO, *stamp, *last, out);
                committed.encode(out);
            }
            Self::Welcome { stamp, last, first, entries } => {
                put_index(WELCOME, *stamp, *last, out);
                first.encode(out);
                encode_batch(entries, out);
            }
            Self::Forward { stamp, first, entries } => {
                put_index(FORWARD, *stamp, *first, out);
                encode_batch(entries, out);
            }
            Self::Durable { stamp, index } => put_index(DURABLE, *stamp, *index, out),
            Self::Committed { stamp, index } => put_index(COMMITTED, *stamp, *index, out),
            Self::Question { stamp, nonce } => put_index(QUESTION, *stamp, *nonce, out),
            Self::CommittedAt { stamp, nonce, index } => {
                put_index(COMMITTED_AT, *stamp, *nonce, out);
                index.encode(out);
            }
            Self::Relay(bytes) => {
                out.push(RELAY);
                bytes.encode(out);
            }
            Self::Membership(message) => {
                out.push(MEMBERSHIP);
                message.encode(out);
            }
            Self::Holds { stamp, index } => put_index(HOLDS, *stamp, *index, out),
            Self::Page { stamp, index, at, page, next } => {
                put_index(PAGE, *stamp, *index, out);
                at.encode(out);
                page.encode(out);
                next.encode(out);
            }
            Self::Fetch { stamp, index, at } => {
                put_index(FETCH, *stamp, *index, out);
                at.encode(out);
            }
            Self::Ask { .. }
            | Self::Answered { .. }
            | Self::Busy { .. }
            | Self::NotMember { .. }
            | Self::Left { .. }
            | Self::Refused { .. }
            | Self::Swamis(_)
            | Self::Moved
            | Self::Order(_)
            | Self::Read { .. }
            | Self::ReadDone { .. }
            | Self::Applied(_)
            | Self::Peek { .. }
            | Self::Observe(_)
            | Self::Observed { .. }
            | Self::Checkpoint
            | Self::NoRoom
            | Self::RoomAgain => panic!("{self:?} is said on one node only"),
        }
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(match input.byte()? {
            PROPOSE => Self::Propose { configuration: u64::decode(input)?, entry: Entry::decode(input)? },
            NUDGE => Self::Nudge { stamp: Stamp::decode(input)? },
            HELLO => {
                let (stamp, last) = (Stamp::decode(input)?, u64::decode(input)?);
                Self::Hello { stamp, last, committed: u64::decode(input)? }
            }
            WELCOME => Self::Welcome {
                stamp: Stamp::decode(input)?,
                last: u64::decode(input)?,
                first: u64::decode(input)?,
                entries: decode_batch(input)?,
            },
            FORWARD => {
                let (stamp, first) = (Stamp::decode(input)?, u64::decode(input)?);
                Self::Forward { stamp, first, entries: decode_batch(input)? }
            }
            DURABLE => Self::Durable { stamp: Stamp::decode(input)?, index: u64::decode(input)? },
            COMMITTED => Self::Committed { stamp: Stamp::decode(input)?, index: u64::decode(input)? },
            QUESTION => Self::Question { stamp: Stamp::decode(input)?, nonce: u64::decode(input)? },
            COMMITTED_AT => Self::CommittedAt {
                stamp: Stamp::decode(input)?,
                nonce: u64::decode(input)?,
                index: u64::decode(input)?,
            },
            RELAY => Self::Relay(Wire::decode(input)?),
            MEMBERSHIP => Self::Membership(Wire::decode(input)?),
            HOLDS => Self::Holds { stamp: Stamp::decode(input)?, index: u64::decode(input)? },
            PAGE => {
                let (stamp, index) = (Stamp::decode(input)?, u64::decode(input)?);
                let (at, page) = (Wire::decode(input)?, Wire::decode(input)?);
                Self::Page { stamp, index, at, page, next: Next::decode(input)? }
            }
            FETCH => {
                let (stamp, index) = (Stamp::decode(input)?, u64::decode(input)?);
                Self::Fetch { stamp, index, at: Wire::decode(input)? }
            }
            other => return Err(DecodeError::Unknown { what: "chain message", value: other.into() }),
        })
    }
}

fn put_index(kind: u8, stamp: Stamp, index: u64, out: &mut Vec<u8>) {
    out.push(kind);
    stamp.encode(out);
    index.encode(out);
}

impl<A: Wire> Wire for Next<A> {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Page(at) => {
                out.push(NEXT_PAGE);
                at.encode(out);
            }
            Self::End(sessions) => {
                out.push(NEXT_END);
                sessions.encode(out);
            }
        }
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(match input.byte()? {
            NEXT_PAGE => Self::Page(Wire::decode(input)?),
            NEXT_END => Self::End(Sessions::decode(input)?),
            other => return Err(DecodeError::Unknown { what: "what follows a page", value: other.into() }),
        })
    }
}

const NEXT_PAGE: u8 = 1;
const NEXT_END: u8 = 2;

const BOOT: u8 = 1;
const ENTRIES: u8 = 2;
const BASE: u8 = 3;
const CONFIGURED: u8 = 4;
const IN_STEP: u8 = 5;

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
            Self::Configured(configuration) => {
                out.push(CONFIGURED);
                configuration.encode(out);
            }
            Self::InStep(prefix_len) => {
                out.push(IN_STEP);
                prefix_len.encode(out);
            }
            Self::Entries { first, entries } => {
                out.push(ENTRIES);
                first.encode(out);
                encode_batch(entries, out);
            }
            Self::Base { index, state } => {
                out.push(BASE);
                index.encode(out);
                state.encode(out);
            }
        }
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(match input.byte()? {
            BOOT => Self::Boot(u64::decode(input)?),
            CONFIGURED => Self::Configured(Configuration::decode(input)?),
            IN_STEP => Self::InStep(u64::decode(input)?),
            ENTRIES => Self::Entries { first: u64::decode(input)?, entries: decode_batch(input)? },
            BASE => {
                let index = u64::decode(input)?;
                Self::Base { index, state: Option::<(Sessions<M::Answer>, M::Snapshot)>::decode(input)? }
            }
            other => return Err(DecodeError::Unknown { what: "chain record", value: other.into() }),
        })
    }
}
