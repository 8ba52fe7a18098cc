//! The bytes of messages between nodes and of records. Numbers are on disks and on the wire: they are never used again
//! for something else. What is said on one node only has no bytes.

use alloc::vec::Vec;
use core::fmt::Debug;

use quorate_model::{DecodeError, Reader, Wire};

use super::super::ballot::Ballot;
use super::message::{Message, Record, Vote};

impl<V: Wire> Wire for Vote<V> {
    fn encode(&self, out: &mut Vec<u8>) {
        self.ballot.encode(out);
        self.value.encode(out);
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self { ballot: Ballot::decode(input)?, value: V::decode(input)? })
    }
}

const PREPARE: u8 = 1;
const PROMISE: u8 = 2;
const ACCEPT: u8 = 3;
const REFUSED: u8 = 4;
const VOTED: u8 = 5;
const CHOSEN: u8 = 6;

impl<V: Wire + Debug> Wire for Message<V> {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Prepare { ballot } => {
                out.push(PREPARE);
                ballot.encode(out);
            }
            Self::Promise { ballot, vote } => {
                out.push(PROMISE);
                ballot.encode(out);
                vote.encode(out);
            }
            Self::Accept { vote } => {
                out.push(ACCEPT);
                vote.encode(out);
            }
            Self::Refused { promised } => {
                out.push(REFUSED);
                promised.encode(out);
            }
            Self::Voted { vote } => {
                out.push(VOTED);
                vote.encode(out);
            }
            Self::Chosen { value } => {
                out.push(CHOSEN);
                value.encode(out);
            }
            Self::Ask { .. } | Self::Answered { .. } | Self::Busy { .. } | Self::Propose { .. } => {
                panic!("{self:?} is said on one node only")
            }
        }
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(match input.byte()? {
            PREPARE => Self::Prepare { ballot: Ballot::decode(input)? },
            PROMISE => Self::Promise { ballot: Ballot::decode(input)?, vote: Option::decode(input)? },
            ACCEPT => Self::Accept { vote: Vote::decode(input)? },
            REFUSED => Self::Refused { promised: Ballot::decode(input)? },
            VOTED => Self::Voted { vote: Vote::decode(input)? },
            CHOSEN => Self::Chosen { value: V::decode(input)? },
            other => return Err(DecodeError::Unknown { what: "register message", value: other.into() }),
        })
    }
}

const BEGAN: u8 = 1;
const PROMISED: u8 = 2;
const VOTE: u8 = 3;

impl<V: Wire> Wire for Record<V> {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Began(ballot) => {
                out.push(BEGAN);
                ballot.encode(out);
            }
            Self::Promised(ballot) => {
                out.push(PROMISED);
                ballot.encode(out);
            }
            Self::Voted(vote) => {
                out.push(VOTE);
                vote.encode(out);
            }
        }
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(match input.byte()? {
            BEGAN => Self::Began(Ballot::decode(input)?),
            PROMISED => Self::Promised(Ballot::decode(input)?),
            VOTE => Self::Voted(Vote::decode(input)?),
            other => return Err(DecodeError::Unknown { what: "register record", value: other.into() }),
        })
    }
}
