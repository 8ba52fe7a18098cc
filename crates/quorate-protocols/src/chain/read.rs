//! Reads at any member: at once when nothing uncommitted touches the question, else after one question to the tail that
//! all waiting reads share.
//!
//! A read that comes while a question is under way waits for the next one: the answer must be from after the read came.
//! Source: Terrace and Freedman, "Object Storage on CRAQ", section 2.3 (version queries).

use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec::Vec;

use super::message::OperationId;

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
    /// The last question that was asked; each has a number of its own in a life.
    nonce: u64,
    /// Whether its answer is awaited.
    asking: bool,
    /// Came before the question was asked.
    asked: Vec<Read<Q>>,
    /// Came since.
    waiting: Vec<Read<Q>>,
    /// Know what to wait for: the index that must be applied.
    bound: VecDeque<(u64, Read<Q>)>,
    /// All that wait, wherever: a client that asks again does not wait twice.
    open: BTreeSet<OperationId>,
}

impl<Q> Reads<Q> {
    /// No reads.
    pub fn new() -> Self {
        Self {
            nonce: 0,
            asking: false,
            asked: Vec::new(),
            waiting: Vec::new(),
            bound: VecDeque::new(),
            open: BTreeSet::new(),
        }
    }

    /// A read that needs the tail's word. The question to ask now, if none is under way.
    pub fn wait(&mut self, read: Read<Q>) -> Option<u64> {
        if self.open.insert(read.operation) {
            self.waiting.push(read);
        }
        self.next_question()
    }

    /// A read that needs the entries up to `index` applied.
    pub fn wait_for(&mut self, index: u64, read: Read<Q>) {
        if self.open.insert(read.operation) {
            self.bound.push_back((index, read));
        }
    }

    /// The question whose answer is awaited.
    pub fn open_question(&self) -> Option<u64> {
        self.asking.then_some(self.nonce)
    }

    /// The tail has committed up to `index`, it says in answer to question `nonce`. The next question to ask, if reads
    /// came in the meantime.
    pub fn told(&mut self, nonce: u64, index: u64) -> Option<u64> {
        if !self.asking || nonce != self.nonce {
            return None; // an answer to a question that is over
        }
        self.asking = false;
        self.bound.extend(self.asked.drain(..).map(|read| (index, read)));
        self.next_question()
    }

    /// The tail is another one perhaps. What it had answered holds; what it was asked is asked anew, or, where we are the
    /// tail ourselves, waits for the entries up to `index`.
    pub fn ask_anew(&mut self, index: Option<u64>) {
        if let Some(index) = index {
            self.asking = false;
            let reads = self.asked.drain(..).chain(self.waiting.drain(..));
            self.bound.extend(reads.map(|read| (index, read)));
        }
    }

    /// The reads that may be answered when everything up to `index` is applied.
    pub fn ready(&mut self, index: u64) -> Vec<Read<Q>> {
        if self.bound.iter().all(|(bound, _)| *bound > index) {
            return Vec::new();
        }
        let (ready, rest): (Vec<_>, Vec<_>) = self.bound.drain(..).partition(|(bound, _)| *bound <= index);
        self.bound = rest.into();
        for (_, read) in &ready {
            self.open.remove(&read.operation);
        }
        ready.into_iter().map(|(_, read)| read).collect()
    }

    fn next_question(&mut self) -> Option<u64> {
        if self.asking || self.waiting.is_empty() {
            return None;
        }
        self.asking = true;
        self.nonce += 1;
        self.asked = core::mem::take(&mut self.waiting);
        Some(self.nonce)
    }
}
