//! A member of the chain. The table at the top of [`super`] says what it does; this file is its state, the match over
//! events, and what is common to all members. [`super::node::join`], `order`, `pass`, `answer` and `room` are the five
//! things a member does: find its place after a start, order (the head), pass entries down and commits up, answer reads,
//! and take no more than there is room for. Where members come and go there are three more: `configure`, `copy`, `lease`.

mod answer;
mod configure;
mod copy;
mod join;
mod lease;
mod options;
mod order;
mod pass;
mod room;
mod status;
mod trouble;

pub use options::{Mutant, NodeOptions};
pub use status::{NodeStatus, Place};
pub use trouble::Trouble;

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::time::Duration;

use quorate_model::{Context, Event, Instant, Machine, NodeId, Pid, Process, Service, Wire};

use copy::{Given, Taken};

use super::configuration::Configuration;
use super::link::{Down, Stamp, Up};
use super::log::Log;
use super::message::{Entry, Message, OperationId, Record, Timer};
use super::read::{Read, Reads};
use super::session::Sessions;

/// A member of the chain.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Node<M: Machine> {
    me: NodeId,
    options: NodeOptions,
    /// Who hears when something was applied, and what to answer then.
    observer: Option<(Pid, Option<M::Query>)>,
    /// Who may decide on the members; none where they are fixed.
    swamis: Vec<Pid>,
    mutant: Option<Mutant>,

    // Durable: a fold of the records.
    boot: u64,
    configuration: Configuration,
    /// The prefix under which, as its tail, we commit nothing without the joiner.
    in_step: u64,
    log: Log<M::Command>,

    // What came of the log up to `applied`: lost in a restart, and made anew from the last base.
    machine: M,
    sessions: Sessions<M::Answer>,
    applied: u64,

    /// While the log is replayed: the machine as its storage was found, if we joined anew since. What the log says of its
    /// beginning tells which of both counts.
    aside: Option<M>,
    /// While the log is replayed: it says that it begins after this entry, and the store does not hold what came of it.
    missing: Option<u64>,

    // Volatile.
    joined: bool,
    trouble: Option<Trouble>,
    /// The tail answers only from here on: the end of the log that it found when it started, or became the tail.
    floor: u64,
    committed: u64,
    /// The longest configuration prefix that anyone told of.
    heard_len: u64,
    said_in_step: bool,
    /// Where members come and go: the newest operation of our own client that we, as a member, took up.
    passed_on: OperationId,
    /// The newest operation of our own client that we refused, and what `passed_on` was then. A refusal may be under way for
    /// long, so it holds for good.
    refused: (OperationId, OperationId),
    /// The right to read that was granted last: when we asked for it, and for how long it is.
    right: Option<(Instant, Duration)>,
    /// Rights that we asked for up to here are given up.
    retired: Option<Instant>,
    /// At the tail: what the joiner is given.
    given: Option<Given<M::Snapshot, M::Answer>>,
    /// At the tail of a chain that a node joins: about the weight of the committed entries that are kept for it.
    kept_weight: usize,
    /// At the joiner: what it was given so far.
    taken: Option<Taken<M, M::Answer>>,
    up: Up,
    down: Down,
    /// The head's commands that wait to be ordered.
    proposed: BTreeMap<OperationId, Entry<M::Command>>,
    /// The first index of each record of entries that was appended in this life and has entries beyond `committed`.
    batches: VecDeque<u64>,
    /// The oldest of them, and when a renewal first found it there.
    oldest: Option<(u64, Instant)>,
    /// The weight of the commands that the head took and that are not committed.
    uncommitted_weight: usize,
    /// The head dropped a command for want of room beside what is not committed, and nothing was committed since.
    crowded: bool,
    /// There is no room; where the log ended when that was said.
    full_at: Option<u64>,
    /// The operations of the log beyond `applied`.
    unapplied: BTreeSet<OperationId>,
    reads: Reads<M::Query>,
    /// Questions that wait for the tail to know: who, with which stamp, which.
    questions: Vec<(Pid, Stamp, u64)>,
    /// The pause after which what is not committed is sent again.
    pause: Duration,
    /// The pause that the alarm is set with, while it is.
    retrying: Option<Duration>,
    committed_at_retry: u64,
}

impl<M: Machine> Node<M> {
    /// What `me` is in `configuration`, before its records are replayed: a member, or a node that serves nothing until it
    /// joins. `machine` is fresh, or opened from storage of its own.
    ///
    /// # Panics
    /// If the machine's own storage holds sessions that are not ours.
    #[must_use]
    pub fn new(me: NodeId, configuration: Configuration, options: NodeOptions, machine: M) -> Self {
        let (base, sessions) = stored_in(&machine, me).unwrap_or_else(|| (0, Sessions::new(me)));
        let none = OperationId { owner: me, epoch: 0, number: 0 };
        Self {
            me,
            pause: options.retry_after,
            options,
            observer: None,
            swamis: Vec::new(),
            mutant: None,
            boot: 0,
            configuration,
            in_step: 0,
            log: Log::new(base),
            machine,
            sessions,
            applied: base,
            aside: None,
            missing: None,
            joined: false,
            trouble: None,
            floor: base,
            committed: base,
            heard_len: 0,
            said_in_step: false,
            passed_on: none,
            refused: (none, none),
            right: None,
            retired: None,
            given: None,
            kept_weight: 0,
            taken: None,
            up: Up::default(),
            down: Down::default(),
            proposed: BTreeMap::new(),
            batches: VecDeque::new(),
            oldest: None,
            uncommitted_weight: 0,
            crowded: false,
            full_at: None,
            unapplied: BTreeSet::new(),
            reads: Reads::new(),
            questions: Vec::new(),
            retrying: None,
            committed_at_retry: base,
        }
    }
}

impl<M: Machine> Node<M> {
    /// The entry after which the log begins, if the store holds less than what came of it: its folder is older than the log's,
    /// and the member must not start. Asked once the log is replayed.
    #[must_use]
    pub fn lacks(&self) -> Option<u64> {
        self.missing
    }

    /// Lets `observer` hear whenever something was applied.
    #[must_use]
    pub fn observed_by(mut self, observer: Pid) -> Self {
        self.observer = Some((observer, None));
        self
    }

    /// Breaks one rule.
    #[cfg(feature = "mutants")]
    #[must_use]
    pub fn breaking(mut self, mutant: Mutant) -> Self {
        self.mutant = Some(mutant);
        self
    }

    /// The configuration that it acts on.
    #[must_use]
    pub fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    /// The machine, with everything applied that is known to be committed.
    #[must_use]
    pub fn machine(&self) -> &M {
        &self.machine
    }

    /// The machine, for what is not part of its state.
    pub fn machine_mut(&mut self) -> &mut M {
        &mut self.machine
    }

    /// The last index of what came of the log in the machine.
    pub fn applied(&self) -> u64 {
        self.applied
    }

    /// What it knows of operations, after everything that is applied.
    pub fn sessions(&self) -> &Sessions<M::Answer> {
        &self.sessions
    }

    /// The commands of the log that are held, oldest first, with their indexes.
    pub fn entries(&self) -> impl Iterator<Item = (u64, &Entry<M::Command>)> {
        (self.log.base() + 1..).zip(self.log.after(self.log.base()))
    }

    /// The entries after `index` that are held and applied, oldest first, with their indexes.
    pub fn applied_after(&self, index: u64) -> impl Iterator<Item = (u64, &Entry<M::Command>)> {
        let first = index.max(self.log.base());
        (first + 1..=self.applied).zip(self.log.after(first))
    }

    fn is_head(&self) -> bool {
        self.me == self.configuration.head()
    }

    fn is_tail(&self) -> bool {
        self.me == self.configuration.tail()
    }

    fn is_member(&self) -> bool {
        self.configuration.is_member(self.me)
    }

    /// Whether nobody gets entries from us: we are the joiner, or the tail when nobody joins.
    fn is_end(&self) -> bool {
        self.configuration.line().last() == Some(self.me)
    }

    /// Whether we are a member or the joiner.
    fn is_in_line(&self) -> bool {
        self.configuration.line().any(|node| node == self.me)
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

    fn stamp(&self, peer_boot: Option<u64>) -> Stamp {
        let stays = self.breaks(Mutant::HearsOldConfigurations);
        let configuration = if stays { 1 } else { self.configuration.prefix_len() };
        Stamp { configuration, boot: self.boot, peer_boot: peer_boot.unwrap_or(0) }
    }

    fn member(&self, node: NodeId, cx: &Context<'_, Self>) -> Pid {
        Pid { node, ..cx.me }
    }

    fn successor(&self, cx: &Context<'_, Self>) -> Option<Pid> {
        self.configuration.successor(self.me).map(|node| self.member(node, cx))
    }

    fn predecessor(&self, cx: &Context<'_, Self>) -> Option<Pid> {
        self.configuration.predecessor(self.me).map(|node| self.member(node, cx))
    }

    fn own_client(cx: &Context<'_, Self>) -> Pid {
        Pid { service: Service::Client, ..cx.me }
    }

    /// Keeps the alarm set exactly while something is unanswered, so that an idle chain is silent.
    fn mind_alarm(&mut self, cx: &mut Context<'_, Self>) {
        let in_line = !self.is_linked()
            || !self.joined
            || self.log.last() > self.committed
            || self.reads.open_question().is_some()
            || self.own_joiner().is_some()
            || self.taken.is_some();
        let unanswered = (in_line && self.is_in_line()) || self.is_behind();
        let wanted = unanswered.then_some(self.pause);
        if let Some(pause) = wanted.filter(|_| wanted != self.retrying) {
            cx.set(Timer::Retry, pause..pause * 2);
        } else if wanted.is_none() && self.retrying.is_some() {
            cx.stop(Timer::Retry);
        }
        self.retrying = wanted;
    }

    fn retry(&mut self, cx: &mut Context<'_, Self>) {
        self.retrying = None;
        if self.is_behind() || self.own_joiner().is_some() {
            self.tell_swamis(cx);
        }
        self.nudge(cx);
        self.go_on_copying(cx);
        let greets = !self.is_end() && (!self.joined || self.down.boot.is_none());
        let stuck = self.log.last() > self.committed && self.committed == self.committed_at_retry;
        if greets {
            self.greet(cx);
        }
        if stuck && (self.is_tail() || !greets) {
            self.pass_again(cx);
            self.ask_what_is_durable(cx);
            // A chain that is stuck, as behind a full disk, is not to be kept busy by it.
            self.pause = (self.pause * 2).min(self.options.retry_after_max);
        }
        self.remind_joiner(cx);
        self.ask_tail_again(cx);
        self.committed_at_retry = self.committed;
    }

    fn hear(&mut self, from: Pid, message: Message<M>, cx: &mut Context<'_, Self>) {
        let own_len = self.configuration.prefix_len();
        match message.prefix_len() {
            Some(longer) if longer > own_len => self.heard_of(longer, cx),
            Some(shorter) if shorter < own_len && !self.breaks(Mutant::HearsOldConfigurations) => {} // said to whom we were
            Some(_) if self.is_in_line() => self.hear_line(from, message, cx),
            // Our log may differ from the chain's, so what is said of its indexes is nothing to us.
            Some(_) => {}
            None => self.hear_near(from, message, cx),
        }
    }

    /// Hears what was said under our own configuration.
    fn hear_line(&mut self, from: Pid, message: Message<M>, cx: &mut Context<'_, Self>) {
        match message {
            Message::Propose { entry, .. } => self.proposed(entry, cx),
            Message::Nudge { stamp } => self.nudged(stamp, cx),
            Message::Hello { stamp, last, committed } => self.greeted(stamp, last, committed, cx),
            Message::Welcome { stamp, last, first, entries } => self.welcomed(stamp, last, first, &entries, cx),
            Message::Forward { first, entries, stamp } if self.said_by_predecessor(stamp) => {
                self.forwarded(first, &entries, cx);
            }
            Message::Durable { index, stamp } if self.said_by_predecessor(stamp) => {
                self.up.durable = self.up.durable.max(index);
                self.settle(cx);
            }
            Message::Page { index, at, page, next, stamp } if self.said_by_predecessor(stamp) => {
                self.paged(index, &at, page, next, cx);
            }
            Message::Forward { stamp, .. } | Message::Durable { stamp, .. } | Message::Page { stamp, .. } => {
                self.heard_other_life(stamp, cx);
            }
            Message::Fetch { index, at, stamp } => self.fetched(stamp, index, &at, cx),
            Message::Holds { index, stamp } => self.told_held(from, stamp, index, cx),
            Message::Committed { index, .. } => self.advance(index, cx),
            Message::Question { stamp, nonce } => self.questioned(from, stamp, nonce, cx),
            Message::CommittedAt { stamp, nonce, index } if self.answers_us(stamp) => self.told(nonce, index, cx),
            _ => {} // said to another life
        }
    }

    /// Hears what was said under no configuration: by the own client, the host, or whoever decides on the members.
    fn hear_near(&mut self, from: Pid, message: Message<M>, cx: &mut Context<'_, Self>) {
        match message {
            Message::Order(entry) => self.proposed(entry, cx),
            Message::Read { operation, query } => self.read(Read { operation, query }, cx),
            Message::Peek { operation, query } => self.answer_read(Read { operation, query }, cx),
            Message::Membership(message) => self.hear_swami(from, message, cx),
            Message::Swamis(swamis) => self.swamis_are(swamis, cx),
            Message::Checkpoint => self.checkpoint(),
            Message::NoRoom => self.lost_room(),
            Message::RoomAgain => self.has_room_again(cx),
            Message::Observe(query) => {
                if let Some((_, wanted)) = &mut self.observer {
                    *wanted = query;
                    self.observe(cx);
                }
            }
            _ => {} // said to a client, or to someone outside
        }
    }

    /// Begins to make what came of the log durable in the machine's own storage, and forgets the entries that the last
    /// checkpoint made durable there.
    fn checkpoint(&mut self) {
        if let Some(stored) = self.machine.stored()
            && self.applied > 0
        {
            self.forget(stored.min(self.applied));
            self.machine.checkpoint(self.applied, self.sessions.to_bytes());
        }
    }

    fn answers_us(&self, stamp: Stamp) -> bool {
        stamp.peer_boot == self.boot || self.breaks(Mutant::TakesLateAnswers)
    }

    fn said_by_predecessor(&self, stamp: Stamp) -> bool {
        let stale_is_fine = self.breaks(Mutant::TakesStaleForwards);
        stale_is_fine || (stamp.peer_boot == self.boot && self.up.boot == Some(stamp.boot))
    }
}

/// What the machine's own storage holds: up to which index, and the sessions.
fn stored_in<M: Machine>(machine: &M, me: NodeId) -> Option<(u64, Sessions<M::Answer>)> {
    let (index, beside) = machine.recovered()?;
    let sessions = Sessions::from_bytes(beside).expect("what a checkpoint stored is what it reads back");
    assert!(sessions.node() == me, "the store's folder is that of node {}", sessions.node().0);
    Some((index, sessions))
}

impl<M: Machine> Process for Node<M> {
    type Message = Message<M>;
    type Timer = Timer;
    type Record = Record<M>;

    fn on(&mut self, event: Event<Self>, cx: &mut Context<'_, Self>) {
        match event {
            Event::Start => self.start(cx),
            Event::Message { from, message } => self.hear(from, message, cx),
            Event::Alarm(Timer::Retry) => self.retry(cx),
            Event::Alarm(Timer::Order) => self.order(cx),
            Event::Alarm(Timer::Renew) => self.renew(cx),
        }
        self.mind_alarm(cx);
    }

    fn replay(&mut self, record: Record<M>) {
        match record {
            Record::Boot(boot) => self.boot = self.boot.max(boot),
            Record::Configured(_) if self.breaks(Mutant::ForgetsConfiguration) && !self.joined => {}
            Record::Configured(configuration) => self.follow(configuration),
            Record::InStep(_) if self.breaks(Mutant::ForgetsInStep) && !self.joined => {}
            Record::InStep(prefix_len) => self.in_step = self.in_step.max(prefix_len),
            Record::Entries { first, entries } => {
                let entries =
                    if self.breaks(Mutant::ReplaysOneOfBatch) && !self.joined { &entries[..1] } else { &entries[..] };
                let known = self.log.last();
                self.log.extend(first, entries);
                self.unapplied.extend(self.log.after(known.max(self.applied)).map(|entry| entry.operation));
            }
            Record::Base { index, state } => {
                if let Some((sessions, snapshot)) = state {
                    self.sessions = sessions;
                    self.machine.restore(snapshot);
                    self.applied = index;
                } else {
                    self.recover_up_to(index);
                }
                // A record from before we joined anew may speak of more than we hold now; then what follows forgets it.
                self.missing = Some(index).filter(|index| *index > self.applied);
                self.log.rebase(self.applied.max(index));
                self.unapplied = self.log.after(self.applied).map(|entry| entry.operation).collect();
                self.committed = self.applied;
                self.committed_at_retry = self.applied;
            }
        }
    }

    fn compact(&self) -> impl Iterator<Item = Record<M>> {
        let (index, state) = match self.machine.stored() {
            Some(index) => (index, None),
            None => (self.applied, Some((self.sessions.clone(), self.machine.snapshot()))),
        };
        let base = [
            Record::Boot(self.boot),
            Record::Configured(self.configuration.clone()),
            Record::InStep(self.in_step),
            Record::Base { index, state },
        ];
        let mut from = index;
        let batches = core::iter::from_fn(move || {
            let entries = self.log.batch_after(from, self.options.batch_weight_max, M::weight);
            if entries.is_empty() {
                return None;
            }
            let first = from + 1;
            from += entries.len() as u64;
            Some(Record::Entries { first, entries })
        });
        base.into_iter().chain(batches)
    }
}
