//! The bytes of messages between members and of records. Numbers are on disks and on the wire: they are never used again
//! for something else. What is said on one node only has no bytes.

use alloc::sync::Arc;
use alloc::vec::Vec;

use quorate_model::time::Instant;
use quorate_model::{DecodeError, NodeId, Reader, Wire};

use super::fact::Fact;
use super::message::{Message, News, Part, Record};

/// The most parts that one message compares: with this many it still fits a datagram.
pub(super) const PARTS_LEN_MAX: usize = 32;

const PING: u8 = 1;
const ACK: u8 = 2;
const HELP: u8 = 3;
const NACK: u8 = 4;
const COMPARE: u8 = 5;
const OFFER: u8 = 6;
const GIVE: u8 = 7;

fn put_instant(instant: Instant, out: &mut Vec<u8>) {
    instant.0.encode(out);
}

fn take_instant(input: &mut Reader) -> Result<Instant, DecodeError> {
    Ok(Instant(u64::decode(input)?))
}

fn put_news(news: &News, out: &mut Vec<u8>) {
    (news.len() as u64).encode(out);
    for fact in news {
        fact.encode(out);
    }
}

fn take_news(input: &mut Reader) -> Result<News, DecodeError> {
    Ok(Vec::<Fact>::decode(input)?.into_iter().map(Arc::new).collect())
}

impl Wire for Part {
    fn encode(&self, out: &mut Vec<u8>) {
        self.first.encode(out);
        self.last.encode(out);
        self.len.encode(out);
        out.extend_from_slice(&self.digest.to_le_bytes());
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        let (first, last) = (NodeId::decode(input)?, NodeId::decode(input)?);
        let len = u32::decode(input)?;
        let digest = input.take(8)?;
        let digest = u64::from_le_bytes(<[u8; 8]>::try_from(&digest[..]).map_err(|_| DecodeError::Short)?);
        Ok(Self { first, last, len, digest })
    }
}

impl Wire for Message {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Ping { asked, news } => {
                out.push(PING);
                put_instant(*asked, out);
                put_news(news, out);
            }
            Self::Ack { target, asked, news } => {
                out.push(ACK);
                target.encode(out);
                put_instant(*asked, out);
                put_news(news, out);
            }
            Self::Help { target, asked, news } => {
                out.push(HELP);
                target.encode(out);
                put_instant(*asked, out);
                put_news(news, out);
            }
            Self::Nack { target, asked } => {
                out.push(NACK);
                target.encode(out);
                put_instant(*asked, out);
            }
            Self::Compare(parts) => {
                out.push(COMPARE);
                parts.encode(out);
            }
            Self::Offer { first, last, facts } => {
                out.push(OFFER);
                first.encode(out);
                last.encode(out);
                put_news(facts, out);
            }
            Self::Give(facts) => {
                out.push(GIVE);
                put_news(facts, out);
            }
            Self::Describe(_)
            | Self::Leave
            | Self::Members
            | Self::Done
            | Self::Refused
            | Self::Known(_)
            | Self::Changed(_)
            | Self::Forgotten(_) => panic!("{self:?} is said on one node only"),
        }
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(match input.byte()? {
            PING => Self::Ping { asked: take_instant(input)?, news: take_news(input)? },
            ACK => {
                let (target, asked) = (NodeId::decode(input)?, take_instant(input)?);
                Self::Ack { target, asked, news: take_news(input)? }
            }
            HELP => {
                let (target, asked) = (NodeId::decode(input)?, take_instant(input)?);
                Self::Help { target, asked, news: take_news(input)? }
            }
            NACK => Self::Nack { target: NodeId::decode(input)?, asked: take_instant(input)? },
            COMPARE => {
                let parts = Vec::<Part>::decode(input)?;
                if parts.len() > PARTS_LEN_MAX {
                    return Err(DecodeError::TooLong { length: parts.len() as u64, bound: PARTS_LEN_MAX as u64 });
                }
                Self::Compare(parts)
            }
            OFFER => {
                let (first, last) = (NodeId::decode(input)?, NodeId::decode(input)?);
                Self::Offer { first, last, facts: take_news(input)? }
            }
            GIVE => Self::Give(take_news(input)?),
            other => return Err(DecodeError::Unknown { what: "gossip message", value: other.into() }),
        })
    }
}

const LIFE: u8 = 1;

impl Wire for Record {
    fn encode(&self, out: &mut Vec<u8>) {
        let Self::Life(life) = self;
        out.push(LIFE);
        life.encode(out);
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        match input.byte()? {
            LIFE => Ok(Self::Life(u64::decode(input)?)),
            other => Err(DecodeError::Unknown { what: "gossip record", value: other.into() }),
        }
    }
}
