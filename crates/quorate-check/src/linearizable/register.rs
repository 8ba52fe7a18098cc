//! The spec of a map of registers: read, write, delete, compare and set. Each key is a register by itself.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::hash::Hash;
use std::marker::PhantomData;

use super::{Keyed, Spec};

/// What a map of registers is asked.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum RegisterOp<K, V> {
    /// What does the key hold?
    Read(K),
    /// Let the key hold the value, or nothing.
    Write(K, Option<V>),
    /// Let the key hold the last value, if it holds the first.
    CompareAndSet(K, Option<V>, Option<V>),
}

/// What a map of registers answers.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum RegisterRet<V> {
    /// What the key holds.
    Value(Option<V>),
    /// It is written.
    Written,
    /// Whether the key held what was expected.
    Set(bool),
}

/// The spec: a map of registers that hold nothing at first.
#[derive(Clone, Copy, Debug)]
pub struct RegisterMap<K, V>(PhantomData<fn() -> (K, V)>);

impl<K, V> RegisterMap<K, V> {
    /// The spec.
    #[must_use]
    pub fn new() -> Self {
        Self(PhantomData)
    }
}

impl<K, V> Default for RegisterMap<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Clone + Ord + Hash, V: Clone + Eq + Hash> Spec for RegisterMap<K, V> {
    type State = BTreeMap<K, V>;
    type Op = RegisterOp<K, V>;
    type Ret = RegisterRet<V>;

    fn initial(&self) -> Self::State {
        BTreeMap::new()
    }

    fn step(&self, state: &Self::State, op: &Self::Op, ret: Option<&Self::Ret>) -> Option<Self::State> {
        let mut after = state.clone();
        self.advance(&mut after, op, ret)?;
        Some(after)
    }

    fn advance(&self, state: &mut Self::State, op: &Self::Op, ret: Option<&Self::Ret>) -> Option<bool> {
        match (op, ret) {
            (RegisterOp::Read(key), Some(RegisterRet::Value(value))) => {
                (state.get(key) == value.as_ref()).then_some(false)
            }
            (RegisterOp::Read(_), None) => Some(false),
            (RegisterOp::Write(key, value), None | Some(RegisterRet::Written)) => Some(write(state, key, value)),
            (RegisterOp::CompareAndSet(key, expected, value), None) => {
                Some(state.get(key) == expected.as_ref() && write(state, key, value))
            }
            (RegisterOp::CompareAndSet(key, expected, value), Some(RegisterRet::Set(set))) => {
                let holds = state.get(key) == expected.as_ref();
                (holds == *set).then(|| holds && write(state, key, value))
            }
            _ => None, // an answer to another kind of question is wrong in every state
        }
    }
}

impl<K: Clone + Ord + Hash, V: Clone + Eq + Hash> Keyed for RegisterMap<K, V> {
    type Key = K;

    fn key(&self, op: &Self::Op) -> K {
        match op {
            RegisterOp::Read(key) | RegisterOp::Write(key, _) | RegisterOp::CompareAndSet(key, _, _) => key.clone(),
        }
    }
}

/// Whether something changed.
fn write<K: Clone + Ord, V: Clone + Eq>(state: &mut BTreeMap<K, V>, key: &K, value: &Option<V>) -> bool {
    match value {
        Some(value) => state.insert(key.clone(), value.clone()).as_ref() != Some(value),
        None => state.remove(key).is_some(),
    }
}
