//! What every member does with what is chosen.

use alloc::vec::Vec;

use quorate_model::{Context, Machine};

use super::super::leader::Phase;
use super::super::message::Message;
use super::{Mutant, Node};

impl<M: Machine> Node<M> {
    /// Everything up to `index` is chosen, and our votes hold it.
    pub(super) fn advance(&mut self, index: u64, cx: &mut Context<'_, Self>) {
        if index <= self.replica.applied {
            return;
        }
        self.apply_up_to(index, cx);
        self.answer_ready(cx);
        while self.records.front().is_some_and(|first| *first <= index) {
            self.records.pop_front();
        }
        self.forget();
        self.led_further(cx);
    }

    /// Applies the log up to `index`, and tells the own client what became of its commands.
    fn apply_up_to(&mut self, index: u64, cx: &mut Context<'_, Self>) {
        let mut outcomes = Vec::new();
        while self.replica.applied < index {
            let vote = self.acceptor.get(self.replica.applied + 1).expect("what is chosen is held when it is applied");
            let (item, operation) = (&vote.item, vote.item.operation());
            let done = self.replica.apply(item, self.mutant == Some(Mutant::ForgetsSessions));
            outcomes.extend(done.filter(|(operation, _)| operation.owner == self.me));
            self.kept_weight += Self::weight(item);
            if let (Phase::Leading(leading), Some(operation)) = (&mut self.phase, operation) {
                leading.proposals.open.remove(&operation);
            }
        }
        if !outcomes.is_empty() {
            self.asked = false;
            cx.send_without(self.newer_than(index), Self::own_client(cx), Message::Applied(outcomes));
        }
    }

    /// Forgets the oldest items that are applied, as far as they weigh too much and are not needed after a restart.
    pub(super) fn forget(&mut self) {
        let needed = self.replica.machine.stored().unwrap_or(self.replica.applied);
        while self.kept_weight > self.options.kept_weight_max && self.acceptor.base() < needed {
            let Some(vote) = self.acceptor.forget_first() else { return };
            self.kept_weight = self.kept_weight.saturating_sub(Self::weight(&vote.item));
        }
    }
}
