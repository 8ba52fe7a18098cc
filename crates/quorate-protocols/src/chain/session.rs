//! Sessions: what makes an operation happen once, however often it is proposed.
//!
//! A node's client has one session for each of its lives. A session remembers the numbers of its operations that were
//! applied, until the client says that it has their answers. This is part of the replicated state: every member decides
//! alike, also after a restart. The answers themselves are kept by the member on the client's own node alone: nobody
//! else is ever asked for them again.
//!
//! Source: notes "Why They Suck" (assign every operation an id); Lee et al., "RIFL", SOSP 2015.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use quorate_model::{DecodeError, NodeId, Reader, Wire};

use super::message::OperationId;

/// All sessions, one for each node, as the member on one of them keeps them.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Sessions<A> {
    me: NodeId,
    by_owner: BTreeMap<NodeId, Session>,
    /// To the operations of our own client that its session remembers.
    answers: BTreeMap<u64, A>,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
struct Session {
    epoch: u64,
    done_below: u64,
    applied: BTreeSet<u64>,
}

/// What is known of an operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Known<'a, A> {
    /// It was not applied.
    New,
    /// It was applied; with this answer, if its client is our own.
    Applied(Option<&'a A>),
    /// Its client has its answer, or is no more. It must not be applied.
    Over,
}

impl<A> Sessions<A> {
    /// No sessions, on the node `me`.
    #[must_use]
    pub fn new(me: NodeId) -> Self {
        Self { me, by_owner: BTreeMap::new(), answers: BTreeMap::new() }
    }

    /// The same sessions, as a member on `node` begins with: it has no answers of its own.
    #[must_use]
    pub fn on(&self, node: NodeId) -> Self {
        Self { me: node, by_owner: self.by_owner.clone(), answers: BTreeMap::new() }
    }

    /// The node whose client's answers are kept.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.me
    }

    /// How many answers are kept.
    #[must_use]
    pub fn answers_len(&self) -> usize {
        self.answers.len()
    }

    /// Whether both know the same of every operation. What they keep of the answers differs from node to node.
    #[must_use]
    pub fn know_the_same(&self, other: &Self) -> bool {
        self.by_owner == other.by_owner
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
        if !session.applied.contains(&operation.number) {
            return Known::New;
        }
        Known::Applied(self.answers.get(&operation.number).filter(|_| operation.owner == self.me))
    }

    /// Remembers that an operation that was new was applied, and forgets what its client needs no more.
    pub fn remember(&mut self, operation: OperationId, done_below: u64, answer: &A)
    where
        A: Clone,
    {
        let fresh = || Session { epoch: operation.epoch, done_below: 0, applied: BTreeSet::new() };
        let session = self.by_owner.entry(operation.owner).or_insert_with(fresh);
        if operation.epoch > session.epoch {
            *session = fresh();
            if operation.owner == self.me {
                self.answers.clear();
            }
        }
        session.done_below = session.done_below.max(done_below);
        while session.applied.first().is_some_and(|number| *number < session.done_below) {
            session.applied.pop_first();
        }
        session.applied.insert(operation.number);
        if operation.owner == self.me {
            while self.answers.first_key_value().is_some_and(|(number, _)| *number < session.done_below) {
                self.answers.pop_first();
            }
            self.answers.insert(operation.number, answer.clone());
        }
    }
}

impl<A: Wire> Wire for Sessions<A> {
    fn encode(&self, out: &mut Vec<u8>) {
        self.me.encode(out);
        self.by_owner.encode(out);
        self.answers.encode(out);
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self { me: NodeId::decode(input)?, by_owner: BTreeMap::decode(input)?, answers: BTreeMap::decode(input)? })
    }
}

impl Wire for Session {
    fn encode(&self, out: &mut Vec<u8>) {
        self.epoch.encode(out);
        self.done_below.encode(out);
        self.applied.iter().copied().collect::<Vec<u64>>().encode(out);
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        let (epoch, done_below) = (u64::decode(input)?, u64::decode(input)?);
        Ok(Self { epoch, done_below, applied: Vec::decode(input)?.into_iter().collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: NodeId = NodeId(1);
    const OTHER: NodeId = NodeId(2);

    fn operation(epoch: u64, number: u64) -> OperationId {
        OperationId { owner: OWNER, epoch, number }
    }

    #[test]
    fn an_answer_is_kept_until_the_client_has_it_and_no_longer() {
        let mut sessions = Sessions::new(OWNER);
        sessions.remember(operation(1, 1), 1, &'a');
        sessions.remember(operation(1, 2), 1, &'b');
        assert_eq!(sessions.known(operation(1, 1)), Known::Applied(Some(&'a')));
        sessions.remember(operation(1, 3), 2, &'c');
        assert_eq!(sessions.known(operation(1, 1)), Known::Over);
        assert_eq!(sessions.known(operation(1, 2)), Known::Applied(Some(&'b')));
        assert_eq!(sessions.known(operation(1, 4)), Known::New);
        assert_eq!(sessions.answers_len(), 2);
    }

    #[test]
    fn a_new_life_of_the_client_ends_the_old_one() {
        let mut sessions = Sessions::new(OWNER);
        sessions.remember(operation(1, 5), 1, &'a');
        sessions.remember(operation(2, 1), 1, &'b');
        assert_eq!(sessions.known(operation(1, 5)), Known::Over);
        assert_eq!(sessions.known(operation(2, 1)), Known::Applied(Some(&'b')));
        assert_eq!(sessions.answers_len(), 1);
    }

    /// Whole answers used to be kept on every node: a thousand operations with answers of a kilobyte each that waited for
    /// their client took a megabyte in the memory and in each checkpoint of nodes that nobody would ever ask for them.
    #[test]
    fn a_member_keeps_no_answers_for_clients_of_other_nodes() {
        let (mut own, mut others) = (Sessions::new(OWNER), Sessions::new(OTHER));
        let answer: Vec<u64> = (0..1_000).collect();
        for number in 1..=1_000 {
            own.remember(operation(1, number), 1, &answer);
            others.remember(operation(1, number), 1, &answer);
        }
        assert_eq!((own.answers_len(), others.answers_len()), (1_000, 0));
        assert!(own.know_the_same(&others), "what makes an operation happen once is the same everywhere");
        assert_eq!(others.known(operation(1, 7)), Known::Applied(None));
        let bytes = others.to_bytes();
        assert!(bytes.len() < 4 * 1_000, "{} bytes", bytes.len());
        for sessions in [own, others] {
            assert_eq!(Sessions::from_bytes(sessions.to_bytes()), Ok(sessions), "through a checkpoint");
        }
    }
}
