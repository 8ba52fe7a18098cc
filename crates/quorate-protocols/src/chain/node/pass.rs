//! Passing on: entries run down the chain, commits run up, and each member applies what is committed. Beyond the tail there
//! may be a joiner: it is sent entries too, and what it lacks one message after the other, as it has them on its disk.

use alloc::vec::Vec;

use quorate_model::{Context, Machine, Pid};

use super::super::message::{Batch, Message};
use super::super::session::Known;
use super::{Mutant, Node};

impl<M: Machine> Node<M> {
    /// Sends entries that the log does not hold yet to the successor, if it has all before them.
    pub(super) fn send_forward(&mut self, first: u64, entries: &Batch<M::Command>, cx: &mut Context<'_, Self>) {
        let Some(successor) = self.successor(cx) else { return };
        if self.down.boot.is_none() || self.down.sent + 1 != first {
            return; // it will be sent what it lacks when it has said where its log ends
        }
        self.down.sent = first + entries.len() as u64 - 1;
        self.forward(successor, first, entries.clone(), cx);
    }

    /// An entry is passed on whether or not it is on our own disk: only `Durable` claims that.
    fn forward(&self, successor: Pid, first: u64, entries: Batch<M::Command>, cx: &mut Context<'_, Self>) {
        let stamp = self.stamp(self.down.boot);
        cx.send_without(self.batches.len(), successor, Message::Forward { first, entries, stamp });
    }

    /// Sends the successor everything of the log that it was not sent.
    pub(super) fn pass(&mut self, cx: &mut Context<'_, Self>) {
        while self.down.boot.is_some() && (self.log.base()..self.log.last()).contains(&self.down.sent) {
            if self.own_joiner().is_some() && self.down.sent > self.down.has {
                return; // when it has that
            }
            let first = self.down.sent + 1;
            let entries = self.log.batch_after(self.down.sent, self.options.batch_weight_max, M::weight);
            self.send_forward(first, &entries, cx);
        }
    }

    /// No commit came for a while: perhaps a message was lost. Sends what is not committed once more, up to one message.
    pub(super) fn pass_again(&mut self, cx: &mut Context<'_, Self>) {
        let Some(successor) = self.successor(cx) else { return };
        if self.own_joiner().is_some() {
            return; // commits wait for our predecessor, or for the joiner, which is reminded
        }
        let entries = self.log.batch_after(self.committed, self.options.batch_weight_max, M::weight);
        self.forward(successor, self.committed + 1, entries, cx);
        self.down.told = 0;
        self.settle(cx);
    }

    /// Perhaps the predecessor's word of what is durable was lost, and it knows of the commit already: it says it again to
    /// whoever tells it where its log ends.
    pub(super) fn ask_what_is_durable(&mut self, cx: &mut Context<'_, Self>) {
        if !self.is_head() && self.up.boot.is_some() && self.up.durable < self.log.last() {
            if self.swamis.is_empty() {
                self.up.greeted = Some(self.log.last());
                return self.welcome(cx); // a predecessor that takes what it lacks for lost asks again by itself
            }
            self.welcome_with_nothing(cx);
        }
    }

    /// The predecessor sends entries, the first of them at `first`.
    pub(super) fn forwarded(&mut self, first: u64, entries: &Batch<M::Command>, cx: &mut Context<'_, Self>) {
        if self.awaits_copy() {
            return; // it will be sent again, if the copy lacks it
        }
        let next = self.log.last() + 1;
        let known = usize::try_from(next.saturating_sub(first)).unwrap_or(usize::MAX);
        let fitting = self.fitting_len(first, entries.len());
        if known < entries.len() && known >= fitting {
            return; // it will be sent again; asking for it now would only bring it again
        }
        let entries = if fitting < entries.len() { &entries[..fitting].into() } else { entries };
        if first > next {
            self.up.greeted = Some(self.log.last());
            return self.welcome(cx); // a gap: say where our log ends
        }
        if known < entries.len() {
            self.end_copy();
        }
        match if self.breaks(Mutant::ReordersOnResend) { 0 } else { known } {
            0 => self.take(entries.clone(), cx),
            known if known < entries.len() => self.take(entries[known..].into(), cx),
            _ if !self.is_member() => self.up.told = 0, // nothing new: the tail did not hear that we have it
            _ => self.repeat_commit(cx),                // nothing new: the predecessor did not hear what became of it
        }
        self.settle(cx);
    }

    /// Tells the predecessor again how far the tail has committed.
    fn repeat_commit(&self, cx: &mut Context<'_, Self>) {
        if let (Some(predecessor), true) = (self.predecessor(cx), self.committed > 0) {
            let stamp = self.stamp(self.up.boot);
            let message = Message::Committed { index: self.committed, stamp };
            cx.send_without(self.batches_beyond(self.committed), predecessor, message);
        }
    }

    /// How many of our newest records hold nothing but entries beyond `index`: what is said of the entries up to `index`
    /// does not rest on them.
    pub(super) fn batches_beyond(&self, index: u64) -> usize {
        if self.breaks(Mutant::AcknowledgesBeforeDurable) {
            return usize::MAX;
        }
        self.batches.iter().rev().take_while(|first| **first > index).count()
    }

    /// Everything up to here is on the disks of all members from the head to us, once what we appended is on ours. A
    /// message that says so leaves only then.
    fn settled(&self) -> u64 {
        let settled = if self.is_head() || self.breaks(Mutant::CommitsAtTailAlone) {
            self.log.last()
        } else {
            self.up.durable.min(self.log.last()).max(self.committed) // what is committed is on every disk
        };
        if self.own_joiner().is_some() && self.is_in_step() { settled.min(self.down.has) } else { settled }
    }

    /// Says how far everything is durable: to the successor, or, as the tail, by committing it. The joiner says how far its
    /// own disk is.
    pub(super) fn settle(&mut self, cx: &mut Context<'_, Self>) {
        if self.is_tail() {
            return self.advance(self.settled(), cx);
        }
        if !self.is_member() {
            return self.hold(cx);
        }
        let settled = self.settled();
        if let (Some(successor), Some(_)) = (self.successor(cx), self.down.boot)
            && settled > self.down.told
        {
            self.down.told = settled;
            let message = Message::Durable { index: settled, stamp: self.stamp(self.down.boot) };
            cx.send_without(self.batches_beyond(settled), successor, message);
        }
    }

    /// Everything up to `index` is committed.
    pub(super) fn advance(&mut self, index: u64, cx: &mut Context<'_, Self>) {
        let index = index.min(self.log.last());
        if index <= self.committed {
            return;
        }
        if self.is_head() {
            let entries = self.log.after(self.committed).take((index - self.committed) as usize);
            self.uncommitted_weight -= entries.map(|entry| M::weight(&entry.command)).sum::<usize>();
        }
        if self.own_joiner().is_some() {
            let entries = self.log.after(self.committed).take((index - self.committed) as usize);
            self.kept_weight += entries.map(|entry| M::weight(&entry.command)).sum::<usize>();
        }
        self.committed = index;
        self.crowded = false;
        self.pause = self.options.retry_after;
        while self.batches.front().is_some_and(|first| *first <= index) {
            self.batches.pop_front();
        }
        self.apply_up_to(index, cx);
        if let (Some(predecessor), Some(_), true) = (self.predecessor(cx), self.up.boot, self.is_member()) {
            let message = Message::Committed { index, stamp: self.stamp(self.up.boot) };
            cx.send_without(self.batches_beyond(index), predecessor, message);
        }
        self.tell_joiner(cx);
        self.observe(cx);
        self.answer_waiting(cx);
        if self.machine.stored().is_none() {
            self.forget(index.min(self.applied));
        }
    }

    /// Applies the log up to `index`, and tells the own client what became of its commands.
    pub(super) fn apply_up_to(&mut self, index: u64, cx: &mut Context<'_, Self>) {
        let mut answers = Vec::new();
        for at in self.applied + 1..=index {
            let entry = self.log.get(at).expect("what is committed is in every member's log").clone();
            let operation = entry.operation;
            let forgets = self.breaks(Mutant::ForgetsSessions);
            let answer = match self.sessions.known(operation) {
                Known::Applied(answer) if !forgets => answer.cloned(),
                Known::Over if !forgets => None, // of a life that is over: nobody waits
                _ => {
                    let answer = self.machine.apply(at, &entry.command);
                    self.sessions.remember(operation, entry.done_below, &answer);
                    Some(answer).filter(|_| operation.owner == self.me)
                }
            };
            if self.breaks(Mutant::AppliesTwice) {
                self.machine.apply(at, &entry.command);
            }
            self.unapplied.remove(&operation);
            self.applied = self.applied.max(at);
            answers.extend(answer.map(|answer| (operation, answer)));
        }
        if !answers.is_empty() {
            let without = self.batches_beyond(index);
            cx.send_without(without, Self::own_client(cx), Message::Applied(answers));
        }
    }

    /// Tells the observer that something was applied.
    pub(super) fn observe(&self, cx: &mut Context<'_, Self>) {
        if let Some((observer, query)) = &self.observer {
            let answer = query.as_ref().map(|query| self.machine.read(query));
            let message = Message::Observed { mark: self.machine.mark(), answer };
            cx.send_without(self.batches_beyond(self.applied), *observer, message);
        }
    }
}
