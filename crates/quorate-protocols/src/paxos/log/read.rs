//! Reads at any member: one question to the leader tells all that wait how far the log must be applied.
//!
//! A read that comes while a question is under way waits for the next one: the answer must be from after the read came.
//! A question has the name of one of its reads, which no other life of anyone uses: an answer to a question that an earlier
//! life of the member asked fits none of this life.
//!
//! Source: Ongaro, "Consensus: Bridging Theory and Practice", 2014, section 6.4 (read index).

use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::mem;

use crate::operation::OperationId;

/// A read that waits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct Read<Q> {
    /// The client's name for it.
    pub operation: OperationId,
    /// What it reads.
    pub query: Q,
}

/// The reads that wait on one member.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct Reads<Q> {
    /// The question whose answer is awaited.
    asking: Option<OperationId>,
    /// Came before that question was asked.
    asked: Vec<Read<Q>>,
    /// Came since.
    waiting: Vec<Read<Q>>,
    /// Know what to wait for: the slot that must be applied.
    bound: VecDeque<(u64, Read<Q>)>,
    /// All that wait, wherever: a client that asks again does not wait twice.
    open: BTreeSet<OperationId>,
}

impl<Q> Reads<Q> {
    /// No reads.
    pub fn new() -> Self {
        Self { asking: None, asked: Vec::new(), waiting: Vec::new(), bound: VecDeque::new(), open: BTreeSet::new() }
    }

    /// The question whose answer is awaited.
    pub fn question(&self) -> Option<OperationId> {
        self.asking
    }

    /// Whether reads wait for the log to be applied further.
    pub fn wait_for_log(&self) -> bool {
        !self.bound.is_empty()
    }

    /// A read came, for the first time or again. The question to ask now, or to ask again.
    pub fn wait(&mut self, read: Read<Q>) -> Option<OperationId> {
        if !self.open.insert(read.operation) {
            return self.asking;
        }
        self.waiting.push(read);
        self.next_question()
    }

    /// The log must be applied up to `index`, the leader says in answer to a question. The next question to ask, if reads
    /// came in the meantime.
    pub fn told(&mut self, question: OperationId, index: u64) -> Option<OperationId> {
        if self.asking != Some(question) {
            return None; // an answer to a question that is over
        }
        self.asking = None;
        self.bound.extend(mem::take(&mut self.asked).into_iter().map(|read| (index, read)));
        self.next_question()
    }

    /// The reads that may be answered when everything up to `index` is applied.
    pub fn ready(&mut self, index: u64) -> Vec<Read<Q>> {
        if self.bound.iter().all(|(bound, _)| *bound > index) {
            return Vec::new();
        }
        let (ready, rest): (Vec<_>, Vec<_>) = mem::take(&mut self.bound).into_iter().partition(|it| it.0 <= index);
        self.bound = rest.into();
        for (_, read) in &ready {
            self.open.remove(&read.operation);
        }
        ready.into_iter().map(|(_, read)| read).collect()
    }

    fn next_question(&mut self) -> Option<OperationId> {
        if self.asking.is_some() {
            return None;
        }
        self.asking = self.waiting.last().map(|read| read.operation);
        self.asked = mem::take(&mut self.waiting);
        self.asking
    }
}
