//! Intervals: which of many ranges hold a key.
//!
//! A treap ordered by where the ranges start, each node knowing where the ranges below it end at the latest: a search
//! leaves out every subtree that ends before the key. Priorities are hashes of the ranges, so equal sets are equal trees,
//! and no input but a hash collision can make them deep.

use alloc::boxed::Box;
use core::cmp::Ordering;

use bytes::Bytes;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// Where a range ends; nowhere is after everything.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum End {
    Before(Bytes),
    Nowhere,
}

impl End {
    fn is_after(&self, key: &[u8]) -> bool {
        match self {
            Self::Before(end) => key < &end[..],
            Self::Nowhere => true,
        }
    }

    fn compare(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Before(one), Self::Before(other)) => one.cmp(other),
            (Self::Nowhere, Self::Nowhere) => Ordering::Equal,
            (Self::Nowhere, _) => Ordering::Greater,
            (_, Self::Nowhere) => Ordering::Less,
        }
    }
}

type Tree<V> = Option<Box<Node<V>>>;

#[derive(Clone, Debug)]
struct Node<V> {
    start: Bytes,
    end: End,
    value: V,
    priority: u64,
    latest: End,
    left: Tree<V>,
    right: Tree<V>,
}

/// A map from ranges of keys to values.
#[derive(Clone, Debug)]
pub(crate) struct Intervals<V> {
    root: Tree<V>,
}

impl<V> Default for Intervals<V> {
    fn default() -> Self {
        Self { root: None }
    }
}

impl<V> Intervals<V> {
    /// The value of a range.
    pub fn get_mut(&mut self, start: &Bytes, end: &End) -> Option<&mut V> {
        let mut at = self.root.as_mut();
        while let Some(node) = at {
            at = match node.order(start, end) {
                Ordering::Equal => return Some(&mut node.value),
                Ordering::Greater => node.left.as_mut(),
                Ordering::Less => node.right.as_mut(),
            };
        }
        None
    }

    /// Puts a range that is not in yet.
    pub fn insert(&mut self, start: Bytes, end: End, value: V) {
        let salt = match &end {
            End::Before(end) => xxh3_64(end),
            End::Nowhere => u64::MAX,
        };
        let priority = xxh3_64_with_seed(&start, salt);
        let (left, right) = split(self.root.take(), &start, &end);
        let node = Node { start, latest: end.clone(), end, value, priority, left: None, right: None };
        self.root = merge(merge(left, Some(Box::new(node))), right);
    }

    /// Takes a range out.
    pub fn remove(&mut self, start: &Bytes, end: &End) {
        remove(&mut self.root, start, end);
    }

    /// Hands the value of every range that holds `key` to `see`, by where they start.
    pub fn holding<'a>(&'a self, key: &[u8], see: &mut impl FnMut(&'a V)) {
        holding(&self.root, key, see);
    }
}

impl<V> Node<V> {
    fn order(&self, start: &Bytes, end: &End) -> Ordering {
        self.start.cmp(start).then_with(|| self.end.compare(end))
    }

    fn settle(&mut self) {
        let mut latest = &self.end;
        for below in [&self.left, &self.right].into_iter().flatten() {
            if below.latest.compare(latest).is_gt() {
                latest = &below.latest;
            }
        }
        self.latest = latest.clone();
    }
}

fn split<V>(tree: Tree<V>, start: &Bytes, end: &End) -> (Tree<V>, Tree<V>) {
    let Some(mut node) = tree else { return (None, None) };
    if node.order(start, end).is_lt() {
        let (left, right) = split(node.right.take(), start, end);
        node.right = left;
        node.settle();
        (Some(node), right)
    } else {
        let (left, right) = split(node.left.take(), start, end);
        node.left = right;
        node.settle();
        (left, Some(node))
    }
}

fn merge<V>(left: Tree<V>, right: Tree<V>) -> Tree<V> {
    match (left, right) {
        (None, tree) | (tree, None) => tree,
        (Some(mut left), Some(mut right)) => {
            if left.priority >= right.priority {
                left.right = merge(left.right.take(), Some(right));
                left.settle();
                Some(left)
            } else {
                right.left = merge(Some(left), right.left.take());
                right.settle();
                Some(right)
            }
        }
    }
}

fn remove<V>(tree: &mut Tree<V>, start: &Bytes, end: &End) {
    let Some(node) = tree else { return };
    match node.order(start, end) {
        Ordering::Equal => {
            *tree = merge(node.left.take(), node.right.take());
            return;
        }
        Ordering::Greater => remove(&mut node.left, start, end),
        Ordering::Less => remove(&mut node.right, start, end),
    }
    node.settle();
}

fn holding<'a, V>(tree: &'a Tree<V>, key: &[u8], see: &mut impl FnMut(&'a V)) {
    let Some(node) = tree else { return };
    if !node.latest.is_after(key) {
        return;
    }
    holding(&node.left, key, see);
    if &node.start[..] <= key {
        if node.end.is_after(key) {
            see(&node.value);
        }
        holding(&node.right, key, see);
    }
}
