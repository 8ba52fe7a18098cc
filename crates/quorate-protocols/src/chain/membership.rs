//! What a node and whoever decides on the members of its chain tell each other. The notes call the latter *swami*.
//!
//! | to    | message   | meaning |
//! |-------|-----------|---------|
//! | node  | Configure | act on this, if it is longer than what you act on |
//! | swami | ActsOn    | how far we are; as the tail: whether the joiner may be admitted |
//! | swami | Renew     | may we read? |
//! | node  | Granted   | yes, for so long from when you asked |
//! | node  | Retire    | you are to leave: give your right to read up |
//! | swami | Retired   | we have none, and take none that we asked for before |
//!
//! Whoever decides holds to four rules; the chain rests on them.
//! 1. Configurations are decided one after the other, each from the one directly before ([`Configuration::after`]).
//! 2. A joiner is admitted only on `in_step`, said by the tail of the newest configuration about this very configuration.
//! 3. The right to read is granted to none but those in the newest configuration that say that they act on it.
//! 4. A member leaves only when no right of its can live: either the term of the last grant has passed since, and what two
//!    clocks may differ by in that time, all on the clock of who granted; or it has `Retired`. From the moment that it is to
//!    leave nothing is granted to it.
//!
//! Several nodes may be ready to decide, of which one does: a node speaks to all, and hears any.

use alloc::vec::Vec;
use core::time::Duration;

use quorate_model::{DecodeError, Instant, Reader, Wire};

use super::configuration::Configuration;

/// When a node asked for the right to read: in which life of it, and when by its own clock. Only times of one node are
/// compared.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Asked {
    /// The life of the node.
    pub boot: u64,
    /// The moment.
    pub at: Instant,
}

/// What is said.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Message {
    /// To a node: act on this, if it is longer than what you act on.
    Configure(Configuration),
    /// From a node: how far it is.
    ActsOn {
        /// The length of the prefix that it acts on.
        prefix_len: u64,
        /// The length of the longest prefix that anyone told it of. If this is longer, it wants to be told what is in it.
        heard_len: u64,
        /// As the tail it says: the joiner has all that is committed, and nothing more is committed without it under this
        /// prefix. It may be admitted, as the next event.
        in_step: bool,
    },
    /// From a node: may it read?
    Renew {
        /// When it asks.
        asked: Asked,
        /// The length of the prefix that it acts on; 0 if it has no place in the chain, as far as it knows.
        prefix_len: u64,
    },
    /// The answer: yes.
    Granted {
        /// When the node asked: the right counts from there.
        asked: Asked,
        /// For how long.
        term: Duration,
    },
    /// To a node that is to leave: give the right to read up.
    Retire {
        /// What this is said about: the revision that the chain had when that was decided.
        revision: u64,
    },
    /// From a node: it has no right to read, and takes none that it asked for before.
    Retired {
        /// The revision that it was told.
        revision: u64,
    },
}

const CONFIGURE: u8 = 1;
const ACTS_ON: u8 = 2;
const RENEW: u8 = 3;
const GRANTED: u8 = 4;
const RETIRE: u8 = 5;
const RETIRED: u8 = 6;

impl Wire for Message {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Configure(configuration) => {
                out.push(CONFIGURE);
                configuration.encode(out);
            }
            Self::ActsOn { prefix_len, heard_len, in_step } => {
                out.push(ACTS_ON);
                prefix_len.encode(out);
                heard_len.encode(out);
                in_step.encode(out);
            }
            Self::Renew { asked, prefix_len } => {
                out.push(RENEW);
                asked.encode(out);
                prefix_len.encode(out);
            }
            Self::Granted { asked, term } => {
                out.push(GRANTED);
                asked.encode(out);
                u64::try_from(term.as_nanos()).unwrap_or(u64::MAX).encode(out);
            }
            Self::Retire { revision } => {
                out.push(RETIRE);
                revision.encode(out);
            }
            Self::Retired { revision } => {
                out.push(RETIRED);
                revision.encode(out);
            }
        }
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(match input.byte()? {
            CONFIGURE => Self::Configure(Configuration::decode(input)?),
            ACTS_ON => Self::ActsOn {
                prefix_len: u64::decode(input)?,
                heard_len: u64::decode(input)?,
                in_step: bool::decode(input)?,
            },
            RENEW => Self::Renew { asked: Asked::decode(input)?, prefix_len: u64::decode(input)? },
            GRANTED => {
                let asked = Asked::decode(input)?;
                Self::Granted { asked, term: Duration::from_nanos(u64::decode(input)?) }
            }
            RETIRE => Self::Retire { revision: u64::decode(input)? },
            RETIRED => Self::Retired { revision: u64::decode(input)? },
            other => return Err(DecodeError::Unknown { what: "membership message", value: other.into() }),
        })
    }
}

impl Wire for Asked {
    fn encode(&self, out: &mut Vec<u8>) {
        self.boot.encode(out);
        self.at.0.encode(out);
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self { boot: u64::decode(input)?, at: Instant(u64::decode(input)?) })
    }
}

#[cfg(test)]
mod tests {
    use quorate_model::NodeId;

    use super::*;

    #[test]
    fn what_is_said_comes_out_of_its_bytes() {
        let asked = Asked { boot: 3, at: Instant(7) };
        for message in [
            Message::Configure(Configuration::new(4, alloc::vec![NodeId(1), NodeId(2)])),
            Message::ActsOn { prefix_len: 4, heard_len: 5, in_step: true },
            Message::Renew { asked, prefix_len: 4 },
            Message::Granted { asked, term: Duration::from_secs(5) },
            Message::Retire { revision: 9 },
            Message::Retired { revision: 9 },
        ] {
            assert_eq!(Message::from_bytes(message.to_bytes()), Ok(message));
        }
    }
}
