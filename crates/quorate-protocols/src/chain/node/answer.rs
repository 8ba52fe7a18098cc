//! Answering reads: see [`super::super::read`] for the waiting, here is the deciding.

use alloc::vec::Vec;

use quorate_model::{Context, Machine, Pid};

use super::super::link::Stamp;
use super::super::message::Message;
use super::super::read::Read;
use super::{Mutant, Node};

/// How many uncommitted entries are looked at before a read rather asks the tail: one shared question is cheaper.
const LOOKED_AT_LEN_MAX: u64 = 64;

impl<M: Machine> Node<M> {
    /// The own client wants to read.
    pub(super) fn read(&mut self, read: Read<M::Query>, cx: &mut Context<'_, Self>) {
        if !self.is_member() {
            return cx.send(Self::own_client(cx), Message::Refused { operation: read.operation, passed_on: false });
        }
        if self.is_tail() {
            if self.knows_commits() {
                self.serve(read, cx);
            } else {
                self.reads.wait_for(self.floor, read); // until then
            }
        } else if self.is_dirty(&read.query) {
            if let Some(nonce) = self.reads.wait(read) {
                self.ask_tail(nonce, cx);
            }
        } else {
            self.serve(read, cx);
        }
    }

    /// Whether something that is not known to be committed could change the answer.
    fn is_dirty(&self, query: &M::Query) -> bool {
        if self.breaks(Mutant::IgnoresDirty) {
            return false;
        }
        let unapplied_len = self.log.last() - self.applied;
        !self.joined
            || unapplied_len > LOOKED_AT_LEN_MAX
            || self.log.after(self.applied).any(|entry| M::touches(&entry.command, query))
    }

    /// Whether the tail has committed again all that it may have committed in an earlier life.
    pub(super) fn knows_commits(&self) -> bool {
        let greeted = self.is_head() || self.up.boot.is_some(); // else the disk may be an empty one
        (self.applied >= self.floor && greeted && self.trouble.is_none()) || self.breaks(Mutant::AnswersBeforeFloor)
    }

    pub(super) fn answer_read(&self, read: Read<M::Query>, cx: &mut Context<'_, Self>) {
        let answer = self.machine.read(&read.query);
        let message = Message::ReadDone { operation: read.operation, answer };
        cx.send_without(self.batches_beyond(self.applied), Self::own_client(cx), message);
    }

    fn ask_tail(&self, nonce: u64, cx: &mut Context<'_, Self>) {
        let tail = self.member(self.configuration.tail(), cx);
        cx.send_without(self.batches.len(), tail, Message::Question { stamp: self.stamp(None), nonce });
    }

    pub(super) fn ask_tail_again(&self, cx: &mut Context<'_, Self>) {
        if let Some(nonce) = self.reads.open_question() {
            self.ask_tail(nonce, cx);
        }
    }

    /// A member asks us, the tail, how far we have committed.
    pub(super) fn questioned(&mut self, from: Pid, stamp: Stamp, nonce: u64, cx: &mut Context<'_, Self>) {
        if !self.is_tail() {
            return; // the asker is wrong about the configuration, which its stamp should have told
        }
        if self.knows_commits() {
            self.answer_question(from, stamp, nonce, cx);
        } else {
            self.questions.retain(|(asker, _, _)| *asker != from); // one open question an asker: its newest
            self.questions.push((from, stamp, nonce));
        }
    }

    fn answer_question(&self, to: Pid, stamp: Stamp, nonce: u64, cx: &mut Context<'_, Self>) {
        let stamp = self.stamp(Some(stamp.boot));
        let message = Message::CommittedAt { nonce, index: self.committed, stamp };
        cx.send_without(self.batches_beyond(self.committed), to, message);
    }

    /// The tail answers our question.
    pub(super) fn told(&mut self, nonce: u64, index: u64, cx: &mut Context<'_, Self>) {
        if let Some(next) = self.reads.told(nonce, index) {
            self.ask_tail(next, cx);
        }
        self.advance(index, cx);
        self.answer_waiting(cx);
    }

    /// Something was applied: answers the reads and the questions that waited for it.
    pub(super) fn answer_waiting(&mut self, cx: &mut Context<'_, Self>) {
        if self.is_tail() && !self.knows_commits() {
            return;
        }
        for read in self.reads.ready(self.applied) {
            self.serve(read, cx);
        }
        if self.is_tail() {
            let questions: Vec<_> = core::mem::take(&mut self.questions);
            for (from, stamp, nonce) in questions {
                self.answer_question(from, stamp, nonce, cx);
            }
        }
    }
}
