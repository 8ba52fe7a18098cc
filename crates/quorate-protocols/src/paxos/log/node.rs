//! A member of the log. The table at the top of [`super`] says what it does; this file is its state and the match over
//! events. What it does as an acceptor is in `vote`, as a candidate in `campaign`, as the leader in `lead`, for those who
//! read in `answer`, for its observer in `observe`, without a memory in `recall`; what all do with what is chosen is in `apply`.

mod answer;
mod apply;
mod campaign;
mod lead;
mod mutant;
mod observe;
mod recall;
mod vote;

use alloc::collections::VecDeque;
use core::time::Duration;

use quorate_model::{Context, Event, Machine, NodeId, Pid, Process, Service, Wire};

use super::super::ballot::Ballot;
use super::acceptor::Acceptor;
use super::leader::Phase;
use super::lease::{Grant, Lease};
use super::members::Members;
use super::message::{Base, Item, Message, Order, Record, Timer, Vote};
use super::read::{Read, Reads};
use super::replica::Replica;
use crate::operation::Entry;
pub use mutant::Mutant;
use observe::Observer;
use recall::Recall;

/// How often the time until the next attempt to lead doubles.
const DOUBLINGS_MAX: u32 = 6;

/// How a member behaves where the protocol leaves it free.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NodeOptions {
    /// The weight, about bytes, of the items of one message and one record.
    pub batch_weight_max: usize,
    /// How many batches may be ordered and not chosen. What comes meanwhile gathers into the next batch.
    pub window_len_max: usize,
    /// The weight, about bytes, of the items that are kept after they were applied, for members that lag. Together with
    /// a full window it must fit a frame.
    pub kept_weight_max: usize,
    /// How long to wait before saying again what was not answered: at least this, at most twice this.
    pub retry_after: Duration,
    /// How long to wait for what was asked of the leader before trying to lead: at least this, at most twice this, and
    /// doubled with each attempt in vain.
    pub patience: Duration,
    /// In an observed log: a leader that was slow lately is waited for longer ([`quorate_model::time::Punctuality`]), at
    /// most so long. Without it, the patience is all that any leader is given.
    pub patience_max: Option<Duration>,
    /// Whether the leader answers reads alone for a while; without it, each read costs a round of questions.
    pub lease: Option<Lease>,
}

impl Default for NodeOptions {
    fn default() -> Self {
        Self {
            batch_weight_max: 1 << 20,
            window_len_max: 16,
            kept_weight_max: 16 << 20,
            retry_after: Duration::from_millis(50),
            patience: Duration::from_millis(300),
            patience_max: None,
            lease: None,
        }
    }
}

/// What the alarm is set for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
enum Waiting {
    /// For the leader.
    Leader,
    /// For promises.
    Promises,
    /// For votes, confirmations, or members that lag.
    Members,
}

/// A member of the log.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Node<M: Machine> {
    me: NodeId,
    options: NodeOptions,
    mutant: Option<Mutant>,

    // Durable: a fold of the records.
    acceptor: Acceptor<M::Command>,

    // What came of the log: lost in a restart, and made anew from the last base.
    replica: Replica<M, M::Answer>,

    // Volatile.
    phase: Phase<M::Command>,
    /// The highest ballot that we heard of.
    seen: Ballot,
    /// How often we tried to lead, or waited for a leader, since we last heard one.
    attempts: u32,
    /// We asked the leader something, and nothing of ours was done since.
    asked: bool,
    /// We don't know how far the others are.
    behind: bool,
    /// In this ballot, we voted in every slot up to here, or know what was chosen.
    end: (Ballot, u64),
    reads: Reads<M::Query>,
    grant: Option<Grant>,
    recall: Recall<M::Command>,
    observer: Option<Observer>,
    waiting: Option<Waiting>,
    /// Of each record that was appended in this life and may rest: the first slot that it speaks of; 0 for a promise.
    records: VecDeque<u64>,
    /// The weight of the items that are applied and kept.
    kept_weight: usize,
}

/// How a member stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NodeStatus {
    /// Whether it leads.
    pub leads: bool,
    /// The highest ballot that it promised.
    pub promised: Ballot,
    /// The slot before the first that it may hold.
    pub base: u64,
    /// The last slot that it knows to be chosen; all of that is applied.
    pub applied: u64,
}

impl<M: Machine> Node<M> {
    /// The member on node `me`, before its records are replayed. `members` are those that the log begins with; a node
    /// that is to join later is given those whom it can ask. `machine` is fresh, or opened from storage of its own.
    ///
    /// # Panics
    /// If the machine's own storage holds sessions that are not ours.
    #[must_use]
    pub fn new(me: NodeId, members: Members, options: NodeOptions, machine: M) -> Self {
        let replica = Replica::new(members, machine);
        let never = Ballot::default();
        Self {
            me,
            options,
            mutant: None,
            acceptor: Acceptor::new(replica.applied),
            replica,
            phase: Phase::Following,
            seen: never,
            attempts: 0,
            asked: false,
            behind: false,
            end: (never, 0),
            reads: Reads::new(),
            grant: None,
            recall: Recall::new(),
            observer: None,
            waiting: None,
            records: VecDeque::new(),
            kept_weight: 0,
        }
    }

    /// Breaks one rule.
    #[cfg(feature = "mutants")]
    #[must_use]
    pub fn breaking(mut self, mutant: Mutant) -> Self {
        self.mutant = Some(mutant);
        self
    }

    /// How it stands.
    #[must_use]
    pub fn status(&self) -> NodeStatus {
        NodeStatus {
            leads: matches!(self.phase, Phase::Leading(_)),
            promised: self.acceptor.promised(),
            base: self.acceptor.base(),
            applied: self.replica.applied,
        }
    }

    /// Who decides the next slot, as far as it knows.
    #[must_use]
    pub fn members(&self) -> &Members {
        &self.replica.members
    }

    /// The machine, with everything applied that is known to be chosen.
    #[must_use]
    pub fn machine(&self) -> &M {
        &self.replica.machine
    }

    /// The machine, for what is not part of its state.
    pub fn machine_mut(&mut self) -> &mut M {
        &mut self.replica.machine
    }

    /// The votes that are held, with their slots, oldest first.
    pub fn votes(&self) -> impl Iterator<Item = (u64, &Vote<M::Command>)> {
        self.acceptor.after(0)
    }

    /// What was chosen, as far as it is known and held, with the slots, oldest first.
    pub fn chosen(&self) -> impl Iterator<Item = (u64, &Item<M::Command>)> {
        self.votes().take_while(|(slot, _)| *slot <= self.replica.applied).map(|(slot, vote)| (slot, &vote.item))
    }

    #[cfg(feature = "mutants")]
    fn breaks(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    #[cfg(not(feature = "mutants"))]
    #[allow(clippy::unused_self)] // the twin of the one above, for what ships
    fn breaks(&self, _: Mutant) -> bool {
        false
    }

    /// Whether it decides, as far as it knows.
    fn is_member(&self) -> bool {
        self.replica.members.contains(self.me) && self.may_decide()
    }

    fn member(node: NodeId, cx: &Context<'_, Self>) -> Pid {
        Pid { node, ..cx.me }
    }

    fn own_client(cx: &Context<'_, Self>) -> Pid {
        Pid { service: Service::Client, ..cx.me }
    }

    fn weight(item: &Item<M::Command>) -> usize {
        match item {
            Item::Entry(Entry { command: Order::Command(command), .. }) => M::weight(command),
            Item::Entry(_) | Item::Nothing => 1,
        }
    }

    /// The highest ballot that we know of.
    fn highest(&self) -> Ballot {
        self.seen.max(self.acceptor.promised())
    }

    /// Whom to ask for what only a leader can do: for a member the owner of the highest ballot that it knows of, or nobody
    /// if that is itself or no member, for then it can lead. Who is no member, as far as it knows, asks one after the other.
    fn guide(&self) -> Option<NodeId> {
        let owner = Some(self.highest()).filter(|ballot| *ballot > Ballot::default()).map(|ballot| ballot.node);
        let leads = |node: &NodeId| *node != self.me;
        let members = &self.replica.members;
        if self.is_member() {
            return owner.filter(leads).filter(|owner| members.contains(*owner));
        }
        let guides = || owner.into_iter().chain(members.nodes().iter().copied()).filter(leads);
        guides().nth(self.attempts as usize % guides().count().max(1))
    }

    fn send_guide(&self, message: Message<M>, cx: &mut Context<'_, Self>) {
        if let Some(guide) = self.guide() {
            cx.send_without(self.newer_than(0), Self::member(guide, cx), message);
        }
    }

    /// Asks the leader to tell how far it is.
    fn nudge(&self, cx: &mut Context<'_, Self>) {
        self.send_guide(Message::Nudge { applied: self.replica.applied }, cx);
    }

    /// How many of our newest records hold nothing but votes in slots after `slot`: what is said of the slots up to there,
    /// or of a promise made before them, does not rest on these.
    fn newer_than(&self, slot: u64) -> usize {
        self.records.iter().rev().take_while(|first| **first > slot).count()
    }

    fn append(&mut self, record: Record<M>, cx: &mut Context<'_, Self>) {
        self.records.push_back(match &record {
            Record::Voted { first, .. } => *first,
            _ => 0,
        });
        cx.append(self, record);
    }

    /// In `ballot`, we voted in every slot up to here, or know what was chosen.
    fn end_in(&mut self, ballot: Ballot) -> u64 {
        if self.end.0 != ballot {
            self.end = (ballot, self.replica.applied);
        }
        self.end.1 = self.end.1.max(self.replica.applied);
        while self.acceptor.voted_in(self.end.1 + 1, ballot) {
            self.end.1 += 1;
        }
        self.end.1
    }

    fn start(&mut self, cx: &mut Context<'_, Self>) {
        self.observe_start();
        self.mind_beginning(cx);
        let is_fresh = self.acceptor.promised() == Ballot::default() && self.replica.applied == 0;
        if is_fresh && self.may_decide() {
            return; // nothing was before: wait until somebody asks
        }
        if let Some(lease) = self.options.lease
            && !self.breaks(Mutant::ForgetsGrant)
        {
            self.grant = Some(Grant { holder: None, until: cx.now + lease.bound() });
        }
        if self.breaks(Mutant::SkipsPhaseOne) && self.acceptor.promised().node == self.me {
            return self.lead_at_once(cx);
        }
        self.behind = true;
        if self.is_amnesic() {
            return self.ask_to_recall(cx);
        }
        match self.guide() {
            Some(_) => self.nudge(cx),
            None => self.campaign(cx), // we led last
        }
    }

    /// Keeps the alarm set exactly while something is unanswered, so that an idle log is silent.
    fn mind_alarm(&mut self, cx: &mut Context<'_, Self>) {
        let waiting = match &self.phase {
            Phase::Following if self.asked || self.behind || self.reads.wait_for_log() => Some(Waiting::Leader),
            Phase::Following if self.observer.is_some() && self.is_member() => Some(Waiting::Leader),
            Phase::Following if self.is_amnesic() => Some(Waiting::Leader),
            Phase::Following => None,
            Phase::Preparing(_) => Some(Waiting::Promises),
            Phase::Leading(leading) => {
                let applied = self.replica.applied;
                let lags = leading.peers.values().any(|peer| peer.applied < applied || peer.held < leading.last);
                (lags || applied < leading.last || leading.round.is_open).then_some(Waiting::Members)
            }
        };
        if waiting == self.waiting {
            return;
        }
        // Who is no member disturbs nobody.
        let doublings = if self.is_member() { self.attempts.min(DOUBLINGS_MAX) } else { 0 };
        let patience = self.patience() * (1 << doublings);
        match waiting {
            None => cx.stop(Timer::Retry),
            Some(Waiting::Leader) => cx.set(Timer::Retry, patience..patience * 2),
            Some(_) => cx.set(Timer::Retry, self.options.retry_after..self.options.retry_after * 2),
        }
        self.waiting = waiting;
    }

    fn retry(&mut self, cx: &mut Context<'_, Self>) {
        match &self.phase {
            Phase::Following if self.is_member() => self.campaign(cx),
            Phase::Following => {
                if self.is_amnesic() {
                    self.ask_to_recall(cx);
                }
                self.attempts = (self.attempts + 1) % (self.replica.members.nodes().len() as u32 + 1); // the next guide
                self.asked = false;
                self.nudge(cx);
            }
            Phase::Preparing(_) => self.ask_for_promises(cx),
            Phase::Leading(_) => self.probe(cx),
        }
    }

    fn hear(&mut self, from: Pid, message: Message<M>, cx: &mut Context<'_, Self>) {
        match message {
            Message::Propose { entry } => self.proposed(from, entry, cx),
            Message::Read { operation, query } => self.read(Read { operation, query }, cx),
            Message::Peek { operation, query } => self.answer_read(Read { operation, query }, cx),
            Message::Prepare { ballot, applied } => self.prepare(from, ballot, applied, cx),
            Message::Promise { ballot, applied, votes } => self.promised(from.node, ballot, applied, votes, cx),
            Message::Refused { ballot, higher } => self.refused(ballot, higher, cx),
            Message::Accept { ballot, first, items } => self.accept(from, ballot, first, &items, cx),
            Message::Voted { ballot, index, applied } => self.voted(from.node, ballot, index, applied, cx),
            Message::Held { ballot, index, applied } => self.held(from.node, ballot, index, applied, cx),
            Message::Recall { nonce, applied } => self.asked_to_recall(from, nonce, applied, cx),
            Message::Recalled { nonce, promised, votes } => {
                self.told_to_recall(from.node, nonce, promised, votes, cx);
            }
            Message::Chosen { ballot, index } => self.told_chosen(from, ballot, index, cx),
            Message::Snapshot { ballot, base } => self.install(from, ballot, base, cx),
            Message::Confirm { ballot, round } => self.confirm(from, ballot, round, cx),
            Message::Confirmed { ballot, round } => self.confirmed(from.node, ballot, round, cx),
            Message::Question { operation } => self.questioned(from, operation, cx),
            Message::ReadAt { operation, index } => self.told_index(operation, index, cx),
            Message::Nudge { applied } => self.nudged(from, applied, cx),
            Message::Checkpoint => self.checkpoint(),
            _ => {} // said to a client
        }
    }

    /// Begins to make what came of the log durable in the machine's own storage.
    fn checkpoint(&mut self) {
        if self.replica.machine.stored().is_some() {
            let beside = (self.replica.sessions.clone(), self.replica.members.clone()).to_bytes();
            self.replica.machine.checkpoint(self.replica.applied, beside);
            self.forget();
        }
    }
}

impl<M: Machine> Process for Node<M> {
    type Message = Message<M>;
    type Timer = Timer;
    type Record = Record<M>;

    fn on(&mut self, event: Event<Self>, cx: &mut Context<'_, Self>) {
        match event {
            Event::Start => self.start(cx),
            Event::Message { from, message } => self.hear(from, message, cx),
            Event::Alarm(Timer::Retry) => {
                self.waiting = None;
                self.retry(cx);
            }
            Event::Alarm(Timer::Confirm) => self.confirm_lead(cx),
        }
        self.mind_observer(cx);
        self.mind_alarm(cx);
    }

    fn replay(&mut self, record: Record<M>) {
        match record {
            Record::Promised(ballot) => self.acceptor.promise(ballot),
            Record::Voted { ballot, first, items } => self.acceptor.vote(ballot, first, &items),
            Record::Recalled { promised, votes } => self.acceptor.recall(promised, votes),
            Record::Base(base) => {
                let base = if self.breaks(Mutant::DropsSessions) { without_sessions(*base) } else { *base };
                self.acceptor.promise(base.ballot);
                self.replica.restore(base);
                self.acceptor.forget(self.replica.applied);
                self.kept_weight = 0;
            }
            Record::Boot(_) => {} // a client's
        }
    }

    fn compact(&self) -> impl Iterator<Item = Record<M>> {
        let ballot = self.acceptor.promised();
        let base = match self.replica.machine.stored() {
            Some(index) => Base { index, members: self.replica.members.clone(), ballot, state: None },
            None => self.replica.base(ballot),
        };
        let mut from = base.index;
        let votes = core::iter::from_fn(move || {
            let (first, vote) = self.acceptor.after(from).next()?;
            let run = self.acceptor.after(first).take_while(|(_, other)| other.ballot == vote.ballot);
            let last = run.last().map_or(first, |(slot, _)| slot);
            let items = self.acceptor.batch_after(first - 1, last, self.options.batch_weight_max, Self::weight);
            from = first + items.len() as u64 - 1;
            Some(Record::Voted { ballot: vote.ballot, first, items })
        });
        let recalled = self.acceptor.remembers().then(Self::nothing_to_recall);
        [Record::Base(alloc::boxed::Box::new(base))].into_iter().chain(recalled).chain(votes)
    }
}

fn without_sessions<A, S>(base: Base<A, S>) -> Base<A, S> {
    Base { state: base.state.map(|(_, snapshot)| (super::session::Sessions::new(), snapshot)), ..base }
}
