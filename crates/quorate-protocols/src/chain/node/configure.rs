//! Moving to a longer configuration prefix, each member when it hears of it.
//!
//! | at | hears | does | tells |
//! |----|-------|------|-------|
//! | node | Configure | if it is longer: writes it down, then acts on it: forgets links, greets anew | how far it is: ActsOn |
//! | node | anything said under a longer prefix | nothing | once, that it heard of it: ActsOn |
//! | node | anything said under a shorter prefix | nothing | |
//! | node that is no member | Order, Read | nothing | own client: Refused |
//! | joiner | Forward | appends it | tail, once on disk: Holds |
//! | tail | Holds of the joiner, which has what it lacked | writes down that it commits nothing without it: InStep | ActsOn |
//!
//! The record of a configuration comes before all that is said under it, so whoever restarts acts on no shorter prefix than
//! it had acted on. What is durable on the way is forgotten in the move, and said anew under the new prefix.
//!
//! **A joiner is a successor in all but name.** The tail passes it entries as to any successor, and asks it after a restart
//! for what it lost. Only commits do not wait for it, until it has all that is committed: from then on they do, and the
//! tail says so. What was committed is therefore on the joiner's disk when it is admitted.

use alloc::vec::Vec;

use quorate_model::{Context, Machine, NodeId, Pid, Service};

use super::super::configuration::Configuration;
use super::super::link::{Down, Stamp, Up};
use super::super::log::Log;
use super::super::membership;
use super::super::message::{Message, Record};
use super::super::read::Reads;
use super::super::session::Sessions;
use super::{Mutant, Node, Trouble};

/// Commits wait for a joiner once it lacks no more entries than this: for about as long as it takes to get them.
const LAG_LEN_MAX: u64 = 1_024;

impl<M: Machine> Node<M> {
    /// Lets `swamis` hear how far this node is with configurations, and when a joiner may be admitted.
    #[must_use]
    pub fn configured_by(mut self, swamis: Vec<Pid>) -> Self {
        self.swamis = swamis;
        self
    }

    /// From now on it is these.
    pub(super) fn swamis_are(&mut self, swamis: Vec<Pid>, cx: &mut Context<'_, Self>) {
        self.swamis = swamis;
        self.tell_swamis(cx);
        self.renew(cx);
    }

    /// One of those who may decide on the members says something.
    pub(super) fn hear_swami(&mut self, from: Pid, message: membership::Message, cx: &mut Context<'_, Self>) {
        match message {
            membership::Message::Configure(configuration) => self.configure(configuration, cx),
            membership::Message::Granted { asked, term } => self.granted(asked, term, cx),
            membership::Message::Retire { revision } => self.retire(from, revision, cx),
            _ => {} // said to a swami
        }
    }

    /// There is a configuration, perhaps a longer one.
    fn configure(&mut self, next: Configuration, cx: &mut Context<'_, Self>) {
        if next.prefix_len() > self.configuration.prefix_len() {
            cx.append(self, Record::Configured(next));
            self.aside = None; // nothing of it is wanted in this life
            if self.configuration.joiner() == Some(self.me) {
                self.trouble = None; // who joins is given everything anew
            }
            self.take_place(cx);
        }
        self.tell_swamis(cx);
    }

    /// We act on `next` from now on. Who joins begins with nothing, whatever it held as a member: what it held was never
    /// committed, or comes with the copy.
    pub(super) fn follow(&mut self, next: Configuration) {
        if next.prefix_len() <= self.configuration.prefix_len() {
            return;
        }
        let begins_to_join = next.joiner() == Some(self.me) && !next.has_same_joiner(&self.configuration);
        self.configuration = next;
        let holds_something = self.log.last() > 0 || self.applied > 0;
        if begins_to_join && holds_something && !self.breaks(Mutant::JoinsWithOldLog) {
            // Beside what is put aside, if anything is: that is still wanted, should the copy that ends this join be in it.
            let aside = self.aside.as_ref().filter(|_| !self.breaks(Mutant::ForgetsAside));
            let blank = aside.unwrap_or(&self.machine).blank();
            let held = core::mem::replace(&mut self.machine, blank);
            self.aside.get_or_insert(held);
            (self.log, self.sessions) = (Log::new(0), Sessions::new(self.me));
            (self.applied, self.committed, self.committed_at_retry, self.floor) = (0, 0, 0, 0);
            self.full_at = self.full_at.map(|_| 0);
            self.unapplied.clear();
            self.missing = None;
            self.taken = None;
        }
    }

    /// Begins to act on the configuration.
    fn take_place(&mut self, cx: &mut Context<'_, Self>) {
        self.up = Up::default();
        self.down = Down::default();
        self.batches.clear(); // what is said from now on rests on the configuration, and so on all records before it
        self.questions.clear();
        self.proposed.clear(); // their clients propose them again, to whoever is the head now
        self.crowded = false;
        self.weigh_uncommitted();
        self.pause = self.options.retry_after;
        // Whoever was the tail so far, what it committed is in our log; what is not in it is not committed, and may never be.
        self.floor = self.log.last();
        self.said_in_step = false;
        (self.given, self.kept_weight) = (None, 0);
        if self.is_member() || !self.is_in_line() {
            self.taken = None;
        }
        self.end_copy();
        match self.trouble {
            Some(Trouble::LostOwn { .. } | Trouble::CannotCopy) => self.joined = false,
            Some(Trouble::LostBySuccessor { .. }) | None => {
                self.trouble = None;
                // Our disk may be an empty or an old one, and who is behind us now may have more than we ever knew of.
                self.joined = self.is_end();
            }
        }
        if !self.is_member() {
            // Others may execute what we passed on, and would give us no answer: its client must not wait for one.
            self.refused = (self.refused.0.max(self.passed_on), self.passed_on);
        }
        if self.is_member() {
            self.reads.ask_anew(self.is_tail().then_some(self.floor));
        } else {
            self.reads = Reads::new(); // the client asks again, and is refused
        }
        self.nudge(cx);
        self.greet(cx);
        self.settle(cx);
        self.ask_tail_again(cx);
        self.answer_waiting(cx);
        self.renew(cx);
        cx.send(Pid { service: Service::Client, ..cx.me }, Message::Moved);
    }

    /// Something was said under a longer prefix.
    pub(super) fn heard_of(&mut self, prefix_len: u64, cx: &mut Context<'_, Self>) {
        if prefix_len > self.heard_len {
            self.heard_len = prefix_len;
            self.tell_swamis(cx);
        }
    }

    /// Whether someone told of a longer prefix than is acted on.
    pub(super) fn is_behind(&self) -> bool {
        self.heard_len > self.configuration.prefix_len()
    }

    /// Tells whoever may decide on the members how far we are.
    pub(super) fn tell_swamis(&self, cx: &mut Context<'_, Self>) {
        let prefix_len = self.configuration.prefix_len();
        let heard_len = self.heard_len.max(prefix_len);
        for swami in &self.swamis {
            let message = membership::Message::ActsOn { prefix_len, heard_len, in_step: self.is_joiner_whole() };
            cx.send(*swami, Message::Membership(message));
        }
    }

    /// The joiner, to the tail.
    pub(super) fn own_joiner(&self) -> Option<NodeId> {
        self.configuration.joiner().filter(|_| self.is_tail())
    }

    /// As the joiner, says how far our disk is.
    pub(super) fn hold(&mut self, cx: &mut Context<'_, Self>) {
        let index = self.log.last();
        if let (Some(tail), Some(_)) = (self.predecessor(cx), self.up.boot)
            && index > self.up.told
        {
            self.up.told = index;
            cx.send(tail, Message::Holds { index, stamp: self.stamp(self.up.boot) });
        }
    }

    /// The joiner says to us, the tail, how far its disk is.
    pub(super) fn told_held(&mut self, from: Pid, stamp: Stamp, index: u64, cx: &mut Context<'_, Self>) {
        if self.own_joiner() != Some(from.node) || self.down.boot != Some(stamp.boot) {
            return; // of an earlier life, or before its welcome
        }
        self.down.has = self.down.has.max(index);
        if index <= self.committed {
            self.tell_joiner(cx);
        }
        self.pass(cx);
        self.settle(cx);
        self.mind_joiner(cx);
    }

    /// The joiner has more on its disk, or more of what it has is committed: it may be in step now.
    pub(super) fn mind_joiner(&mut self, cx: &mut Context<'_, Self>) {
        if self.own_joiner().is_none() || self.down.boot.is_none() {
            return;
        }
        if !self.is_in_step() && self.down.has >= self.down.in_step_at {
            if self.committed > self.down.has + LAG_LEN_MAX {
                self.down.in_step_at = self.committed;
            } else {
                cx.append(self, Record::InStep(self.configuration.prefix_len()));
            }
        }
        if self.is_joiner_whole() && !self.said_in_step {
            self.said_in_step = true;
            self.tell_swamis(cx);
        }
    }

    /// Tells the joiner how far we, the tail, have committed.
    pub(super) fn tell_joiner(&self, cx: &mut Context<'_, Self>) {
        if let (Some(_), Some(joiner), Some(_)) = (self.own_joiner(), self.successor(cx), self.down.boot)
            && self.committed > 0
        {
            let message = Message::Committed { index: self.committed, stamp: self.stamp(self.down.boot) };
            cx.send_without(self.batches_beyond(self.committed), joiner, message);
        }
    }

    /// A word of the joiner may have been lost: it says where its log ends to whoever greets it.
    pub(super) fn remind_joiner(&mut self, cx: &mut Context<'_, Self>) {
        let waits = self.own_joiner().is_some() && self.joined && self.down.boot.is_some();
        let lacks = self.down.has < self.log.last() || !self.is_joiner_whole();
        if waits && lacks && self.down.has == self.down.has_at_retry {
            self.greet(cx);
        }
        self.down.has_at_retry = self.down.has;
    }

    /// Whether, as the tail, we commit nothing without the joiner.
    pub(super) fn is_in_step(&self) -> bool {
        self.in_step == self.configuration.prefix_len()
    }

    /// Whether the joiner has all that was ever committed, and all that will be under this prefix.
    fn is_joiner_whole(&self) -> bool {
        if self.own_joiner().is_none() || self.down.boot.is_none() {
            return self.given.is_some() && self.breaks(Mutant::AdmitsEarly);
        }
        self.is_in_step() && self.knows_commits() && self.down.has >= self.committed
    }
}
