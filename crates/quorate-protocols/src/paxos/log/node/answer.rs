//! For those who read: what the log must be applied to, and by what right.
//!
//! A member asks the leader; the leader asks a quorum whether it still leads, or holds a lease. All that wait share one
//! question and one round. Whoever was acknowledged before a round began was so by this leader, or in a lower ballot: had
//! a quorum voted in a higher one, somebody in the quorum of the round would have promised that and refused. What lower
//! ballots may have chosen the leader found in phase 1, and it lies up to the floor; unless it found a change of members
//! there: then it answers when it has done phase 1 with those, too.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::mem;

use quorate_model::time::Staleness;
use quorate_model::{Context, Machine, NodeId, Pid};

use super::super::super::ballot::Ballot;
use super::super::leader::{Phase, Round};
use super::super::message::Message;
use super::super::read::Read;
use super::{Mutant, Node};
use crate::operation::OperationId;

impl<M: Machine> Node<M> {
    /// The own client wants to read.
    pub(super) fn read(&mut self, read: Read<M::Query>, cx: &mut Context<'_, Self>) {
        if let Some(question) = self.reads.wait(read) {
            self.ask(question, cx);
        }
    }

    /// Asks the leader how far the log must be applied.
    pub(super) fn ask(&mut self, question: OperationId, cx: &mut Context<'_, Self>) {
        match &self.phase {
            Phase::Leading(_) => self.questioned(cx.me, question, cx),
            Phase::Preparing(_) => {} // asked when we lead
            Phase::Following if self.must_lead_for(cx.me) => self.campaign_if_fresh(cx),
            Phase::Following => {
                self.asked = true;
                self.send_guide(Message::Question { operation: question }, cx);
            }
        }
    }

    /// A member asks how far the log must be applied for its reads.
    pub(super) fn questioned(&mut self, from: Pid, question: OperationId, cx: &mut Context<'_, Self>) {
        let Phase::Leading(leading) = &mut self.phase else {
            return match &self.phase {
                Phase::Following if self.must_lead_for(from) => self.campaign_if_fresh(cx),
                Phase::Following => self.refuse(from, Ballot::default(), cx),
                _ => {} // it will ask again
            };
        };
        // What a leader finds in phase 1 may end with a change of members, and they may have decided more since.
        let last = self.acceptor.get(leading.last).filter(|_| leading.last > self.replica.applied);
        if last.is_some_and(|vote| vote.item.changes_members()) && self.mutant != Some(Mutant::ReadsDuringChange) {
            return; // asked again when it is chosen
        }
        let index = leading.floor.max(self.replica.applied);
        let left = match (&self.options.lease, &leading.proof) {
            (Some(lease), Some(proof)) => proof.remaining(lease.term, cx.now),
            _ => core::time::Duration::ZERO,
        };
        let round = &mut leading.round;
        let is_sure = !left.is_zero() || self.mutant == Some(Mutant::ReadsUnconfirmed);
        if !is_sure && !round.waiting.contains(&(from, question)) && !round.askers.contains(&(from, question)) {
            round.waiting.push((from, question));
        }
        // A lease that is half over is renewed before it ends.
        let is_due = !is_sure || self.options.lease.is_some_and(|lease| left < lease.term / 2);
        if is_due && !round.is_open {
            self.open_round(cx);
        }
        if from.node != self.me {
            self.mind_listener(from.node, cx);
        }
        if is_sure {
            self.answer_question(from, question, index, cx);
        }
    }

    /// Begins a round for all who wait. Those who waited for a round that is open may as well wait for a later one.
    pub(super) fn open_round(&mut self, cx: &mut Context<'_, Self>) {
        self.grant_lease(self.me, cx);
        let applied = self.replica.applied;
        let Phase::Leading(leading) = &mut self.phase else { return };
        let mut askers = mem::take(&mut leading.round.askers);
        askers.append(&mut leading.round.waiting);
        leading.round = Round {
            number: leading.round.number + 1,
            is_open: true,
            asked: cx.now,
            index: leading.floor.max(applied),
            confirmed: BTreeSet::from([self.me]),
            askers,
            waiting: Vec::new(),
        };
        self.confirm_again(cx);
        self.close_round(cx);
    }

    /// Asks those who have not confirmed.
    pub(super) fn confirm_again(&mut self, cx: &mut Context<'_, Self>) {
        let Phase::Leading(leading) = &self.phase else { return };
        let round = &leading.round;
        let silent = |node: &&NodeId| round.is_open && !round.confirmed.contains(node);
        for &node in self.replica.members.nodes().iter().filter(silent) {
            let message = Message::Confirm { ballot: leading.ballot, round: round.number };
            cx.send_without(self.newer_than(0), Self::member(node, cx), message);
        }
    }

    /// A member says that we still lead.
    pub(super) fn confirmed(&mut self, node: NodeId, ballot: Ballot, number: u64, cx: &mut Context<'_, Self>) {
        let Phase::Leading(leading) = &mut self.phase else { return };
        if leading.ballot == ballot && leading.round.number == number {
            leading.round.confirmed.insert(node);
            self.close_round(cx);
        }
    }

    fn close_round(&mut self, cx: &mut Context<'_, Self>) {
        let quorum = self.quorum();
        let counts_from_grant = self.breaks(Mutant::CountsLeaseFromGrant);
        let members = self.replica.members.nodes();
        let Phase::Leading(leading) = &mut self.phase else { return };
        let round = &mut leading.round;
        let confirmed = members.iter().filter(|node| round.confirmed.contains(node)).count();
        if !round.is_open || confirmed < quorum {
            return;
        }
        round.is_open = false;
        let asked = if counts_from_grant { cx.now } else { round.asked };
        leading.proof.get_or_insert(Staleness::proven(asked)).renew(asked);
        self.tell_leads(asked, cx);
        let Phase::Leading(leading) = &mut self.phase else { return };
        let round = &mut leading.round;
        let (index, askers) = (round.index, mem::take(&mut round.askers));
        if !round.waiting.is_empty() {
            self.open_round(cx);
        }
        for (asker, question) in askers {
            self.answer_question(asker, question, index, cx);
        }
    }

    fn answer_question(&mut self, to: Pid, question: OperationId, index: u64, cx: &mut Context<'_, Self>) {
        if to == cx.me {
            return self.told_index(question, index, cx);
        }
        cx.send_without(self.newer_than(index), to, Message::ReadAt { operation: question, index });
    }

    /// The leader says how far the log must be applied for our reads.
    pub(super) fn told_index(&mut self, question: OperationId, index: u64, cx: &mut Context<'_, Self>) {
        self.asked = false;
        if let Some(next) = self.reads.told(question, index) {
            self.ask(next, cx);
        }
        self.answer_ready(cx);
    }

    /// Answers the reads that waited for what is applied.
    pub(super) fn answer_ready(&mut self, cx: &mut Context<'_, Self>) {
        for read in self.reads.ready(self.replica.applied) {
            self.answer_read(read, cx);
        }
    }

    pub(super) fn answer_read(&self, read: Read<M::Query>, cx: &mut Context<'_, Self>) {
        let answer = self.replica.machine.read(&read.query);
        let message = Message::ReadDone { operation: read.operation, answer };
        cx.send_without(self.newer_than(self.replica.applied), Self::own_client(cx), message);
    }
}
