//! Room: a member takes no more than its disk and log have room for, and the head no more than the chain keeps up with.
//!
//! | at | hears | does |
//! |----|-------|------|
//! | node | NoRoom | from now on drops what would make its log longer: Propose, Forward, Welcome with entries |
//! | full tail | Forward | takes the entries up to its floor, and no more |
//! | node | RoomAgain | takes again, and tells its predecessor where its log ends, which sends the rest |
//! | head | Propose | drops it if too much is not committed, and then all until something is |
//!
//! What is dropped is lost, which the protocol knows how to mend: the client proposes again, the predecessor sends again.
//! So a member without room stops the chain, not itself. What the head has ordered meanwhile is bounded by count and by
//! weight; its gateway refuses the rest at once, and other clients are full when their own bounds are reached.
//! Reads go on: a tail that restarts answers them from its floor on only, so it takes what it lacks up to there. That is no
//! more than what was not committed, and the log has room for it: it is said to be full while a part of it is left.
//! Not chosen: a word to the head that a member is full: the bound is needed for slow members anyway.

use quorate_model::{Context, Machine};

use super::{Mutant, Node};

impl<M: Machine> Node<M> {
    /// The host says that there is no room.
    pub(super) fn lost_room(&mut self) {
        self.proposed.clear(); // as lost: they will be proposed again
        self.crowded = false; // perhaps nothing is left that could be committed
        self.weigh_uncommitted();
        self.full_at = self.full_at.or(Some(self.log.last()));
    }

    /// The host says that there is room again.
    pub(super) fn has_room_again(&mut self, cx: &mut Context<'_, Self>) {
        if self.breaks(Mutant::StaysFull) {
            return;
        }
        if self.full_at.take().is_some() && self.joined && self.up.boot.is_some() {
            self.up.greeted = Some(self.log.last());
            self.welcome(cx); // the predecessor took what we dropped for sent
        }
    }

    /// Whether the log may grow.
    pub(super) fn has_room(&self) -> bool {
        self.full_at.is_none() || self.breaks(Mutant::TakesWithoutRoom)
    }

    /// How many of `len` entries from `first` on may be taken.
    pub(super) fn fitting_len(&self, first: u64, len: usize) -> usize {
        let up_to = match self.full_at {
            Some(_) if self.is_tail() && !self.breaks(Mutant::DropsBelowFloor) => self.floor,
            _ => 0,
        };
        if self.has_room() { len } else { len.min(usize::try_from((up_to + 1).saturating_sub(first)).unwrap_or(len)) }
    }

    /// Whether the head has no room for a command of this weight beside what is not committed.
    pub(super) fn is_crowded(&self, weight: usize) -> bool {
        let ordered = usize::try_from(self.log.last() - self.committed).unwrap_or(usize::MAX);
        let uncommitted = ordered.saturating_add(self.proposed.len());
        let crowded = uncommitted >= self.options.uncommitted_len_max
            || (uncommitted > 0 && self.uncommitted_weight + weight > self.options.uncommitted_weight_max);
        self.is_head() && crowded && !self.breaks(Mutant::OrdersWithoutBound)
    }

    /// Weighs what is not committed anew.
    pub(super) fn weigh_uncommitted(&mut self) {
        let ordered = self.log.after(self.committed).map(|entry| M::weight(&entry.command));
        let proposed = self.proposed.values().map(|entry| M::weight(&entry.command));
        self.uncommitted_weight = if self.is_head() { ordered.chain(proposed).sum() } else { 0 };
    }
}
