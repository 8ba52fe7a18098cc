//! As a candidate: phase 1, once for all slots.
//!
//! A member tries to lead when it is asked for something and knows no leader, or when the leader does not answer in time.
//! Nobody sends heartbeats, but where somebody observes who leads (`observe`): a log that nobody uses is silent, and a leader
//! is missed when it is needed. Who is refused
//! waits for the other to lead, a random time that grows with each attempt, and then tries again: a redrive.

use alloc::collections::BTreeMap;
use core::mem;

use quorate_model::{Context, Machine, NodeId, Pid, Service};

use super::super::super::ballot::Ballot;
use super::super::leader::{Phase, Preparing, Proposals};
use super::super::message::{Message, Order, Votes};
use super::super::session::Known;
use super::{Mutant, Node};
use crate::operation::Entry;

impl<M: Machine> Node<M> {
    /// Somebody wants `entry` ordered.
    pub(super) fn proposed(&mut self, from: Pid, entry: Entry<Order<M::Command>>, cx: &mut Context<'_, Self>) {
        let is_forwarded = from.service != Service::Client;
        match self.replica.sessions.known(entry.operation) {
            Known::Answered(outcome) if !is_forwarded => {
                let outcomes = alloc::vec![(entry.operation, outcome.clone())];
                let without = self.newer_than(self.replica.applied);
                return cx.send_without(without, Self::own_client(cx), Message::Applied(outcomes));
            }
            Known::Answered(_) | Known::Over if !self.breaks(Mutant::ForgetsSessions) => {
                // Its own member answers, once it knows.
                return if is_forwarded {
                    self.nudged(from, self.replica.applied, cx)
                };
            }
            _ => {}
        }
        let must_lead = self.must_lead_for(from);
        match &mut self.phase {
            Phase::Leading(leading) => {
                leading.proposals.add(entry);
                if is_forwarded {
                    self.mind_listener(from.node, cx);
                }
                self.order(cx);
            }
            Phase::Preparing(preparing) => preparing.proposals.add(entry),
            Phase::Following if must_lead => {
                self.campaign_if_fresh(cx);
                match &mut self.phase {
                    Phase::Following => {} // a lease forbids it: it will be proposed again
                    Phase::Preparing(preparing) => preparing.proposals.add(entry),
                    Phase::Leading(leading) => {
                        leading.proposals.add(entry);
                        self.order(cx);
                    }
                }
            }
            Phase::Following if is_forwarded => self.refuse(from, Ballot::default(), cx),
            Phase::Following => {
                self.asked = true;
                self.send_guide(Message::Propose { entry }, cx);
            }
        }
    }

    /// Whether nobody else can do what `asker` asks for: we are a member, and know no leader, or it is the leader that we
    /// know who asks, so it leads no more.
    pub(super) fn must_lead_for(&self, asker: Pid) -> bool {
        self.is_member() && self.guide().is_none_or(|guide| guide == asker.node)
    }

    /// Tries to lead at once, or, if we tried before and heard no leader since, when the time comes: two who are refused by
    /// each other and asked by others would refuse each other for ever.
    pub(super) fn campaign_if_fresh(&mut self, cx: &mut Context<'_, Self>) {
        if self.attempts == 0 {
            self.campaign(cx);
        } else {
            self.behind = true;
        }
    }

    /// Tries to lead, in a ballot above all that we know of.
    pub(super) fn campaign(&mut self, cx: &mut Context<'_, Self>) {
        if self.may_not_promise(self.me, cx) {
            self.behind = true; // try again later
            return;
        }
        self.attempts = self.attempts.saturating_add(1);
        (self.asked, self.behind) = (false, false); // who still wants something asks again
        let ballot = self.highest().next_of(self.me);
        self.promise(ballot, cx); // no ballot is begun twice: what we promised outlives us
        self.begin(ballot, Proposals::new(), cx);
    }

    /// Phase 1 of `ballot`, with the present members: for the first time, or because they have changed.
    pub(super) fn begin(&mut self, ballot: Ballot, proposals: Proposals<M::Command>, cx: &mut Context<'_, Self>) {
        let applied = self.replica.applied;
        let recovered = self.acceptor.after(applied).map(|(slot, vote)| (slot, vote.clone())).collect();
        let promises = BTreeMap::from([(self.me, applied)]);
        self.phase = Phase::Preparing(Preparing { ballot, promises, recovered, proposals });
        self.ask_for_promises(cx);
    }

    /// Asks the members who have not promised. Perhaps there are enough, now that the members are others.
    pub(super) fn ask_for_promises(&mut self, cx: &mut Context<'_, Self>) {
        let Phase::Preparing(preparing) = &self.phase else { return };
        let message = Message::Prepare { ballot: preparing.ballot, applied: self.replica.applied };
        for &node in self.replica.members.nodes().iter().filter(|_| self.is_member()) {
            if !preparing.promises.contains_key(&node) {
                cx.send(Self::member(node, cx), message.clone());
            }
        }
        self.lead_if_promised(cx);
    }

    /// Who is no member leads nobody: members recall what they promised and voted for from each other (`recall`). It tells
    /// them that they are members until it hears one that leads.
    fn stand_back(&mut self, cx: &mut Context<'_, Self>) {
        self.phase = Phase::Following;
        self.behind = true;
        self.nudge(cx);
    }

    /// A member promises.
    pub(super) fn promised(
        &mut self,
        member: NodeId,
        ballot: Ballot,
        applied: u64,
        votes: Votes<M::Command>,
        cx: &mut Context<'_, Self>,
    ) {
        let Phase::Preparing(preparing) = &mut self.phase else { return }; // phase 1 is over
        if ballot != preparing.ballot {
            return; // of an attempt that is over
        }
        preparing.promises.insert(member, applied);
        for (slot, vote) in votes {
            preparing.recover(slot, vote);
        }
        self.lead_if_promised(cx);
    }

    fn lead_if_promised(&mut self, cx: &mut Context<'_, Self>) {
        if matches!(self.phase, Phase::Preparing(_)) && !self.is_member() {
            return self.stand_back(cx);
        }
        let Phase::Preparing(preparing) = &self.phase else { return };
        let members = self.replica.members.nodes();
        let promised = members.iter().filter(|node| preparing.promises.contains_key(node)).count();
        if promised < self.quorum() {
            return;
        }
        if let Phase::Preparing(preparing) = mem::replace(&mut self.phase, Phase::Following) {
            self.lead(preparing, cx);
        }
    }

    /// Somebody knows a higher ballot than ours, or than the one whose owner we asked.
    pub(super) fn refused(&mut self, ballot: Ballot, higher: Ballot, cx: &mut Context<'_, Self>) {
        let is_news = higher > self.highest();
        self.seen = self.seen.max(higher);
        match self.phase.ballot() {
            Some(ours) if ours == ballot && higher > ours => {
                self.phase = Phase::Following;
                self.behind = true;
                self.nudge(cx);
            }
            None if is_news && self.behind => self.nudge(cx),
            _ => {} // of a ballot that is over
        }
    }
}
