//! A keyspace as the gateways see it: a handle to the loop that owns it.
//!
//! Any number of gateway threads hold a [`Keyspace`]; each call is one message to the loop and one answer. Reads get a
//! [`View`], a snapshot that costs nothing to take, and do their work on the gateway's own thread.

mod lessor;
mod note;
mod page;
mod port;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use quorate_machines::kv::{Answer, Command, LeaseId, Revision, Span};
use quorate_model::NodeId;
use quorate_protocols::chain::{Configuration, NodeStatus, swami};
use quorate_protocols::paxos::log::{Outcome, Request};
use quorate_runtime::store::{DiskTable, KEY_BYTES_MAX};
use tokio::sync::{mpsc, oneshot, watch};

pub use page::Page;
pub use port::{ChainPort, Founding, PortOptions};

/// What the store puts around a key, in bytes, at most.
const KEY_OVERHEAD_BYTES: usize = 64;

/// The table that this node's store is in.
pub type StoreTable = DiskTable;
/// The store, as the machine that the log drives.
pub type Kv = quorate_machines::kv::Kv<StoreTable>;
/// A view of the store.
pub type View = quorate_machines::kv::View<StoreTable>;

/// Why a keyspace did not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Its queue is full. Nothing happened; try again later.
    #[error("etcdserver: too many requests")]
    Busy,
    /// The log of this node, or of one that the chain waits for, is full until a checkpoint frees it or its disk has room
    /// again. Nothing happened; make room, and try again.
    #[error("no room for writes: a member's disk or log is full, or a member is behind; the members' logs say which")]
    LogFull,
    /// A key is longer than the store can hold. Nothing happened, and never will.
    #[error("etcdserver: request is too large")]
    KeyTooLong,
    /// The request went out and no answer came in time: it may or may not take effect.
    #[error("etcdserver: request timed out")]
    Unknown,
    /// This node's data folder was lost or replaced. Nothing happened; ask another node, and put the folder back.
    #[error("etcdserver: corrupt cluster")]
    Lost,
    /// This node has nothing, and no neighbour has said yet whether there should be something. Ask again, or another node.
    #[error("etcdserver: no leader")]
    Empty,
    /// This node is no member of the chain. Nothing happened; ask another node.
    #[error("etcdserver: no leader")]
    NotMember,
    /// The members asked for make no log. Nothing happened.
    #[error("etcdserver: bad member set")]
    Unfit,
    /// The keyspace stopped. Nothing happened; ask another node.
    #[error("etcdserver: server stopped")]
    Stopped,
}

/// What the loop is asked.
#[derive(Debug)]
pub enum Ask {
    /// Order a command; answer when it is committed and applied here.
    Propose(Command, oneshot::Sender<Result<Answer, Refusal>>),
    /// A view that holds every write to `spans` that was acknowledged before this question, anywhere.
    Read(Vec<Span>, oneshot::Sender<Result<View, Refusal>>),
    /// Renew a lease; `None` when it does not exist.
    KeepAlive(LeaseId, oneshot::Sender<Result<Option<i64>, Refusal>>),
    /// How long a lease has left and what it was granted; `None` when it does not exist.
    Remaining(LeaseId, oneshot::Sender<Result<Option<LeaseTime>, Refusal>>),
    /// The store as this node has it, perhaps behind others.
    Peek(oneshot::Sender<Result<View, Refusal>>),
    /// Whether anybody wants views has changed.
    Observe,
    /// How the loop is.
    Status(oneshot::Sender<Status>),
    /// Ask the log of the `_system` keyspace.
    System(Request<swami::Command, swami::Query>, oneshot::Sender<Result<Outcome<swami::Answer>, Refusal>>),
    /// The cluster as this node knows it.
    Cluster(oneshot::Sender<Box<Cluster>>),
    /// Gossip reaches the node, or does not.
    Reaches(NodeId, bool),
    /// Time has passed.
    Tick,
}

/// The time of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseTime {
    /// What was granted, in seconds.
    pub granted_s: i64,
    /// What is left, in whole seconds.
    pub remaining_s: i64,
}

/// The cluster, as one node knows it.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// Nodes and chains.
    pub state: swami::State,
    /// The members of the log that decides on them.
    pub system: Vec<NodeId>,
    /// Who decides, as far as it was heard.
    pub swami: Option<NodeId>,
    /// How the node's own member of the chain stands.
    pub own: NodeStatus,
    /// What is left of its right to read.
    pub right_left: Duration,
    /// What it acts on.
    pub acts_on: Configuration,
}

/// How a keyspace's loop is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The node at the head of the chain, as a member id; 0 when not known.
    pub head: u64,
    /// The length of the prefix of the configuration log that this node has: etcd's "term".
    pub configuration: u64,
    /// The last index of the log.
    pub log_index: u64,
    /// The last applied index.
    pub applied_index: u64,
    /// Whether the node serves: it has its neighbours and is caught up.
    pub serving: bool,
}

/// A handle to a keyspace's loop.
#[derive(Clone, Debug)]
pub struct Keyspace {
    asks: mpsc::Sender<Ask>,
    /// The revision of the store, as far as it may be seen outside.
    revisions: watch::Receiver<Revision>,
    /// The newest view, while somebody wants views.
    views: watch::Receiver<View>,
    /// How many want views.
    observer_count: Arc<AtomicUsize>,
    /// How long to wait for an answer before saying that the outcome is unknown.
    patience: Duration,
}

/// The loop's end of a keyspace.
#[derive(Debug)]
pub struct KeyspaceEnd {
    /// What gateways ask.
    pub asked: mpsc::Receiver<Ask>,
    /// The asking side, for what the node asks itself.
    pub asks: mpsc::Sender<Ask>,
    /// Where the revision is published, always.
    pub revisions: watch::Sender<Revision>,
    /// Where views are published, while somebody wants them: a view that is held makes the next batch of writes copy what
    /// it changes, so none is made for nobody.
    pub views: watch::Sender<View>,
    /// How many want views.
    pub observer_count: Arc<AtomicUsize>,
}

/// Views as they come, for as long as this is held.
#[derive(Debug)]
pub struct Views {
    keyspace: Keyspace,
}

impl Views {
    fn of(keyspace: Keyspace) -> Self {
        keyspace.observer_count.fetch_add(1, Ordering::Relaxed);
        let views = Self { keyspace };
        views.nudge();
        views
    }

    /// When the loop is too busy to take it, it looks by itself at the next tick.
    fn nudge(&self) {
        let _ = self.keyspace.asks.try_send(Ask::Observe);
    }
}

impl Drop for Views {
    fn drop(&mut self) {
        self.keyspace.observer_count.fetch_sub(1, Ordering::Relaxed);
        self.nudge();
    }
}

impl Keyspace {
    /// A handle and the loop's end of it. `view` is the store as it was opened; `asks_len_max` asks may wait.
    #[must_use]
    pub fn new(view: View, asks_len_max: usize, patience: Duration) -> (Self, KeyspaceEnd) {
        let (asks, asked) = mpsc::channel(asks_len_max);
        let (revisions, revisions_seen) = watch::channel(view.revision());
        let (views, views_seen) = watch::channel(view);
        let observer_count = Arc::new(AtomicUsize::new(0));
        let keyspace = Self {
            asks: asks.clone(),
            revisions: revisions_seen,
            views: views_seen,
            observer_count: Arc::clone(&observer_count),
            patience,
        };
        (keyspace, KeyspaceEnd { asked, asks, revisions, views, observer_count })
    }

    /// Orders a command, and waits until it is committed and applied on this node.
    ///
    /// # Errors
    /// See [`Refusal`]; `Unknown` is never turned into a failure.
    pub async fn propose(&self, command: Command) -> Result<Answer, Refusal> {
        if command.longest_key_bytes() + KEY_OVERHEAD_BYTES > KEY_BYTES_MAX {
            return Err(Refusal::KeyTooLong);
        }
        let (answer, answered) = oneshot::channel();
        self.ask(Ask::Propose(command, answer), answered).await?
    }

    /// A linearizable view of `spans`: it holds every write to them that was acknowledged anywhere before this call.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub async fn read(&self, spans: Vec<Span>) -> Result<View, Refusal> {
        let (answer, answered) = oneshot::channel();
        self.ask(Ask::Read(spans, answer), answered).await?
    }

    /// The store as this node has it: serializable, perhaps behind others.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub async fn peek(&self) -> Result<View, Refusal> {
        let (answer, answered) = oneshot::channel();
        self.ask(Ask::Peek(answer), answered).await?
    }

    /// Asks for views as they come, for as long as the answer is held; see [`Keyspace::published`].
    #[must_use]
    pub fn observe(&self) -> Views {
        Views::of(self.clone())
    }

    /// The newest view that was published, while somebody observes; it may be old when nobody does.
    #[must_use]
    pub fn published(&self) -> View {
        self.views.borrow().clone()
    }

    /// The stream of published views: each is at least as new as the one before.
    #[must_use]
    pub fn views(&self) -> watch::Receiver<View> {
        self.views.clone()
    }

    /// The stream of revisions.
    #[must_use]
    pub fn revisions(&self) -> watch::Receiver<Revision> {
        self.revisions.clone()
    }

    /// The revision of the store on this node.
    #[must_use]
    pub fn revision(&self) -> Revision {
        *self.revisions.borrow()
    }

    /// Renews a lease and says its term in seconds; `None` when it does not exist.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub async fn keep_alive(&self, lease: LeaseId) -> Result<Option<i64>, Refusal> {
        let (answer, answered) = oneshot::channel();
        self.ask(Ask::KeepAlive(lease, answer), answered).await?
    }

    /// The time of a lease; `None` when it does not exist.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub async fn remaining(&self, lease: LeaseId) -> Result<Option<LeaseTime>, Refusal> {
        let (answer, answered) = oneshot::channel();
        self.ask(Ask::Remaining(lease, answer), answered).await?
    }

    /// Asks the log of the `_system` keyspace.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub async fn system(
        &self,
        request: Request<swami::Command, swami::Query>,
    ) -> Result<Outcome<swami::Answer>, Refusal> {
        let (answer, answered) = oneshot::channel();
        self.ask(Ask::System(request, answer), answered).await?
    }

    /// The cluster as this node knows it, perhaps behind others.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub async fn cluster(&self) -> Result<Box<Cluster>, Refusal> {
        let (answer, answered) = oneshot::channel();
        self.ask(Ask::Cluster(answer), answered).await
    }

    /// Says whether gossip reaches a node. Nothing that must be right depends on it.
    pub async fn reaches(&self, node: NodeId, is_reached: bool) {
        let _ = self.asks.send(Ask::Reaches(node, is_reached)).await; // a loop that is gone needs no news
    }

    /// How the loop is.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub async fn status(&self) -> Result<Status, Refusal> {
        let (answer, answered) = oneshot::channel();
        self.ask(Ask::Status(answer), answered).await
    }

    async fn ask<T>(&self, ask: Ask, answered: oneshot::Receiver<T>) -> Result<T, Refusal> {
        match self.asks.try_send(ask) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => return Err(Refusal::Busy),
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(Refusal::Stopped),
        }
        match tokio::time::timeout(self.patience, answered).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(Refusal::Unknown), // the loop went down with the request
            Err(_) => Err(Refusal::Unknown),
        }
    }
}
