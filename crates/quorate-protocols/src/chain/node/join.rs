//! Finding its place: a member that starts anew asks its successor for what it lost, before it answers its predecessor.

use quorate_model::{Context, Machine};

use super::super::link::{Down, Stamp};
use super::super::message::{Batch, Message, Record};
use super::{Mutant, Node, Trouble};

impl<M: Machine> Node<M> {
    pub(super) fn start(&mut self, cx: &mut Context<'_, Self>) {
        assert!(self.lacks().is_none(), "the store holds less than the log forgot");
        self.aside = None; // what is replayed is replayed
        let boot = self.boot + 1;
        cx.append(self, Record::Boot(boot)); // no message of this life leaves before its number is on disk
        self.floor = self.log.last();
        self.weigh_uncommitted();
        self.joined = self.is_end() || self.breaks(Mutant::OrdersBeforeJoined);
        self.nudge(cx);
        self.greet(cx);
        self.observe(cx);
        self.settle(cx);
        self.renew(cx);
    }

    /// Asks the predecessor for its greeting, unless it came.
    pub(super) fn nudge(&self, cx: &mut Context<'_, Self>) {
        if let (Some(predecessor), None) = (self.predecessor(cx), self.up.boot) {
            cx.send(predecessor, Message::Nudge { stamp: self.stamp(None) });
        }
    }

    /// Greets the successor: it is to say where its log ends and what we lack of it.
    pub(super) fn greet(&self, cx: &mut Context<'_, Self>) {
        if let Some(successor) = self.successor(cx) {
            let (last, committed) = (self.log.last(), self.committed);
            cx.send(successor, Message::Hello { stamp: self.stamp(None), last, committed });
        }
    }

    /// The successor began anew.
    pub(super) fn nudged(&mut self, stamp: Stamp, cx: &mut Context<'_, Self>) {
        if self.down.boot.is_none_or(|known| known < stamp.boot) {
            self.down = Down::default();
            self.pause = self.options.retry_after;
            self.greet(cx);
        }
    }

    /// The predecessor spoke to an earlier life of ours, or as a later life than we know: it has to greet us anew.
    pub(super) fn heard_other_life(&mut self, stamp: Stamp, cx: &mut Context<'_, Self>) {
        let is_later = self.up.boot.is_none_or(|known| known < stamp.boot);
        if let (Some(predecessor), true) = (self.predecessor(cx), is_later || stamp.peer_boot < self.boot) {
            cx.send(predecessor, Message::Nudge { stamp: self.stamp(None) });
        }
    }

    /// The predecessor greets: from now on only this life of it is heard.
    pub(super) fn greeted(&mut self, stamp: Stamp, last: u64, committed: u64, cx: &mut Context<'_, Self>) {
        if self.up.boot.is_some_and(|known| known > stamp.boot) {
            return; // of an earlier life
        }
        if self.up.boot.is_none() && self.is_member() {
            // Our own disk may be an empty one: what the predecessor has may have been committed by an earlier life of ours.
            self.floor = self.floor.max(last);
        }
        if self.up.boot != Some(stamp.boot) {
            self.end_copy();
        }
        self.up.boot = Some(stamp.boot);
        self.up.greeted = Some(last);
        if self.is_member() {
            self.up.committed = self.up.committed.max(committed); // a joiner need not have it
        }
        self.welcome(cx);
        self.answer_waiting(cx);
    }

    /// Answers the predecessor's greeting, once we know our own log.
    pub(super) fn welcome(&mut self, cx: &mut Context<'_, Self>) {
        if !self.joined {
            return;
        }
        if self.up.committed > self.log.last() {
            self.trouble = Some(Trouble::LostOwn { last: self.log.last(), committed: self.up.committed });
            return;
        }
        if let (Some(predecessor), Some(last)) = (self.predecessor(cx), self.up.greeted.take()) {
            let entries = self.log.batch_after(last, self.options.batch_weight_max, M::weight);
            let first = last.max(self.log.base()) + 1;
            let stamp = self.stamp(self.up.boot);
            cx.send(predecessor, Message::Welcome { stamp, last: self.log.last(), first, entries });
        }
    }

    /// Says where our log ends, to a predecessor that did not ask what it lacks: should it lack something after all, it asks.
    pub(super) fn welcome_with_nothing(&mut self, cx: &mut Context<'_, Self>) {
        if let (Some(predecessor), true) = (self.predecessor(cx), self.joined && self.trouble.is_none()) {
            self.up.greeted = None;
            let (last, stamp) = (self.log.last(), self.stamp(self.up.boot));
            cx.send(predecessor, Message::Welcome { stamp, last, first: 0, entries: Batch::default() });
        }
    }

    /// The successor says where its log ends, and gives what we lack.
    pub(super) fn welcomed(
        &mut self,
        stamp: Stamp,
        last: u64,
        first: u64,
        entries: &Batch<M::Command>,
        cx: &mut Context<'_, Self>,
    ) {
        if stamp.peer_boot != self.boot {
            // To an earlier life of ours. From a life that we do not know: its nudge was lost.
            return if self.down.boot.is_none_or(|known| known < stamp.boot) {
                self.nudged(stamp, cx)
            };
        }
        if self.down.boot.is_some_and(|known| known > stamp.boot) {
            return; // from an earlier life of the successor
        }
        if !self.joined && last > self.log.last() {
            let next = self.log.last() + 1;
            let known = usize::try_from(next.saturating_sub(first)).unwrap_or(usize::MAX);
            if first > next {
                self.trouble = Some(Trouble::LostOwn { last: self.log.last(), committed: first - 1 });
                return; // nobody holds what we lack
            }
            if known >= entries.len() {
                return self.greet(cx); // an answer to an earlier greeting; ask from where we are
            }
            if !self.has_room() {
                return; // asked again by the alarm, since we have not joined
            }
            cx.append(self, Record::Entries { first: next, entries: entries[known..].into() });
            self.batches.push_back(next);
            self.weigh_uncommitted();
            if last > self.log.last() {
                return self.greet(cx); // there is more
            }
        }
        let is_joiner = self.own_joiner().is_some();
        if is_joiner && last < self.log.base() {
            (self.joined, self.trouble) = (true, None);
            self.down = Down::default();
            self.welcome(cx);
            return self.give(stamp, cx);
        }
        if !is_joiner && last < self.committed {
            self.trouble = Some(Trouble::LostBySuccessor { last, committed: self.committed });
            return;
        }
        self.joined = true;
        self.trouble = None;
        self.given = None;
        self.down = Down { boot: Some(stamp.boot), sent: last.min(self.log.last()), ..Down::default() };
        if is_joiner {
            // Said once all that it has is on its disk.
            (self.down.has, self.down.in_step_at) = (last, self.committed.max(self.floor));
            self.tell_joiner(cx);
        }
        self.welcome(cx);
        self.pass(cx);
        self.settle(cx);
        self.mind_joiner(cx);
    }
}
