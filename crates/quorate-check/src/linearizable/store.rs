//! The spec of a store of several keys with transactions: what the `kv` machine promises, without its revisions.

use std::collections::BTreeMap;
use std::hash::Hash;
use std::marker::PhantomData;

use super::Spec;

/// A condition of a transaction.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Condition<K, V> {
    /// Of which key.
    pub key: K,
    /// What it must hold.
    pub holds: Option<V>,
}

/// One write of a transaction.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Write<K, V> {
    /// To which key.
    pub key: K,
    /// What it shall hold; nothing deletes it.
    pub value: Option<V>,
}

/// What a store is asked: if all conditions hold, do the first writes, else the second; then look at some keys.
/// A put, a delete and a read are transactions without conditions.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct StoreOp<K, V> {
    /// The conditions.
    pub conditions: Vec<Condition<K, V>>,
    /// What to write when they hold.
    pub then: Vec<Write<K, V>>,
    /// What to write when they do not.
    pub otherwise: Vec<Write<K, V>>,
    /// What to look at before the writes.
    pub looks: Vec<K>,
}

impl<K, V> StoreOp<K, V> {
    /// Writes one key.
    pub fn put(key: K, value: V) -> Self {
        let then = vec![Write { key, value: Some(value) }];
        Self { conditions: Vec::new(), then, otherwise: Vec::new(), looks: Vec::new() }
    }

    /// Deletes one key.
    pub fn delete(key: K) -> Self {
        let then = vec![Write { key, value: None }];
        Self { conditions: Vec::new(), then, otherwise: Vec::new(), looks: Vec::new() }
    }

    /// Looks at keys, all at one moment.
    pub fn get(looks: impl IntoIterator<Item = K>) -> Self {
        let looks = looks.into_iter().collect();
        Self { conditions: Vec::new(), then: Vec::new(), otherwise: Vec::new(), looks }
    }
}

/// What a store answers.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct StoreRet<V> {
    /// Whether the conditions held.
    pub held: bool,
    /// What the keys looked at held.
    pub seen: Vec<Option<V>>,
}

/// The spec: a store that is empty at first.
#[derive(Clone, Copy, Debug)]
pub struct Store<K, V>(PhantomData<fn() -> (K, V)>);

impl<K, V> Store<K, V> {
    /// The spec.
    #[must_use]
    pub fn new() -> Self {
        Self(PhantomData)
    }
}

impl<K, V> Default for Store<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Clone + Ord + Hash, V: Clone + Eq + Hash> Spec for Store<K, V> {
    type State = BTreeMap<K, V>;
    type Op = StoreOp<K, V>;
    type Ret = StoreRet<V>;

    fn initial(&self) -> Self::State {
        BTreeMap::new()
    }

    fn step(&self, state: &Self::State, op: &Self::Op, ret: Option<&Self::Ret>) -> Option<Self::State> {
        let held = op.conditions.iter().all(|condition| state.get(&condition.key) == condition.holds.as_ref());
        if let Some(ret) = ret {
            let seen = op.looks.iter().map(|key| state.get(key));
            if ret.held != held || !seen.eq(ret.seen.iter().map(Option::as_ref)) {
                return None;
            }
        }
        let mut after = state.clone();
        for write in if held { &op.then } else { &op.otherwise } {
            match &write.value {
                Some(value) => after.insert(write.key.clone(), value.clone()),
                None => after.remove(&write.key),
            };
        }
        Some(after)
    }
}
