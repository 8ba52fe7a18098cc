//! As the leader: phase 2, for many slots at once, in order.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use quorate_model::quorum::reached;
use quorate_model::{Context, Machine, NodeId, Pid};

use super::super::super::ballot::Ballot;
use super::super::leader::{Leading, Peer, Phase, Preparing, Proposals, Round};
use super::super::message::{Batch, Item, Message, Order, Record};
use super::{Mutant, Node};
use crate::operation::Entry;

impl<M: Machine> Node<M> {
    /// A quorum promised: nobody below our ballot decides anything any more.
    pub(super) fn lead(&mut self, mut preparing: Preparing<M::Command>, cx: &mut Context<'_, Self>) {
        self.attempts = 0;
        let applied = self.replica.applied;
        if self.breaks(Mutant::IgnoresVotes) {
            preparing.recovered.clear();
        }
        // 1. Where somebody voted, the vote of the highest ballot may be chosen, and nothing else can be. Where nobody did,
        //    before such a slot, nothing can be chosen, and nothing is put. Behind a change of members the votes are not
        //    the present members': phase 1 is done again when the change is chosen.
        let end = preparing.recovered.keys().next_back().copied().unwrap_or(applied);
        let mut items = Vec::new();
        for slot in applied + 1..=end {
            items.push(preparing.recovered.remove(&slot).map_or(Item::Nothing, |vote| vote.item));
            if items.last().is_some_and(Item::changes_members) {
                break;
            }
        }
        let members = self.replica.members.nodes().iter().filter(|node| **node != self.me);
        let peers = members.map(|node| (*node, peer(preparing.promises.get(node).copied())));
        let floor = applied + items.len() as u64;
        preparing.proposals.open.extend(items.iter().filter_map(Item::operation));
        self.phase = Phase::Leading(Leading {
            ballot: preparing.ballot,
            floor: if self.breaks(Mutant::ReadsBeforeFloor) { applied } else { floor },
            last: applied,
            window: VecDeque::new(),
            peers: peers.collect(),
            proposals: preparing.proposals,
            round: Round::default(),
            proof: None,
        });
        if !items.is_empty() {
            self.take(items.into(), cx);
        }
        self.order(cx);
        self.probe_unknown(cx);
        if let Some(question) = self.reads.question() {
            self.ask(question, cx);
        }
    }

    /// Leads in the ballot of an earlier life: what [`Mutant::SkipsPhaseOne`] does.
    pub(super) fn lead_at_once(&mut self, cx: &mut Context<'_, Self>) {
        let recovered = self.acceptor.after(self.replica.applied).map(|(slot, vote)| (slot, vote.clone())).collect();
        let (ballot, promises, proposals) = (self.acceptor.promised(), BTreeMap::new(), Proposals::new());
        self.lead(Preparing { ballot, promises, recovered, proposals }, cx);
    }

    /// How many votes, promises or confirmations decide.
    pub(super) fn quorum(&self) -> usize {
        if self.breaks(Mutant::DecidesAlone) { 1 } else { self.replica.members.quorum() }
    }

    /// The change of members that is ordered and not chosen, if there is one. Nothing is ordered behind it.
    fn change_under_way(&self, leading: &Leading<M::Command>) -> Option<&[NodeId]> {
        let vote = self.acceptor.get(leading.last).filter(|_| leading.last > self.replica.applied)?;
        match &vote.item {
            Item::Entry(Entry { command: Order::Members(nodes), .. }) => Some(nodes),
            _ => None,
        }
    }

    /// Gives the next slots to what waits, as far as the window is open.
    pub(super) fn order(&mut self, cx: &mut Context<'_, Self>) {
        loop {
            let Phase::Leading(leading) = &self.phase else { return };
            let is_changing = self.change_under_way(leading).is_some() && !self.breaks(Mutant::OrdersBehindChange);
            if leading.window.len() >= self.options.window_len_max || is_changing {
                return;
            }
            let batch = self.next_batch();
            if batch.is_empty() {
                return;
            }
            self.take(batch.into(), cx);
        }
    }

    /// What waits, as much of it as fits a message, and nothing behind a change of members.
    fn next_batch(&mut self) -> Vec<Item<M::Command>> {
        let (mut weight, mut batch) = (0, Vec::new());
        let Phase::Leading(leading) = &mut self.phase else { return batch };
        while let Some(entry) = leading.proposals.queue.pop_front() {
            let item = Item::Entry(entry);
            weight += Self::weight(&item);
            if weight > self.options.batch_weight_max && !batch.is_empty() {
                if let Item::Entry(entry) = item {
                    leading.proposals.queue.push_front(entry);
                }
                break;
            }
            let is_change = item.changes_members();
            batch.push(item);
            if is_change {
                break;
            }
        }
        batch
    }

    /// Puts items to the vote in the next slots, and votes for them itself.
    fn take(&mut self, items: Batch<M::Command>, cx: &mut Context<'_, Self>) {
        let Phase::Leading(leading) = &mut self.phase else { return };
        let first = leading.last + 1;
        leading.last += items.len() as u64;
        leading.window.push_back(leading.last);
        let ballot = leading.ballot;
        self.append(Record::Voted { ballot, first, items }, cx);
        for peer in self.peers() {
            self.pass(peer, cx);
        }
        self.settle(cx);
    }

    fn peers(&self) -> Vec<NodeId> {
        match &self.phase {
            Phase::Leading(leading) => leading.peers.keys().copied().collect(),
            _ => Vec::new(),
        }
    }

    /// Sends a member what it was not sent. It leaves at once: what it asks for does not rest on our own votes, and our
    /// vote counts for nothing that we say before it is on our disk.
    fn pass(&mut self, node: NodeId, cx: &mut Context<'_, Self>) {
        let (base, applied) = (self.acceptor.base(), self.replica.applied);
        let Phase::Leading(leading) = &mut self.phase else { return };
        let (ballot, last) = (leading.ballot, leading.last);
        let Some(peer) = leading.peers.get_mut(&node) else { return };
        let Some(sent) = &mut peer.sent else { return }; // it was asked what it has
        let mut batches = Vec::new();
        let is_far_behind = *sent < base;
        if is_far_behind {
            *sent = applied;
        }
        while *sent < last {
            let items = self.acceptor.batch_after(*sent, last, self.options.batch_weight_max, Self::weight);
            let first = *sent + 1;
            *sent += items.len() as u64;
            assert!(!items.is_empty(), "a leader holds everything from its base to the last slot");
            batches.push(Message::Accept { ballot, first, items });
        }
        let (to, without) = (Self::member(node, cx), self.newer_than(0));
        if is_far_behind {
            self.send_snapshot(to, ballot, cx);
        }
        for message in batches {
            cx.send_without(without, to, message);
        }
    }

    /// A member says up to where it voted.
    pub(super) fn voted(&mut self, node: NodeId, ballot: Ballot, index: u64, applied: u64, cx: &mut Context<'_, Self>) {
        let Phase::Leading(leading) = &mut self.phase else { return };
        if let Some(peer) = leading.peers.get_mut(&node).filter(|_| leading.ballot == ballot) {
            peer.voted = peer.voted.max(index);
            self.held(node, ballot, index, applied, cx);
        }
    }

    /// Somebody says up to where he holds what was put to the vote.
    pub(super) fn held(&mut self, node: NodeId, ballot: Ballot, index: u64, applied: u64, cx: &mut Context<'_, Self>) {
        let Phase::Leading(leading) = &mut self.phase else { return };
        let last = leading.last;
        let Some(peer) = leading.peers.get_mut(&node).filter(|_| leading.ballot == ballot) else { return };
        peer.held = peer.held.max(index);
        peer.applied = peer.applied.max(applied);
        peer.told = peer.told.max(applied);
        peer.sent.get_or_insert(index.min(last));
        self.settle(cx);
        self.pass(node, cx);
        self.tell_chosen(node, cx);
    }

    /// Finds out what a quorum has voted for.
    fn settle(&mut self, cx: &mut Context<'_, Self>) {
        let Phase::Leading(leading) = &self.phase else { return };
        let (ballot, last) = (leading.ballot, leading.last);
        let own = self.end_in(ballot);
        let Phase::Leading(leading) = &self.phase else { return };
        let mut members = self.replica.members.nodes();
        let mut quorum = self.quorum();
        if let Some(nodes) = self.change_under_way(leading).filter(|_| self.breaks(Mutant::UsesMembersEarly)) {
            members = nodes;
            quorum = quorate_model::quorum::majority(nodes.len());
        }
        let mark = |node: &NodeId| match leading.peers.get(node) {
            Some(peer) => peer.voted,
            None if *node == self.me => own,
            None => 0,
        };
        let index = reached(members.iter().map(mark), quorum).min(last);
        self.advance(index, cx);
    }

    /// Something more is chosen and applied.
    pub(super) fn led_further(&mut self, cx: &mut Context<'_, Self>) {
        let applied = self.replica.applied;
        for peer in self.peers() {
            self.tell_chosen(peer, cx);
        }
        let Phase::Leading(leading) = &mut self.phase else { return };
        while leading.window.front().is_some_and(|last| *last <= applied) {
            leading.window.pop_front();
        }
        if self.replica.members.since() == applied {
            // Whoever leads the new members from now on must have heard a quorum of them, and so must we. Our lease ends
            // here: those who granted it decide nothing any more.
            let (ballot, proposals) = (leading.ballot, core::mem::replace(&mut leading.proposals, Proposals::new()));
            return self.begin(ballot, proposals, cx);
        }
        self.order(cx);
    }

    /// Tells a member how far everything is chosen, if it was sent that and not told.
    fn tell_chosen(&mut self, node: NodeId, cx: &mut Context<'_, Self>) {
        let index = self.replica.applied;
        let Phase::Leading(leading) = &mut self.phase else { return };
        let Some(peer) = leading.peers.get_mut(&node) else { return };
        let Some(sent) = peer.sent.filter(|sent| *sent.min(&index) > peer.told) else { return };
        peer.told = sent.min(index);
        let message = Message::Chosen { ballot: leading.ballot, index: peer.told };
        cx.send_without(self.newer_than(index), Self::member(node, cx), message);
    }

    /// Tells a member how far we are, to hear how far it is.
    pub(super) fn tell_standing(&mut self, node: NodeId, cx: &mut Context<'_, Self>) {
        let index = self.replica.applied;
        let Phase::Leading(leading) = &mut self.phase else { return };
        leading.peers.entry(node).or_default().sent = None;
        let message = Message::Chosen { ballot: leading.ballot, index };
        cx.send_without(self.newer_than(index), Self::member(node, cx), message);
    }

    fn probe_unknown(&mut self, cx: &mut Context<'_, Self>) {
        let Phase::Leading(leading) = &self.phase else { return };
        let unknown = leading.peers.iter().filter(|(_, peer)| peer.sent.is_none());
        let unknown: Vec<_> = unknown.map(|(node, _)| *node).collect();
        for node in unknown {
            self.tell_standing(node, cx);
        }
    }

    /// Somebody was not heard for a while.
    pub(super) fn probe(&mut self, cx: &mut Context<'_, Self>) {
        let applied = self.replica.applied;
        let Phase::Leading(leading) = &mut self.phase else { return };
        for peer in leading.peers.values_mut() {
            if peer.applied < applied || peer.held < leading.last {
                peer.sent = None;
            }
        }
        self.probe_unknown(cx);
        self.confirm_again(cx);
    }

    /// Somebody who is no member asks for something. He hears what is chosen, so that he can answer his own client.
    pub(super) fn mind_listener(&mut self, node: NodeId, cx: &mut Context<'_, Self>) {
        let Phase::Leading(leading) = &self.phase else { return };
        if !leading.peers.contains_key(&node) {
            self.tell_standing(node, cx);
        }
    }

    /// Somebody began anew, and knows no more what was chosen, or has not heard of it. Perhaps he is a member and does not
    /// know it, and nobody else can lead.
    pub(super) fn nudged(&mut self, from: Pid, applied: u64, cx: &mut Context<'_, Self>) {
        let must_lead = self.must_lead_for(from);
        match &mut self.phase {
            Phase::Leading(leading) => {
                let peer = leading.peers.entry(from.node).or_default();
                (peer.applied, peer.told) = (0, 0);
                self.tell_standing(from.node, cx);
            }
            Phase::Preparing(_) => {} // he hears of it when we lead
            Phase::Following if must_lead => self.campaign_if_fresh(cx),
            Phase::Following => {
                self.refuse(from, Ballot::default(), cx);
                let ours = self.replica.applied;
                if applied < ours {
                    self.send_snapshot(from, Ballot::default(), cx);
                } else if applied > ours {
                    cx.send_without(self.newer_than(0), from, Message::Nudge { applied: ours }); // he can tell us
                }
            }
        }
    }
}

/// What is known of a member when a ballot begins: if it promised, up to where it knew what was chosen.
fn peer(promised: Option<u64>) -> Peer {
    match promised {
        Some(applied) => Peer { voted: applied, held: applied, sent: Some(applied), applied, told: applied },
        None => Peer::default(),
    }
}
