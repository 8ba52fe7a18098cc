//! Sessions: what makes an operation happen once, however often it is proposed.
//!
//! A node's client has one session for each of its lives. A session keeps the answers to its operations until the client
//! says that it has them. This is part of the replicated state, so it is in every snapshot: a member that got the machine
//! without them would apply again what others know to be done.
//!
//! Source: notes "Why They Suck" (assign every operation an id); Lee et al., "RIFL", SOSP 2015.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use quorate_model::{DecodeError, NodeId, Reader, Wire};

use crate::operation::OperationId;

/// All sessions, one for each node.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Sessions<A> {
    by_owner: BTreeMap<NodeId, Session<A>>,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
struct Session<A> {
    epoch: u64,
    done_below: u64,
    answers: BTreeMap<u64, A>,
}

/// What is known of an operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Known<'a, A> {
    /// It was not applied.
    New,
    /// It was applied, with this answer.
    Answered(&'a A),
    /// Its client has its answer, or is no more. It must not be applied.
    Over,
}

impl<A> Sessions<A> {
    /// No sessions.
    #[must_use]
    pub fn new() -> Self {
        Self { by_owner: BTreeMap::new() }
    }

    /// What is known of `operation`.
    #[must_use]
    pub fn known(&self, operation: OperationId) -> Known<'_, A> {
        let Some(session) = self.by_owner.get(&operation.owner) else { return Known::New };
        if operation.epoch > session.epoch {
            return Known::New;
        }
        if operation.epoch < session.epoch || operation.number < session.done_below {
            return Known::Over;
        }
        session.answers.get(&operation.number).map_or(Known::New, Known::Answered)
    }

    /// Remembers the answer to an operation that was new, and forgets the answers that its client has.
    pub fn remember(&mut self, operation: OperationId, done_below: u64, answer: A) {
        let fresh = || Session { epoch: operation.epoch, done_below: 0, answers: BTreeMap::new() };
        let session = self.by_owner.entry(operation.owner).or_insert_with(fresh);
        if operation.epoch > session.epoch {
            *session = fresh();
        }
        if done_below > session.done_below {
            session.done_below = done_below;
            session.answers = session.answers.split_off(&done_below);
        }
        session.answers.insert(operation.number, answer);
    }
}

impl<A> Default for Sessions<A> {
    fn default() -> Self {
        Self::new()
    }
}

impl<A: Wire> Wire for Sessions<A> {
    fn encode(&self, out: &mut Vec<u8>) {
        self.by_owner.encode(out);
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self { by_owner: BTreeMap::decode(input)? })
    }
}

impl<A: Wire> Wire for Session<A> {
    fn encode(&self, out: &mut Vec<u8>) {
        self.epoch.encode(out);
        self.done_below.encode(out);
        self.answers.encode(out);
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self { epoch: u64::decode(input)?, done_below: u64::decode(input)?, answers: BTreeMap::decode(input)? })
    }
}
