//! A member of the chain. The table at the top of [`super`] says what it does; this file is its state, the match over
//! events, and what is common to all members. [`super::node::join`], `order`, `pass`, `answer` and `room` are the five
//! things a member does: find its place after a start, order (the head), pass entries down and commits up, answer reads,
//! and take no more than there is room for.

mod answer;
mod join;
mod order;
mod pass;
mod room;
mod trouble;

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::time::Duration;

use quorate_model::{Context, Event, Machine, NodeId, Pid, Process, Service, Wire};

use super::configuration::Configuration;
use super::link::{Down, Stamp, Up};
use super::log::Log;
use super::message::{Entry, Message, OperationId, Record, Timer};
use super::read::{Read, Reads};
use super::session::Sessions;
pub use trouble::Trouble;

/// How a member behaves where the protocol leaves it free.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NodeOptions {
    /// Whether the head gathers what waits into one batch, or orders each command as it comes.
    pub batching: bool,
    /// The weight, about bytes, of the entries of one message and one record.
    pub batch_weight_max: usize,
    /// How long to wait before saying again what was not answered: at least this, at most twice this.
    pub retry_after: Duration,
    /// The same, when nothing was committed however often it was said: the pause doubles up to this.
    pub retry_after_max: Duration,
    /// How many commands the head may have taken that are not committed.
    pub uncommitted_len_max: usize,
    /// Their weight, about bytes. A single command may weigh more.
    pub uncommitted_weight_max: usize,
}

impl Default for NodeOptions {
    fn default() -> Self {
        Self {
            batching: true,
            batch_weight_max: 1 << 20,
            retry_after: Duration::from_millis(50),
            retry_after_max: Duration::from_millis(1_600),
            uncommitted_len_max: 64 << 10,
            uncommitted_weight_max: 32 << 20,
        }
    }
}

/// One rule broken on purpose, to prove that breaking it is noticed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Mutant {
    /// Says `Durable` ahead of writing.
    AcknowledgesBeforeDurable,
    /// Applies an entry when it comes, not when it is committed.
    ReadsUncommitted,
    /// Reads at once though something uncommitted touches the question.
    IgnoresDirty,
    /// Applies an operation again when it was proposed again.
    ForgetsSessions,
    /// Takes resent entries for new ones.
    ReordersOnResend,
    /// Applies each committed entry once more.
    AppliesTwice,
    /// Replays only the first entry of each record.
    ReplaysOneOfBatch,
    /// Takes the tail's answer to a question of an earlier life.
    TakesLateAnswers,
    /// Takes entries that an earlier life of the predecessor sent.
    TakesStaleForwards,
    /// Orders before it knows what its successor has.
    OrdersBeforeJoined,
    /// Answers as the tail before it has committed again what it found in its log.
    AnswersBeforeFloor,
    /// Commits what the tail has without asking whether the members before have it.
    CommitsAtTailAlone,
    /// Takes entries though there is no room for them.
    TakesWithoutRoom,
    /// Takes nothing without room, the entries that reads wait for included.
    DropsBelowFloor,
    /// Does not hear that there is room again.
    StaysFull,
    /// Orders however much is not committed.
    OrdersWithoutBound,
}

/// A member of the chain.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Node<M: Machine> {
    me: NodeId,
    configuration: Configuration,
    options: NodeOptions,
    /// Who hears when something was applied, and what to answer then.
    observer: Option<(Pid, Option<M::Query>)>,
    mutant: Option<Mutant>,

    // Durable: a fold of the records.
    boot: u64,
    log: Log<M::Command>,

    // What came of the log up to `applied`: lost in a restart, and made anew from the last base.
    machine: M,
    sessions: Sessions<M::Answer>,
    applied: u64,

    // Volatile.
    joined: bool,
    trouble: Option<Trouble>,
    /// The tail answers only from here on: the end of the log that it found when it started.
    floor: u64,
    committed: u64,
    up: Up,
    down: Down,
    /// The head's commands that wait to be ordered.
    proposed: BTreeMap<OperationId, Entry<M::Command>>,
    /// The first index of each record of entries that was appended in this life and has entries beyond `committed`.
    batches: VecDeque<u64>,
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

/// How a member stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NodeStatus {
    /// Which life of it this is; 0 before the first.
    pub boot: u64,
    /// Whether it knows its place: its log is no shorter than its successor's.
    pub joined: bool,
    /// Whether its neighbours have greeted and welcomed it.
    pub linked: bool,
    /// What keeps it from its place, if anything does.
    pub trouble: Option<Trouble>,
    /// The end of the log that it found when it started: everything that was committed before lies up to here.
    pub floor: u64,
    /// The last index of its log.
    pub last: u64,
    /// The last index that it knows to be committed; all of that is applied.
    pub committed: u64,
    /// There is no room on this node since its log ended here.
    pub full_at: Option<u64>,
    /// Whether the head dropped a command since so much is not committed, and takes none until something is.
    pub crowded: bool,
}

impl<M: Machine> Node<M> {
    /// The member that `me` is in `configuration`, before its records are replayed. `machine` is fresh, or opened from
    /// storage of its own.
    ///
    /// # Panics
    /// If `me` is not a member, or the machine's own storage holds sessions that are not ours.
    #[must_use]
    pub fn new(me: NodeId, configuration: Configuration, options: NodeOptions, machine: M) -> Self {
        assert!(configuration.members().contains(&me), "a node serves a chain that it is a member of");
        let (base, sessions) = match machine.recovered() {
            None => (0, Sessions::new(me)),
            Some((index, beside)) => {
                let sessions = Sessions::from_bytes(beside).expect("what a checkpoint stored is what it reads back");
                assert!(sessions.node() == me, "the store's folder is that of node {}", sessions.node().0);
                (index, sessions)
            }
        };
        Self {
            me,
            configuration,
            pause: options.retry_after,
            options,
            observer: None,
            mutant: None,
            boot: 0,
            log: Log::new(base),
            machine,
            sessions,
            applied: base,
            joined: false,
            trouble: None,
            floor: base,
            committed: base,
            up: Up::default(),
            down: Down::default(),
            proposed: BTreeMap::new(),
            batches: VecDeque::new(),
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

    /// How it stands.
    #[must_use]
    pub fn status(&self) -> NodeStatus {
        let linked = (self.is_head() || self.up.boot.is_some()) && (self.is_tail() || self.down.boot.is_some());
        NodeStatus {
            boot: self.boot,
            joined: self.joined,
            linked,
            trouble: self.trouble,
            floor: self.floor,
            last: self.log.last(),
            committed: self.committed,
            full_at: self.full_at,
            crowded: self.crowded,
        }
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
        Stamp { configuration: self.configuration.prefix_len(), boot: self.boot, peer_boot: peer_boot.unwrap_or(0) }
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
        let unanswered = !self.status().linked
            || !self.joined
            || self.log.last() > self.committed
            || self.reads.open_question().is_some();
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
        self.nudge(cx);
        if !self.is_tail() && (!self.joined || self.down.boot.is_none()) {
            self.greet(cx);
        } else if self.log.last() > self.committed && self.committed == self.committed_at_retry {
            self.pass_again(cx);
            self.ask_what_is_durable(cx);
            // A chain that is stuck, as behind a full disk, is not to be kept busy by it.
            self.pause = (self.pause * 2).min(self.options.retry_after_max);
        }
        self.ask_tail_again(cx);
        self.committed_at_retry = self.committed;
    }

    fn hear(&mut self, from: Pid, message: Message<M>, cx: &mut Context<'_, Self>) {
        match message {
            Message::Propose { configuration, entry } if configuration == self.configuration.prefix_len() => {
                self.proposed(entry, cx);
            }
            Message::Read { operation, query } => self.read(Read { operation, query }, cx),
            Message::Peek { operation, query } => self.answer_read(Read { operation, query }, cx),
            Message::Nudge { stamp } if self.current(stamp) => self.nudged(stamp, cx),
            Message::Hello { stamp, last, committed } if self.current(stamp) => {
                self.greeted(stamp, last, committed, cx);
            }
            Message::Welcome { stamp, last, first, entries } if self.current(stamp) => {
                self.welcomed(stamp, last, first, &entries, cx);
            }
            Message::Forward { first, entries, stamp } if self.said_by_predecessor(stamp) => {
                self.forwarded(first, &entries, cx);
            }
            Message::Durable { index, stamp } if self.said_by_predecessor(stamp) => {
                self.up.durable = self.up.durable.max(index);
                self.settle(cx);
            }
            Message::Forward { stamp, .. } | Message::Durable { stamp, .. } if self.current(stamp) => {
                self.heard_other_life(stamp, cx);
            }
            Message::Committed { stamp, index } if self.current(stamp) => self.advance(index, cx),
            Message::Question { stamp, nonce } if self.current(stamp) => self.questioned(from, stamp, nonce, cx),
            Message::CommittedAt { stamp, nonce, index } if self.answers_us(stamp) => self.told(nonce, index, cx),
            Message::Checkpoint => self.checkpoint(),
            Message::NoRoom => self.lost_room(),
            Message::RoomAgain => self.has_room_again(cx),
            Message::Observe(query) => {
                if let Some((_, wanted)) = &mut self.observer {
                    *wanted = query;
                    self.observe(cx);
                }
            }
            _ => {} // said under another configuration, by or to another life, or to a client
        }
    }

    /// Begins to make what came of the log durable in the machine's own storage, and forgets the entries that the last
    /// checkpoint made durable there.
    fn checkpoint(&mut self) {
        if let Some(stored) = self.machine.stored() {
            self.log.forget(stored.min(self.applied));
            self.machine.checkpoint(self.applied, self.sessions.to_bytes());
        }
    }

    fn current(&self, stamp: Stamp) -> bool {
        stamp.configuration == self.configuration.prefix_len()
    }

    fn answers_us(&self, stamp: Stamp) -> bool {
        self.current(stamp) && (stamp.peer_boot == self.boot || self.breaks(Mutant::TakesLateAnswers))
    }

    fn said_by_predecessor(&self, stamp: Stamp) -> bool {
        let stale_is_fine = self.breaks(Mutant::TakesStaleForwards);
        self.current(stamp) && (stale_is_fine || (stamp.peer_boot == self.boot && self.up.boot == Some(stamp.boot)))
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
            Event::Alarm(Timer::Retry) => self.retry(cx),
            Event::Alarm(Timer::Order) => self.order(cx),
        }
        self.mind_alarm(cx);
    }

    fn replay(&mut self, record: Record<M>) {
        match record {
            Record::Boot(boot) => self.boot = self.boot.max(boot),
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
                }
                assert!(
                    index <= self.applied,
                    "the log begins after entry {index}, but the store holds only what came of entry {}: \
                     the store's folder is older than the log's",
                    self.applied
                );
                self.log.rebase(self.applied);
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
        let base = [Record::Boot(self.boot), Record::Base { index, state }];
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
