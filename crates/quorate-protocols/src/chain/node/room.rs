//! Room: a member takes no more than its disk and log have room for, and the head no more than the chain keeps up with.
//!
//! | at | hears | does |
//! |----|-------|------|
//! | node | NoRoom | from now on drops what would make its log longer: Propose, Forward, Welcome with entries |
//! | node | RoomAgain | takes again, and tells its predecessor where its log ends, which sends the rest |
//! | head | Propose | drops it while too much is not committed |
//!
//! What is dropped is lost, which the protocol knows how to mend: the client proposes again, the predecessor sends again.
//! So a member without room stops the chain, not itself. What the head has ordered meanwhile is bounded by count and by
//! weight; its gateway refuses the rest at once, and other clients are full when their own bounds are reached.
//! Reads go on. Not chosen: a word to the head that a member is full: the bound is needed for slow members anyway.

use quorate_model::{Context, Machine};

use super::{Mutant, Node};

impl<M: Machine> Node<M> {
    /// The host says that there is no room.
    pub(super) fn lost_room(&mut self) {
        self.proposed.clear(); // as lost: they will be proposed again
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
