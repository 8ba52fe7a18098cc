//! The acceptor: what a member has promised, and what it voted for in each slot. All of it is durable.
//!
//! It is also where the log is kept: a member's vote in a slot that it knows to be chosen is for what was chosen.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::super::ballot::Ballot;
use super::message::{Batch, Item, Vote, Votes};

/// Promises and votes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct Acceptor<C> {
    /// Whether this is all that it ever promised and voted for.
    remembers: bool,
    promised: Ballot,
    /// What was chosen up to this slot was applied, and the votes are forgotten.
    base: u64,
    votes: BTreeMap<u64, Vote<C>>,
}

impl<C: Clone> Acceptor<C> {
    /// Nothing promised, and nothing voted for after slot `base`, as far as it remembers.
    pub fn new(base: u64) -> Self {
        Self { remembers: false, promised: Ballot::default(), base, votes: BTreeMap::new() }
    }

    /// Whether this is all that it ever promised and voted for.
    pub fn remembers(&self) -> bool {
        self.remembers
    }

    /// Has recalled what it had forgotten. What it learned in the meantime may be of higher ballots.
    pub fn recall(&mut self, promised: Ballot, votes: Votes<C>) {
        self.remembers = true;
        self.promise(promised);
        for (slot, vote) in votes {
            self.promise(vote.ballot);
            if slot > self.base && self.get(slot).is_none_or(|known| known.ballot < vote.ballot) {
                self.votes.insert(slot, vote);
            }
        }
    }

    /// Takes part in no ballot below this one.
    pub fn promised(&self) -> Ballot {
        self.promised
    }

    /// The slot before the first that may be held.
    pub fn base(&self) -> u64 {
        self.base
    }

    /// Promises.
    pub fn promise(&mut self, ballot: Ballot) {
        self.promised = self.promised.max(ballot);
    }

    /// Votes for `items` in the slots from `first` on.
    pub fn vote(&mut self, ballot: Ballot, first: u64, items: &[Item<C>]) {
        self.promise(ballot); // to vote in a ballot is to have promised it
        for (slot, item) in (first..).zip(items).filter(|(slot, _)| *slot > self.base) {
            self.votes.insert(slot, Vote { ballot, item: item.clone() });
        }
    }

    /// The vote in `slot`, if there was one and it is held.
    pub fn get(&self, slot: u64) -> Option<&Vote<C>> {
        self.votes.get(&slot)
    }

    /// Whether it voted in `slot` in this ballot.
    pub fn voted_in(&self, slot: u64, ballot: Ballot) -> bool {
        self.votes.get(&slot).is_some_and(|vote| vote.ballot == ballot)
    }

    /// The votes after `slot`, with their slots.
    pub fn after(&self, slot: u64) -> impl Iterator<Item = (u64, &Vote<C>)> {
        self.votes.range(slot.saturating_add(1)..).map(|(slot, vote)| (*slot, vote))
    }

    /// The items after `slot` without a gap and up to `last`, at least one if there is one, no more than weigh
    /// `weight_max`.
    pub fn batch_after(&self, slot: u64, last: u64, weight_max: usize, weight: impl Fn(&Item<C>) -> usize) -> Batch<C> {
        let mut total = 0;
        let mut batch = Vec::new();
        for (next, (at, vote)) in (slot + 1..=last).zip(self.after(slot)) {
            total += weight(&vote.item);
            if at != next || (total > weight_max && !batch.is_empty()) {
                break;
            }
            batch.push(vote.item.clone());
        }
        batch.into()
    }

    /// Forgets the votes up to `slot`, which were applied.
    pub fn forget(&mut self, slot: u64) {
        if slot > self.base {
            self.votes = self.votes.split_off(&(slot + 1));
            self.base = slot;
        }
    }

    /// Forgets the oldest vote, and says what it was for.
    pub fn forget_first(&mut self) -> Option<Vote<C>> {
        let (slot, vote) = self.votes.pop_first()?;
        self.base = slot;
        Some(vote)
    }
}
