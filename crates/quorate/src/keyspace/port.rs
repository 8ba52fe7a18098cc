//! The port of a keyspace's loop: turns what gateways ask into messages to the node's processes, and what those tell into
//! answers. It also keeps the time of leases, when this node is the head.
//!
//! | asked               | becomes                                                                     |
//! |---------------------|-----------------------------------------------------------------------------|
//! | `Propose`, `Read`   | a request to the node's client process                                       |
//! | `KeepAlive`         | a renewal at the head: here, or by a note to the head's port ([`Note`])       |
//! | `Tick`              | revokes for leases that ran out, at the head; notes that got no answer, again |
//!
//! It also tells the node's member when the log has no room, and when it has again.

mod leases;
mod line;
mod room;
mod system;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use quorate_machines::kv::{Alarm, AlarmKind, Answer, Command, LeaseId, Query, Reply, Revision};
use quorate_model::{Instant, Machine, NodeId, Pid, Wire};
use quorate_protocols::chain::{Configuration, Message, Node, NodeStatus, Place, Request, Trouble};
use quorate_protocols::cluster;
use quorate_runtime::clock;
use quorate_runtime::host::{Busy, Port, PortContext};
use tokio::sync::{oneshot, watch};

use super::lessor::Lessor;
use super::note::{Note, NoteBody, NoteId};
use super::page::Page;
use super::{Ask, Kv, LeaseTime, Refusal, Status, View};
pub use system::Founding;
use system::SystemPort;

/// How long a note waits for its answer before it is sent again.
const NOTE_PATIENCE: Duration = Duration::from_millis(500);
/// How often the page of metrics is written.
const PAGE_EVERY: Duration = Duration::from_secs(1);
type NodeRole = cluster::Role<Kv>;
type KvMessage = Message<Kv>;

/// Whose answer a token stands for.
enum Asker {
    Propose(oneshot::Sender<Result<Answer, Refusal>>),
    Read(oneshot::Sender<Result<View, Refusal>>),
    /// The port itself, to end a lease that ran out.
    Revoke(LeaseId),
    /// The port itself, to raise the alarm.
    Alarm,
}

/// A question to the head's port that waits for its answer.
struct Waiting {
    body: NoteBody,
    asked: Instant,
    asker: NoteAsker,
}

enum NoteAsker {
    KeepAlive(oneshot::Sender<Result<Option<i64>, Refusal>>),
    Remaining(oneshot::Sender<Result<Option<LeaseTime>, Refusal>>),
}

impl NoteAsker {
    fn is_gone(&self) -> bool {
        match self {
            Self::KeepAlive(sender) => sender.is_closed(),
            Self::Remaining(sender) => sender.is_closed(),
        }
    }
}

/// What is decided once for a port.
#[derive(Clone, Copy, Debug)]
pub struct PortOptions {
    /// This node.
    pub me: NodeId,
    /// The growth of the log after which the store is checkpointed.
    pub checkpoint_bytes: u64,
}

/// See the module.
pub struct ChainPort {
    options: PortOptions,
    revisions: watch::Sender<Revision>,
    views: watch::Sender<View>,
    observer_count: Arc<AtomicUsize>,
    page: Page,
    page_due: Instant,
    /// Whether the node was told to give views.
    observing: bool,
    /// Whether time has passed in this batch.
    ticked: bool,
    askers: HashMap<u64, Asker>,
    notes: HashMap<NoteId, Waiting>,
    token_next: u64,
    lessor: Lessor,
    system: SystemPort,
    /// The least that the log has taken since the last checkpoint began, in bytes.
    log_bytes_least: u64,
    /// The index up to which the log was compacted last.
    compacted_index: u64,
    /// Whether an order to raise the alarm is under way.
    alarming: bool,
    trouble: Option<Trouble>,
    /// Whether the member was told that there is no room.
    full: bool,
    /// The head is crowded: what was committed when that was first seen, and when.
    crowded: Option<(u64, Instant)>,
    /// Whether it was said that the head refuses since others are behind.
    said_behind: bool,
    /// The configuration that was said last.
    line: Option<Configuration>,
}

impl ChainPort {
    /// The port of the loop that `end` belongs to, but for what it is asked, which its host takes.
    #[must_use]
    pub fn new(
        options: PortOptions,
        founding: Founding,
        revisions: watch::Sender<Revision>,
        views: watch::Sender<View>,
        observer_count: Arc<AtomicUsize>,
        page: Page,
    ) -> Self {
        Self {
            options,
            revisions,
            views,
            observer_count,
            page,
            page_due: Instant::default(),
            observing: false,
            ticked: false,
            askers: HashMap::new(),
            notes: HashMap::new(),
            // Notes of an earlier life may still be answered: no number is used again.
            token_next: clock::wall_ms() << 20,
            lessor: Lessor::default(),
            system: SystemPort::new(options.me, founding),
            log_bytes_least: 0,
            compacted_index: 0,
            alarming: false,
            trouble: None,
            full: false,
            crowded: None,
            said_behind: false,
            line: None,
        }
    }

    fn outside(&self) -> Pid {
        Pid::outside(self.options.me.0, 0)
    }

    /// Where writes enter, as far as this node knows.
    fn head(&self, cx: &PortContext<'_, NodeRole>) -> NodeId {
        self.member(cx).configuration().head()
    }

    fn is_head(&self, cx: &PortContext<'_, NodeRole>) -> bool {
        self.options.me == self.head(cx)
    }

    fn request(&mut self, asker: Asker, request: Request<Command, Query>, cx: &mut PortContext<'_, NodeRole>) {
        let token = self.token_next;
        self.token_next += 1;
        let client = Pid::client(self.options.me.0, 0);
        match cx.push(self.outside(), client, KvMessage::Ask { token, request }) {
            Ok(()) => {
                self.askers.insert(token, asker);
            }
            Err(Busy) => self.refuse(asker, Refusal::Busy),
        }
    }

    /// Says that nothing comes of it; whoever asked may have gone.
    fn refuse(&mut self, asker: Asker, refusal: Refusal) {
        match asker {
            Asker::Propose(sender) => drop(sender.send(Err(refusal))),
            Asker::Read(sender) => drop(sender.send(Err(refusal))),
            Asker::Revoke(lease) => self.lessor.ended(lease),
            Asker::Alarm => self.alarming = false,
        }
    }

    fn end(&mut self, token: u64, refusal: Refusal) {
        if let Some(asker) = self.askers.remove(&token) {
            self.refuse(asker, refusal);
        }
    }

    fn note(&mut self, body: NoteBody, asker: NoteAsker, cx: &mut PortContext<'_, NodeRole>) {
        let id = NoteId { node: self.options.me.0, number: self.token_next };
        self.token_next += 1;
        let head = self.head(cx);
        self.send_note(Note { id, body }, head, cx);
        self.notes.insert(id, Waiting { body, asked: cx.now, asker });
    }

    fn send_note(&self, note: Note, to: NodeId, cx: &mut PortContext<'_, NodeRole>) {
        // A note that does not leave is lost like any other, and asked again.
        let _ = cx.push(self.outside(), Pid::outside(to.0, 0), KvMessage::Relay(note.to_bytes()));
    }

    fn member<'c>(&self, cx: &'c PortContext<'_, NodeRole>) -> &'c Node<Kv> {
        let role = cx.process(Pid::chain(self.options.me.0, 0));
        role.and_then(NodeRole::node).expect("a node runs its member of the chain")
    }

    /// Tells the node whether to give a view whenever something was applied.
    fn mind_observers(&mut self, cx: &mut PortContext<'_, NodeRole>) {
        let wanted = self.observer_count.load(Ordering::Relaxed) > 0;
        if wanted != self.observing {
            let query = wanted.then(Query::default);
            let told = cx.push(self.outside(), Pid::chain(self.options.me.0, 0), KvMessage::Observe(query));
            if told.is_ok() {
                self.observing = wanted; // else the next tick tells it
            }
        }
    }

    fn tick(&mut self, cx: &mut PortContext<'_, NodeRole>) {
        let now = cx.now;
        self.notes.retain(|_, waiting| !waiting.asker.is_gone());
        let mut again = Vec::new();
        for (id, waiting) in &mut self.notes {
            if now - waiting.asked >= NOTE_PATIENCE {
                waiting.asked = now;
                again.push(Note { id: *id, body: waiting.body });
            }
        }
        let head = self.head(cx);
        for note in again {
            self.send_note(note, head, cx);
        }
    }

    /// Orders the end of leases that ran out. After a batch and not before: renewals that came with it count.
    fn end_leases(&mut self, cx: &mut PortContext<'_, NodeRole>) {
        if self.ticked && self.keeps_time(cx) {
            for lease in self.lessor.due(cx.now) {
                self.request(Asker::Revoke(lease), Request::Command(Command::LeaseRevoke(lease)), cx);
            }
        }
        self.ticked = false;
    }

    /// Orders the alarm when the store has outgrown its quota, as the head.
    fn mind_quota(&mut self, cx: &mut PortContext<'_, NodeRole>) {
        if !self.is_head(cx) || self.alarming || !self.member(cx).machine().is_over_quota() {
            return;
        }
        let alarms = self.member(cx).machine().view().alarms();
        if alarms.iter().all(|alarm| alarm.kind != AlarmKind::NoSpace) {
            self.alarming = true;
            let alarm = Alarm { member: self.options.me.0.into(), kind: AlarmKind::NoSpace };
            self.request(Asker::Alarm, Request::Command(Command::AlarmRaise(alarm)), cx);
        }
    }

    /// The index of the store's last checkpoint on disk.
    fn stored(&self, cx: &PortContext<'_, NodeRole>) -> u64 {
        let node = cx.process(Pid::chain(self.options.me.0, 0)).and_then(NodeRole::node);
        node.and_then(|node| node.machine().stored()).unwrap_or(0)
    }

    /// Checkpoints the store when the log has grown enough, in whichever lives it grew.
    fn mind_log(&mut self, cx: &mut PortContext<'_, NodeRole>) {
        if cx.wal().is_short_of_room() {
            return; // a store that finds no room ends its node, and the log could not be cut either
        }
        let log_bytes = cx.wal().bytes();
        self.log_bytes_least = self.log_bytes_least.min(log_bytes);
        if log_bytes - self.log_bytes_least < self.options.checkpoint_bytes {
            return;
        }
        let (outside, member) = (self.outside(), Pid::chain(self.options.me.0, 0));
        if cx.push(outside, member, KvMessage::Checkpoint).is_err() {
            return; // too much waits: the next batch asks again
        }
        self.log_bytes_least = log_bytes;
        if !self.observing {
            // The published view holds on to what the store was; a fresh one lets go of it.
            let _ = cx.push(outside, member, KvMessage::Observe(Some(Query::default())));
            let _ = cx.push(outside, member, KvMessage::Observe(None));
        }
    }

    fn status(node: &Node<Kv>) -> Status {
        let (status, configuration) = (node.status(), node.configuration());
        Status {
            head: configuration.head().0.into(),
            configuration: configuration.prefix_len(),
            log_index: status.last,
            applied_index: status.committed,
            serving: status.joined && status.linked && status.trouble.is_none() && status.place == Place::Member,
        }
    }

    /// Whether what this node had is gone, so that nothing that it says would be right.
    fn is_lost(&self) -> bool {
        matches!(self.trouble, Some(Trouble::LostOwn { .. }))
    }

    /// Whether this node has nothing, and knows of nobody who could say that this is right.
    fn is_empty(&self, cx: &PortContext<'_, NodeRole>) -> bool {
        let node = cx.process(Pid::chain(self.options.me.0, 0)).and_then(NodeRole::node);
        node.is_some_and(|node| {
            let status = node.status();
            status.last == 0 && (!status.linked || status.place == Place::Joiner)
        })
    }

    fn say_trouble(&mut self, status: NodeStatus) {
        if status.trouble != self.trouble {
            match &status.trouble {
                Some(what) => tracing::error!("this node does not serve: {what}"),
                None => tracing::info!("the trouble is over"),
            }
            self.trouble = status.trouble;
        }
    }
}

impl Port<NodeRole> for ChainPort {
    type Ask = Ask;

    fn ask(&mut self, ask: Ask, cx: &mut PortContext<'_, NodeRole>) {
        match ask {
            Ask::Propose(_, sender) if self.is_lost() => {
                let _ = sender.send(Err(Refusal::Lost)); // whoever asked may have gone
            }
            Ask::Read(_, sender) | Ask::Peek(sender) if self.is_lost() => {
                let _ = sender.send(Err(Refusal::Lost)); // as above
            }
            Ask::Peek(sender) if self.is_empty(cx) => {
                let _ = sender.send(Err(Refusal::Empty)); // as above
            }
            Ask::Propose(command, sender) => {
                // What shrinks the store or is small and rare goes on under load. A log that is full frees itself.
                let goes_on = matches!(command, Command::Compact(_) | Command::AlarmLower(_));
                if self.is_stuck(cx) || (cx.is_overloaded() && !goes_on) {
                    let _ = sender.send(Err(Refusal::LogFull)); // whoever asked may have gone
                    return;
                }
                self.request(Asker::Propose(sender), Request::Command(command), cx);
            }
            Ask::Read(spans, sender) => self.request(Asker::Read(sender), Request::Query(Query(spans)), cx),
            Ask::KeepAlive(lease, sender) => self.keep_alive(lease, sender, cx),
            Ask::Remaining(lease, sender) => self.remaining(lease, sender, cx),
            Ask::Status(sender) => {
                let _ = sender.send(Self::status(self.member(cx))); // whoever asked may have gone
            }
            Ask::Peek(sender) => self.request(Asker::Read(sender), Request::Peek(Query::default()), cx),
            Ask::Observe => self.mind_observers(cx),
            Ask::System(request, sender) => self.system.ask(request, sender, cx),
            Ask::Cluster(sender) => {
                if let Some(cluster) = self.system.cluster(self.member(cx), cx) {
                    let _ = sender.send(Box::new(cluster)); // as above
                }
            }
            Ask::Reaches(node, is_reached) => self.system.reaches(node, is_reached, cx),
            Ask::Tick => {
                self.ticked = true;
                self.mind_observers(cx);
                self.system.tick(cx);
                self.tick(cx);
            }
        }
    }

    fn tell(&mut self, from: Pid, _: Pid, message: cluster::Message<Kv>, cx: &mut PortContext<'_, NodeRole>) {
        let message = match message {
            cluster::Message::Chain(message) => message,
            cluster::Message::System(message) => return self.system.tell(message),
        };
        match message {
            Message::Answered { token, answer } => match (self.askers.remove(&token), answer) {
                (Some(Asker::Propose(sender)), Reply::Done(answer)) => {
                    let _ = sender.send(Ok(answer)); // whoever asked may have gone
                }
                (Some(Asker::Read(sender)), Reply::View(view)) => {
                    let _ = sender.send(Ok(view)); // as above
                }
                (Some(Asker::Revoke(lease)), _) => self.lessor.ended(lease),
                (Some(Asker::Alarm), _) => self.alarming = false,
                _ => {} // the port's own, or asked by someone who got an answer before
            },
            Message::Busy { token } => self.end(token, Refusal::Busy),
            Message::NotMember { token } => self.end(token, Refusal::NotMember),
            Message::Left { token } => self.end(token, Refusal::Unknown),
            Message::Observed { mark, answer } => {
                self.revisions.send_replace(Revision(mark));
                if let Some(Reply::View(view)) = answer {
                    self.views.send_replace(view);
                }
            }
            Message::Relay(bytes) => match Note::from_bytes(bytes) {
                Ok(note) => self.noted(from, note, cx),
                Err(error) => tracing::warn!("a note from node {} was not understood: {error}", from.node.0),
            },
            _ => {} // said to a process
        }
    }

    fn after_batch(&mut self, cx: &mut PortContext<'_, NodeRole>) {
        let Some(node) = cx.process(Pid::chain(self.options.me.0, 0)).and_then(NodeRole::node) else { return };
        if cx.now >= self.page_due {
            self.page_due = cx.now + PAGE_EVERY;
            self.page.write(node, cx.wal());
        }
        if node.configuration().head() == self.options.me {
            self.lessor.mind(node, cx.now);
        } else {
            self.lessor = Lessor::default();
        }
        let status = node.status();
        self.say_line(node.configuration());
        self.say_trouble(status);
        self.mind_crowd(status, cx.now);
        self.mind_room(cx);
        self.say_behind(cx);
        self.end_leases(cx);
        self.mind_quota(cx);
        self.mind_log(cx);
    }

    fn may_compact(&mut self, cx: &mut PortContext<'_, NodeRole>) -> bool {
        // Who joins anew begins with an empty store, and must be able to free a log that is full.
        self.stored(cx) != self.compacted_index || cx.wal().is_full()
    }

    fn compaction_began(&mut self, cx: &mut PortContext<'_, NodeRole>) {
        self.compacted_index = self.stored(cx);
    }
}
