//! As an acceptor: promises, votes, and says what it promised to whoever asks whether he still leads.

use alloc::boxed::Box;

use quorate_model::{Context, Instant, Machine, NodeId, Pid};

use super::super::super::ballot::Ballot;
use super::super::leader::Phase;
use super::super::lease::Grant;
use super::super::message::{Base, Batch, Message, Record};
use super::{Mutant, Node};

impl<M: Machine> Node<M> {
    /// Somebody wants to lead.
    pub(super) fn prepare(&mut self, from: Pid, ballot: Ballot, applied: u64, cx: &mut Context<'_, Self>) {
        if ballot < self.acceptor.promised() {
            return self.refuse(from, ballot, cx);
        }
        if !self.may_decide() {
            return self.asked_of_amnesic(from, ballot, cx);
        }
        if self.may_not_promise(ballot.node, cx) {
            return; // it will ask again, and one day the lease is over
        }
        if applied < self.acceptor.base().max(self.replica.members.since()) {
            return self.send_snapshot(from, ballot, cx); // it asks the wrong members, or for what is forgotten
        }
        self.promise(ballot, cx);
        self.wait_anew();
        let votes = self.acceptor.after(applied).map(|(slot, vote)| (slot, vote.clone())).collect();
        cx.send(from, Message::Promise { ballot, applied: self.replica.applied, votes });
    }

    /// Promises, and leads in no lower ballot from now on.
    pub(super) fn promise(&mut self, ballot: Ballot, cx: &mut Context<'_, Self>) {
        self.seen = self.seen.max(ballot);
        if self.phase.ballot().is_some_and(|ours| ours < ballot) {
            self.phase = Phase::Following;
        }
        if ballot > self.acceptor.promised() && !self.breaks(Mutant::ForgetsPromise) {
            self.append(Record::Promised(ballot), cx);
        }
    }

    /// Whether a lease forbids to promise `candidate` anything.
    pub(super) fn may_not_promise(&self, candidate: NodeId, cx: &Context<'_, Self>) -> bool {
        self.grant.is_some_and(|grant| grant.forbids(candidate, cx.now))
    }

    pub(super) fn refuse(&self, from: Pid, ballot: Ballot, cx: &mut Context<'_, Self>) {
        cx.send(from, Message::Refused { ballot, higher: self.highest() });
    }

    /// The leader of `ballot` speaks.
    fn heard(&mut self, ballot: Ballot, now: Instant) {
        self.note_leader(ballot, now);
        self.seen = self.seen.max(ballot);
        self.attempts = 0;
        self.wait_anew();
        if self.phase.ballot().is_some_and(|ours| ours < ballot) {
            self.phase = Phase::Following;
        }
    }

    /// The leader puts items to the vote, the first of them in slot `first`.
    pub(super) fn accept(
        &mut self,
        from: Pid,
        ballot: Ballot,
        first: u64,
        items: &Batch<M::Command>,
        cx: &mut Context<'_, Self>,
    ) {
        if ballot < self.acceptor.promised() {
            return self.refuse(from, ballot, cx);
        }
        self.heard(ballot, cx.now);
        let known = |slot: u64| slot <= self.replica.applied || self.acceptor.voted_in(slot, ballot);
        let old = (first..).zip(items.iter()).take_while(|(slot, _)| known(*slot)).count();
        if old < items.len() {
            let new = if old == 0 { items.clone() } else { items[old..].into() };
            if self.breaks(Mutant::SaysBeforeDurable) {
                let index = first + items.len() as u64 - 1;
                cx.send(from, Message::Voted { ballot, index, applied: self.replica.applied });
            }
            self.append(Record::Voted { ballot, first: first + old as u64, items: new }, cx);
        }
        self.say_voted(from, ballot, cx);
    }

    fn say_voted(&mut self, to: Pid, ballot: Ballot, cx: &mut Context<'_, Self>) {
        let (index, applied) = (self.end_in(ballot), self.replica.applied);
        cx.send(
            to,
            if self.may_decide() {
                Message::Voted { ballot, index, applied }
            } else {
                Message::Held { ballot, index, applied }
            },
        );
    }

    /// The leader says that everything up to `index` is chosen. In the slots where we voted in its ballot, that is what
    /// we voted for.
    pub(super) fn told_chosen(&mut self, from: Pid, ballot: Ballot, index: u64, cx: &mut Context<'_, Self>) {
        let before = self.replica.applied;
        let held = (before + 1..=index).take_while(|slot| self.acceptor.voted_in(*slot, ballot)).count() as u64;
        self.advance(before + held, cx);
        if ballot < self.acceptor.promised() {
            return self.refuse(from, ballot, cx);
        }
        self.heard(ballot, cx.now);
        let applied = self.replica.applied;
        self.behind &= applied < index;
        if applied < index || applied == before {
            self.say_voted(from, ballot, cx); // we lack something, or the leader does not know what we have
        }
    }

    /// Somebody sends what came of the log, since we lack too much of it.
    pub(super) fn install(
        &mut self,
        from: Pid,
        ballot: Ballot,
        base: Box<Base<M::Answer, M::Snapshot>>,
        cx: &mut Context<'_, Self>,
    ) {
        if matches!(self.phase, Phase::Leading(_)) {
            return; // a late answer of one whose promise we did without
        }
        if base.index > self.replica.applied {
            self.seen = self.seen.max(base.ballot);
            if self.phase.ballot().is_some_and(|ours| ours < base.ballot) {
                self.phase = Phase::Following;
                self.behind = true;
            }
            self.append(Record::Base(base), cx);
            self.answer_ready(cx);
        }
        if self.is_amnesic() {
            self.ask_to_recall(cx);
        }
        if self.phase.ballot() == Some(ballot) {
            self.ask_for_promises(cx); // by a member that we asked as a candidate
        } else if ballot >= self.acceptor.promised() {
            self.heard(ballot, cx.now);
            self.behind = false;
            self.say_voted(from, ballot, cx);
        }
    }

    /// Sends what came of the log, to go on from there.
    pub(super) fn send_snapshot(&self, to: Pid, ballot: Ballot, cx: &mut Context<'_, Self>) {
        let base = Box::new(self.replica.base(self.acceptor.promised()));
        cx.send_without(self.newer_than(self.replica.applied), to, Message::Snapshot { ballot, base });
    }

    /// Somebody asks whether he still leads.
    pub(super) fn confirm(&mut self, from: Pid, ballot: Ballot, round: u64, cx: &mut Context<'_, Self>) {
        if ballot < self.acceptor.promised() {
            return self.refuse(from, ballot, cx);
        }
        self.heard(ballot, cx.now);
        if !self.may_decide() {
            return self.asked_of_amnesic(from, ballot, cx);
        }
        self.promise(ballot, cx);
        self.grant_lease(ballot.node, cx);
        cx.send(from, Message::Confirmed { ballot, round });
        if self.observer.is_some() && self.behind {
            self.nudge(cx); // who hears the leader does not try to lead, so it asks again what was lost
        }
    }

    /// Promises nobody but `holder` anything for a while, counted from now.
    pub(super) fn grant_lease(&mut self, holder: NodeId, cx: &Context<'_, Self>) {
        if let Some(lease) = self.options.lease {
            let bound = if self.breaks(Mutant::IgnoresDrift) { lease.term } else { lease.bound() };
            self.grant = Some(Grant { holder: Some(holder), until: cx.now + bound });
        }
    }
}
