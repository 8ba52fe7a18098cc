//! Addresses. Processes are composed by address, never by nesting: a process knows the pids of those it talks to.

use core::fmt;

use crate::codec::{DecodeError, Reader, Wire};

/// A node: one running `quorate serve`. Fixed by configuration, unique in its cluster.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct NodeId(pub u32);

/// What a process does for its node. New services take the next free number; numbers are on the wire.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Service {
    /// A member of a chain.
    Chain,
    /// The process that takes requests on a node and sees them through.
    Client,
    /// Whoever stands outside the system and asks it: a connection, a test, a person.
    Outside,
    /// A member of the cluster, that gossips.
    Gossip,
    /// Who promises and votes for a write-once register.
    Acceptor,
    /// Who brings values before the acceptors of a write-once register.
    Proposer,
    /// Who finds out which value of a write-once register was chosen.
    Learner,
    /// A member of a log that is decided by consensus.
    Consensus,
    /// Who decides on the members of chains.
    Swami,
}

/// The address of a process: the node that runs it, what it does there, and for which shard.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pid {
    /// The node that runs the process.
    pub node: NodeId,
    /// What the process does.
    pub service: Service,
    /// Which of several alike on that node, counted from 0: the keyspace's number, or an outside asker's.
    pub shard: u32,
}

impl Pid {
    /// The chain member of `shard` on `node`.
    #[must_use]
    pub const fn chain(node: u32, shard: u32) -> Self {
        Self { node: NodeId(node), service: Service::Chain, shard }
    }

    /// The client of `shard` on `node`.
    #[must_use]
    pub const fn client(node: u32, shard: u32) -> Self {
        Self { node: NodeId(node), service: Service::Client, shard }
    }

    /// The member that `node` is of its cluster.
    #[must_use]
    pub const fn gossip(node: u32) -> Self {
        Self { node: NodeId(node), service: Service::Gossip, shard: 0 }
    }

    /// The acceptor of register `shard` on `node`.
    #[must_use]
    pub const fn acceptor(node: u32, shard: u32) -> Self {
        Self { node: NodeId(node), service: Service::Acceptor, shard }
    }

    /// The proposer of register `shard` on `node`.
    #[must_use]
    pub const fn proposer(node: u32, shard: u32) -> Self {
        Self { node: NodeId(node), service: Service::Proposer, shard }
    }

    /// The learner of register `shard` on `node`.
    #[must_use]
    pub const fn learner(node: u32, shard: u32) -> Self {
        Self { node: NodeId(node), service: Service::Learner, shard }
    }

    /// The member on `node` of the log of `shard` that is decided by consensus.
    #[must_use]
    pub const fn consensus(node: u32, shard: u32) -> Self {
        Self { node: NodeId(node), service: Service::Consensus, shard }
    }

    /// Who decides, on `node`, on the members of chains, with the log of `shard`.
    #[must_use]
    pub const fn swami(node: u32, shard: u32) -> Self {
        Self { node: NodeId(node), service: Service::Swami, shard }
    }

    /// The outside asker number `shard` at `node`.
    #[must_use]
    pub const fn outside(node: u32, shard: u32) -> Self {
        Self { node: NodeId(node), service: Service::Outside, shard }
    }
}

impl fmt::Debug for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let service = match self.service {
            Service::Chain => "node",
            Service::Client => "client",
            Service::Outside => "outside",
            Service::Gossip => "member",
            Service::Acceptor => "acceptor",
            Service::Proposer => "proposer",
            Service::Learner => "learner",
            Service::Consensus => "member",
            Service::Swami => "swami",
        };
        write!(f, "{service}{}", self.node.0)?;
        if self.shard > 0 {
            write!(f, ".{}", self.shard)?;
        }
        Ok(())
    }
}

impl Wire for NodeId {
    fn encode(&self, out: &mut alloc::vec::Vec<u8>) {
        self.0.encode(out);
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self(u32::decode(input)?))
    }
}

impl Wire for Pid {
    fn encode(&self, out: &mut alloc::vec::Vec<u8>) {
        self.node.encode(out);
        out.push(match self.service {
            Service::Chain => 1,
            Service::Client => 2,
            Service::Outside => 3,
            Service::Gossip => 4,
            Service::Acceptor => 5,
            Service::Proposer => 6,
            Service::Learner => 7,
            Service::Consensus => 8,
            Service::Swami => 9,
        });
        self.shard.encode(out);
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        let node = NodeId::decode(input)?;
        let service = match input.byte()? {
            1 => Service::Chain,
            2 => Service::Client,
            3 => Service::Outside,
            4 => Service::Gossip,
            5 => Service::Acceptor,
            6 => Service::Proposer,
            7 => Service::Learner,
            8 => Service::Consensus,
            9 => Service::Swami,
            other => return Err(DecodeError::Unknown { what: "service", value: other.into() }),
        };
        Ok(Self { node, service, shard: u32::decode(input)? })
    }
}
