//! Who decides on the configurations of a chain whose members come and go: a plan stands in for the judgement of a real one.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate_model::time::Staleness;
use quorate_model::{Context, Event, Instant, NodeId, Pid, Process};
use quorate_protocols::chain::membership::{self, Asked};
use quorate_protocols::chain::{Change, Configuration, Message, Record, Timer};

use super::Lists;
use super::chain::Said;

/// How long the decider waits before it tells those who have not heard again, at least; at most twice this.
const TELL_AGAIN: Duration = Duration::from_millis(100);

/// Decides on the changes of a plan, in order: each join and leave when it is told to go on, each admission when the tail
/// says that the joiner is in step.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Decider {
    plan: Vec<Change>,
    nodes: Vec<NodeId>,
    founded: Configuration,
    /// Durable: the newest configuration.
    newest: Configuration,
    /// How many joins and leaves may be decided that were not.
    due: u32,
    /// What each node acts on, as far as it said.
    acts_on: BTreeMap<NodeId, u64>,
    lease: Option<Lease>,
    /// When each node may have been granted the right to read last.
    granted: BTreeMap<NodeId, Instant>,
    /// Who was asked to give it up, and the name of the question: it is used once.
    retiring: Option<(NodeId, u64)>,
}

/// How the decider grants the right to read.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Lease {
    /// For how long, on the clock of the node that asked.
    pub term: Duration,
    /// For how long the decider waits, on its own clock, until a right that it granted has run out: longer than the term
    /// by what two clocks may differ by.
    pub waits: Duration,
    /// Whether it asks a node that is to leave to give its right up, and need not wait if it does.
    pub retires: bool,
}

impl Decider {
    pub(super) fn new(plan: Vec<Change>, nodes: Vec<NodeId>, founded: Configuration, lease: Option<Lease>) -> Self {
        let newest = founded.clone();
        let (acts_on, granted) = (BTreeMap::new(), BTreeMap::new());
        Self { plan, nodes, founded, newest, due: 0, acts_on, lease, granted, retiring: None }
    }

    /// The newest configuration.
    #[must_use]
    pub fn newest(&self) -> &Configuration {
        &self.newest
    }

    /// Whether the joiner is to be admitted next.
    #[must_use]
    pub fn waits_for_joiner(&self) -> bool {
        matches!(self.next(), Some(Change::Admit(_)))
    }

    fn next(&self) -> Option<Change> {
        let decided = self.newest.prefix_len() - self.founded.prefix_len();
        self.plan.get(usize::try_from(decided).ok()?).copied()
    }

    /// Decides on the joins and leaves that are due.
    fn go_on(&mut self, cx: &mut Context<'_, Self>) {
        while self.due > 0
            && let Some(change @ (Change::Join(_) | Change::Leave(_))) = self.next()
        {
            if let Some((node, left)) = self.right_of(change, cx.now) {
                if self.lease.is_some_and(|lease| lease.retires) {
                    let asked = self.retiring.filter(|(retiring, _)| *retiring == node);
                    let (_, revision) = *self.retiring.insert(asked.unwrap_or((node, cx.now.0)));
                    self.tell_one(node, membership::Message::Retire { revision }, cx);
                }
                return cx.set(Timer::Renew, left..left);
            }
            self.due -= 1;
            self.decide(change, cx);
        }
    }

    /// The node that should leave, and how much is left of its right to read.
    fn right_of(&self, change: Change, now: Instant) -> Option<(NodeId, Duration)> {
        let Change::Leave(node) = change else { return None };
        let (lease, granted) = (self.lease?, *self.granted.get(&node)?);
        let left = Staleness::proven(granted).remaining(lease.waits, now);
        Some((node, left)).filter(|_| left > Duration::ZERO)
    }

    /// A node asks for the right to read. One that should leave gets none, nor one that does not know where it stands.
    fn renew(&mut self, from: Pid, asked: Asked, prefix_len: u64, cx: &mut Context<'_, Self>) {
        let leaves = self.due > 0 && self.next() == Some(Change::Leave(from.node));
        let knows = prefix_len == self.newest.prefix_len() && self.is_in_chain(from.node);
        let Some(lease) = self.lease.filter(|_| knows && !leaves) else { return };
        self.granted.insert(from.node, cx.now);
        self.retiring = self.retiring.filter(|(node, _)| *node != from.node);
        self.tell_one(from.node, membership::Message::Granted { asked, term: lease.term }, cx);
    }

    /// A node has given up its right.
    fn retired(&mut self, node: NodeId, revision: u64, cx: &mut Context<'_, Self>) {
        if self.retiring == Some((node, revision)) {
            self.retiring = None;
            self.granted.remove(&node);
            self.go_on(cx);
        }
    }

    fn tell_one(&self, node: NodeId, message: membership::Message, cx: &mut Context<'_, Self>) {
        cx.send(Pid { node, ..cx.me }, Message::Membership(message));
    }

    fn is_in_chain(&self, node: NodeId) -> bool {
        self.newest.is_member(node) || self.newest.joiner() == Some(node)
    }

    fn decide(&mut self, change: Change, cx: &mut Context<'_, Self>) {
        let next = self.newest.after(change).expect("a plan is made of changes that can follow");
        cx.append(self, Record::Configured(next));
        self.tell(cx);
    }

    fn heard(&mut self, from: NodeId, prefix_len: u64, in_step: bool, cx: &mut Context<'_, Self>) {
        let known = self.acts_on.entry(from).or_default();
        *known = prefix_len.max(*known);
        let of_newest = prefix_len == self.newest.prefix_len() && from == self.newest.tail();
        if let Some(change @ Change::Admit(_)) = self.next()
            && in_step
            && of_newest
        {
            self.decide(change, cx);
            self.go_on(cx);
        }
        if self.behind().next().is_none() {
            cx.stop(Timer::Retry);
        }
    }

    fn hear(&mut self, from: Pid, message: membership::Message, cx: &mut Context<'_, Self>) {
        match message {
            membership::Message::ActsOn { prefix_len, heard_len, in_step } => {
                self.heard(from.node, prefix_len, in_step, cx);
                if heard_len > prefix_len {
                    self.tell_one(from.node, membership::Message::Configure(self.newest.clone()), cx);
                }
            }
            membership::Message::Renew { asked, prefix_len } => self.renew(from, asked, prefix_len, cx),
            membership::Message::Retired { revision } => self.retired(from.node, revision, cx),
            _ => {} // said to a node
        }
    }

    /// Who does not act on the newest configuration, as far as is known.
    fn behind(&self) -> impl Iterator<Item = NodeId> {
        let founded = self.founded.prefix_len();
        let acts_on = move |node: &NodeId| self.acts_on.get(node).copied().unwrap_or(founded);
        self.nodes.iter().copied().filter(move |node| acts_on(node) < self.newest.prefix_len())
    }

    fn tell(&self, cx: &mut Context<'_, Self>) {
        for node in self.behind() {
            self.tell_one(node, membership::Message::Configure(self.newest.clone()), cx);
        }
        if self.behind().next().is_some() {
            cx.set(Timer::Retry, TELL_AGAIN..TELL_AGAIN * 2);
        }
    }
}

impl Process for Decider {
    type Message = Said;
    type Timer = Timer;
    type Record = Record<Lists>;

    fn on(&mut self, event: Event<Self>, cx: &mut Context<'_, Self>) {
        match event {
            Event::Message { from, message: Message::Membership(message) } => self.hear(from, message, cx),
            Event::Message { message: Message::Relay(_), .. } => {
                self.due += 1;
                self.go_on(cx);
            }
            Event::Alarm(Timer::Renew) => self.go_on(cx),
            Event::Start => {
                // What an earlier life granted is not known any more, but not later than now.
                if self.lease.is_some() {
                    self.granted = self.nodes.iter().map(|node| (*node, cx.now)).collect();
                }
                self.tell(cx);
            }
            Event::Alarm(_) => self.tell(cx),
            Event::Message { .. } => {} // said to a node
        }
    }

    fn replay(&mut self, record: Record<Lists>) {
        if let Record::Configured(configuration) = record {
            self.newest = configuration;
        }
    }

    fn compact(&self) -> impl Iterator<Item = Record<Lists>> {
        [Record::Configured(self.newest.clone())].into_iter()
    }
}
