//! Linearizability: could one copy, asked one thing at a time, have given these answers, each at some moment between
//! question and answer?
//!
//! | judge | cost | when |
//! |-------|------|------|
//! | [`witness`]: answers carry a revision, check that order | n log n | first verdict on long histories |
//! | [`check_by_key`]: each key by itself | as below, with few operations at a time | operations touch one key each |
//! | [`check`]: search for an order, remember dead ends | exponential in how many overlap, at worst | the judge that trusts no revision |
//!
//! An operation whose outcome is not known may have taken effect at any moment after it was asked, or never.
//! Source: Herlihy and Wing 1990; Wing and Gong 1993; Lowe, "Testing for linearizability", 2017; splitting by key:
//! Horn and Kroening, "Faster linearizability checking via P-compositionality", 2015.

mod register;
mod search;
mod store;
pub mod witness;

use std::collections::BTreeMap;
use std::hash::Hash;

pub use register::{RegisterMap, RegisterOp, RegisterRet};
pub use search::{check, check_within};
pub use store::{Condition, Store, StoreOp, StoreRet, Write};

/// A thing that is asked one operation at a time: what linearizable histories are compared with.
pub trait Spec {
    /// What it remembers.
    type State: Clone + Hash + PartialEq;
    /// What it is asked.
    type Op;
    /// What it answers.
    type Ret;

    /// Before the first operation.
    fn initial(&self) -> Self::State;

    /// The state after `op` in `state`, if it may answer `ret` there; every answer is fine where `ret` is not known.
    fn step(&self, state: &Self::State, op: &Self::Op, ret: Option<&Self::Ret>) -> Option<Self::State>;

    /// Like [`Spec::step`], in place: nothing if the answer is wrong, else whether the state changed. Worth writing by
    /// hand where states are large and histories long.
    fn advance(&self, state: &mut Self::State, op: &Self::Op, ret: Option<&Self::Ret>) -> Option<bool> {
        let after = self.step(state, op, ret)?;
        let changed = after != *state;
        *state = after;
        Some(changed)
    }
}

/// A spec whose operations touch one key each, and nothing else.
pub trait Keyed: Spec {
    /// What tells keys apart.
    type Key: Ord;

    /// The key that `op` touches.
    fn key(&self, op: &Self::Op) -> Self::Key;
}

/// One operation in real time.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Timed<O, R> {
    /// What was asked.
    pub op: O,
    /// What came back; nothing if the outcome is not known.
    pub ret: Option<R>,
    /// When it was asked.
    pub invoked: u64,
    /// When it was answered. Means nothing where the outcome is not known.
    pub returned: u64,
}

/// What a judge says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// There is an order: indexes into the history, counted from 0. Operations of unknown outcome that need not have
    /// taken effect are left out.
    Linearizable(Vec<usize>),
    /// There is none. The longest order that was found, and the operation that came back too early for all orders.
    Not {
        /// Indexes into the history, counted from 0.
        longest: Vec<usize>,
        /// The index of an operation that could not be placed after `longest`.
        stuck: usize,
    },
    /// The search looked at as many states as it was allowed to.
    Unfinished,
}

impl Verdict {
    /// Whether an order was found.
    #[must_use]
    pub fn is_linearizable(&self) -> bool {
        matches!(self, Self::Linearizable(_))
    }
}

/// Judges each key by itself. The orders of a linearizable verdict are joined key by key, so they are an order within
/// each key only.
pub fn check_by_key<S: Keyed>(spec: &S, calls: &[Timed<S::Op, S::Ret>]) -> Verdict
where
    S::Op: Clone,
    S::Ret: Clone,
{
    check_by_key_within(spec, calls, usize::MAX)
}

/// Like [`check_by_key`], and gives up after `states_max` steps of the search for the order of one key.
pub fn check_by_key_within<S: Keyed>(spec: &S, calls: &[Timed<S::Op, S::Ret>], states_max: usize) -> Verdict
where
    S::Op: Clone,
    S::Ret: Clone,
{
    let mut keys: BTreeMap<S::Key, Vec<usize>> = BTreeMap::new();
    for (index, call) in calls.iter().enumerate() {
        keys.entry(spec.key(&call.op)).or_default().push(index);
    }
    let mut order = Vec::with_capacity(calls.len());
    for indexes in keys.values() {
        let part: Vec<_> = indexes.iter().map(|&index| calls[index].clone()).collect();
        let outer = |inner: Vec<usize>| inner.into_iter().map(|index| indexes[index]).collect::<Vec<_>>();
        match check_within(spec, &part, states_max) {
            Verdict::Linearizable(part) => order.extend(outer(part)),
            Verdict::Not { longest, stuck } => return Verdict::Not { longest: outer(longest), stuck: indexes[stuck] },
            Verdict::Unfinished => return Verdict::Unfinished,
        }
    }
    Verdict::Linearizable(order)
}
