//! Messages between nodes: framed TCP, one link for each direction of each pair, one write for all that waits.
//!
//! | side | does |
//! |------|------|
//! | sender | dials, says hello, writes all that waits in one call, asks "are you there" when silent, dials again with growing, jittered pauses |
//! | receiver | answers the hello, decodes, puts messages into one bounded mailbox that the host empties a batch at a time |
//!
//! The model allows loss, copies and reordering, so nothing here repeats or orders anything: a full queue drops the newest
//! message and counts it, a broken link loses what was on its way. What is promised is that what arrives was sent by
//! the node it names, in the same cluster, and is whole. Bytes that are not ours close the link they came on, nothing
//! else. Each message carries the sender's hybrid timestamp, and receiving it moves the own hybrid clock on.
//!
//! Source: notes "Asynchronous Message Passing"; hybrid clocks: Kulkarni et al., OPODIS 2014.

mod hello;
mod incoming;
mod outgoing;
mod release;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quorate_model::codec::{DecodeError, FRAME_BYTES_MAX, HEADER_BYTES, Reader, Wire, put_frame};
use quorate_model::time::{HybridClock, HybridTime};
use quorate_model::{NodeId, Pid};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

pub use hello::{Hello, HelloError, take_frame};
use outgoing::Outgoing;
pub use release::Release;

/// A link on which nothing was heard for so long is dead.
pub const SILENCE_MAX: Duration = Duration::from_secs(3);

/// How often a sender makes sure that the other side hears something.
pub const PING_EVERY: Duration = Duration::from_millis(500);

/// A timestamp further ahead than this is not taken over: one broken clock must not drag all others along.
pub const HYBRID_AHEAD_MS_MAX: u64 = 3_600_000;

/// Who we are and whom we talk to.
#[derive(Clone, Debug)]
pub struct NetConfig {
    /// The name of the cluster.
    pub cluster: String,
    /// This node.
    pub node: NodeId,
    /// The others at first, each with an address as `host:port`, resolved at each dial; see [`Net::know`].
    pub peers: BTreeMap<NodeId, String>,
    /// How many messages may wait for the host.
    pub mailbox_len_max: usize,
    /// How many bytes they may have been on the wire, all together.
    pub mailbox_bytes_max: usize,
    /// How many bytes may wait for one peer.
    pub outgoing_bytes_max: usize,
}

impl NetConfig {
    /// A configuration with the usual bounds.
    #[must_use]
    pub fn new(cluster: impl Into<String>, node: NodeId, peers: BTreeMap<NodeId, String>) -> Self {
        let (mailbox_len_max, outgoing_bytes_max) = (64 << 10, FRAME_BYTES_MAX + (16 << 20));
        let mailbox_bytes_max = 4 * FRAME_BYTES_MAX;
        Self { cluster: cluster.into(), node, peers, mailbox_len_max, mailbox_bytes_max, outgoing_bytes_max }
    }
}

/// A message that arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inbound<M> {
    /// Who sent it: a process of the node at the other end of the link.
    pub from: Pid,
    /// To whom: a process of this node.
    pub to: Pid,
    /// What it says.
    pub message: M,
    /// When it was sent, by the sender's hybrid clock.
    pub sent: HybridTime,
    /// How many bytes it was on the wire.
    pub wire_bytes: usize,
}

/// What the net did. Read at any time from any thread.
#[derive(Debug, Default)]
pub struct NetMetrics {
    /// Messages handed to a queue for a peer.
    pub sent: AtomicU64,
    /// Messages put into the mailbox.
    pub received: AtomicU64,
    /// Bytes written to peers.
    pub sent_bytes: AtomicU64,
    /// Bytes read from peers.
    pub received_bytes: AtomicU64,
    /// Writes to peers.
    pub writes: AtomicU64,
    /// Messages dropped because the queue for the peer was full.
    pub dropped_outgoing: AtomicU64,
    /// Messages dropped because the mailbox was full.
    pub dropped_mailbox: AtomicU64,
    /// Messages dropped because they were for no process of this node or for no known node.
    pub dropped_misrouted: AtomicU64,
    /// Timestamps that were too far ahead to be taken over.
    pub ahead: AtomicU64,
    /// Hellos that were refused, on either side.
    pub refused: AtomicU64,
    /// Links closed because bytes came that were not ours.
    pub malformed: AtomicU64,
    /// Links that came up, either direction.
    pub links_up: AtomicU64,
    /// Links that went down, either direction.
    pub links_down: AtomicU64,
}

/// The messages that wait for the host. Bounded; what does not fit is dropped and counted.
struct Mailbox<M> {
    waiting: Mutex<Waiting<M>>,
    len_max: usize,
    bytes_max: usize,
    doorbell: Arc<Notify>,
}

struct Waiting<M> {
    queue: VecDeque<Inbound<M>>,
    wire_bytes: usize,
}

impl<M> Mailbox<M> {
    fn waiting(&self) -> MutexGuard<'_, Waiting<M>> {
        // The queue is whole after each statement, so a panic elsewhere leaves nothing half done in it.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put_all(&self, messages: &mut Vec<Inbound<M>>, metrics: &NetMetrics) {
        if messages.is_empty() {
            return;
        }
        let count = messages.len() as u64;
        let mut dropped = 0;
        let mut waiting = self.waiting();
        for inbound in messages.drain(..) {
            let wire_bytes = waiting.wire_bytes + inbound.wire_bytes;
            if waiting.queue.len() < self.len_max && wire_bytes <= self.bytes_max {
                waiting.wire_bytes = wire_bytes;
                waiting.queue.push_back(inbound);
            } else {
                dropped += 1;
            }
        }
        drop(waiting);
        metrics.received.fetch_add(count - dropped, Ordering::Relaxed);
        metrics.dropped_mailbox.fetch_add(dropped, Ordering::Relaxed);
        self.doorbell.notify_one();
    }
}

/// What both directions share.
struct Common<M> {
    config: NetConfig,
    instance: u64,
    mailbox: Mailbox<M>,
    metrics: Arc<NetMetrics>,
    /// Whose links are taken.
    known: Mutex<BTreeSet<NodeId>>,
    /// Refusals that were logged, so that each is logged once.
    logged: Mutex<BTreeSet<String>>,
}

/// How many different refusals are remembered as logged.
const LOGGED_COUNT_MAX: usize = 256;

impl<M> Common<M> {
    fn known(&self) -> MutexGuard<'_, BTreeSet<NodeId>> {
        // The set is whole after each statement, so a panic elsewhere leaves nothing half done in it.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hello_to(&self, to: NodeId) -> Hello {
        let (release, cluster) = (Release::OWN, self.config.cluster.clone());
        Hello { release, cluster, node: self.config.node, instance: self.instance, to }
    }

    fn note_refusal(&self, peer: &str, error: &HelloError) {
        self.metrics.refused.fetch_add(1, Ordering::Relaxed);
        if error.is_passing() {
            return;
        }
        let text = error.to_string();
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.len() < LOGGED_COUNT_MAX && logged.insert(text) {
            tracing::warn!(peer, %error, "link refused");
        }
    }
}

/// The links of a node, as the host holds them.
///
/// Dropping it closes all links.
pub struct Net<M> {
    common: Arc<Common<M>>,
    peers: Vec<Peer>,
    hybrid: HybridClock,
    wall_ms: u64,
    listening: JoinHandle<()>,
}

struct Peer {
    node: NodeId,
    address: String,
    dialing: JoinHandle<()>,
    /// Encoded, not handed over yet.
    gathered: Vec<u8>,
    outgoing: Arc<Outgoing>,
}

impl<M: Wire + Send + 'static> Net<M> {
    /// Begins to listen on `listener` and to dial all peers. `doorbell` is rung when a message arrives.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[must_use]
    pub fn start(config: NetConfig, listener: TcpListener, doorbell: Arc<Notify>) -> Self {
        let waiting = Mutex::new(Waiting { queue: VecDeque::new(), wire_bytes: 0 });
        let (len_max, bytes_max) = (config.mailbox_len_max, config.mailbox_bytes_max);
        let mailbox = Mailbox { waiting, len_max, bytes_max, doorbell };
        let common = Arc::new(Common {
            config,
            instance: rand::random(),
            mailbox,
            metrics: Arc::default(),
            known: Mutex::default(),
            logged: Mutex::default(),
        });
        let listening = tokio::spawn(incoming::listen(Arc::clone(&common), listener));
        let (peers, hybrid) = (Vec::new(), HybridClock::default());
        let mut net = Self { common, peers, hybrid, wall_ms: 0, listening };
        net.know(&net.common.config.peers.clone());
        net
    }

    /// These are the others from now on: links to all others, in both directions, are closed, and what waited for them is
    /// lost. A peer whose address has changed is dialed anew.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn know(&mut self, peers: &BTreeMap<NodeId, String>) {
        let own = self.common.config.node;
        *self.common.known() = peers.keys().copied().filter(|node| *node != own).collect();
        let metrics = &self.common.metrics;
        self.peers.retain(|peer| {
            let stays = peers.get(&peer.node) == Some(&peer.address);
            if !stays {
                note_link(metrics, &peer.outgoing.is_up, false);
            }
            stays
        });
        for (&node, address) in peers {
            let Err(index) = self.peers.binary_search_by_key(&node, |peer| peer.node) else { continue };
            if node != own {
                self.peers.insert(index, Peer::dialed(&self.common, node, address.clone()));
            }
        }
    }

    /// Says what the wall clock shows, for the timestamps of what is sent and taken until the next call.
    pub fn set_wall_ms(&mut self, wall_ms: u64) {
        self.wall_ms = wall_ms;
    }

    /// Stamps an event of this node.
    pub fn stamp(&mut self) -> HybridTime {
        self.hybrid.tick(self.wall_ms)
    }

    /// Puts a message into the queue for its node. It leaves with [`Net::flush`]. If there is no room or no such node, it
    /// is dropped and counted.
    ///
    /// # Panics
    /// If the message is larger than [`FRAME_BYTES_MAX`].
    pub fn send(&mut self, from: Pid, to: Pid, message: &M) {
        let metrics = &self.common.metrics;
        let Ok(index) = self.peers.binary_search_by_key(&to.node, |peer| peer.node) else {
            metrics.dropped_misrouted.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let stamp = self.hybrid.tick(self.wall_ms);
        let peer = &mut self.peers[index];
        let before = peer.gathered.len();
        put_frame(MESSAGE_KIND, &mut peer.gathered, |out| {
            stamp.encode(out);
            from.encode(out);
            to.encode(out);
            message.encode(out);
        });
        let waiting = peer.outgoing.waiting_bytes() + peer.gathered.len();
        if waiting > self.common.config.outgoing_bytes_max {
            peer.gathered.truncate(before);
            metrics.dropped_outgoing.fetch_add(1, Ordering::Relaxed);
        } else {
            metrics.sent.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Lets everything leave that was sent, with one write a peer.
    pub fn flush(&mut self) {
        for peer in &mut self.peers {
            if !peer.gathered.is_empty() {
                peer.outgoing.hand_over(&mut peer.gathered);
            }
        }
    }

    /// Moves up to `len_max` messages that arrived to the end of `into`. Whether more wait.
    pub fn take(&mut self, into: &mut VecDeque<Inbound<M>>, len_max: usize) -> bool {
        let mut waiting = self.common.mailbox.waiting();
        let count = waiting.queue.len().min(len_max);
        let first = into.len();
        if into.is_empty() && count == waiting.queue.len() {
            std::mem::swap(into, &mut waiting.queue);
            waiting.wire_bytes = 0;
        } else {
            let wire_bytes: usize = waiting.queue.range(..count).map(|inbound| inbound.wire_bytes).sum();
            waiting.wire_bytes -= wire_bytes;
            into.extend(waiting.queue.drain(..count));
        }
        let more = !waiting.queue.is_empty();
        drop(waiting);
        for inbound in into.range(first..) {
            if inbound.sent.wall_ms <= self.wall_ms.saturating_add(HYBRID_AHEAD_MS_MAX) {
                self.hybrid.receive(self.wall_ms, inbound.sent);
            } else {
                self.common.metrics.ahead.fetch_add(1, Ordering::Relaxed);
            }
        }
        more
    }

    /// How many messages wait for the host.
    #[must_use]
    pub fn mailbox_len(&self) -> usize {
        self.common.mailbox.waiting().queue.len()
    }

    /// Whether the link to `node` is up.
    #[must_use]
    pub fn is_up(&self, node: NodeId) -> bool {
        self.peers.iter().any(|peer| peer.node == node && peer.outgoing.is_up.load(Ordering::Relaxed))
    }

    /// Each peer, and whether the link to it is up.
    pub fn links(&self) -> impl Iterator<Item = (NodeId, bool)> + '_ {
        self.peers.iter().map(|peer| (peer.node, peer.outgoing.is_up.load(Ordering::Relaxed)))
    }

    /// What the net did so far.
    #[must_use]
    pub fn metrics(&self) -> Arc<NetMetrics> {
        Arc::clone(&self.common.metrics)
    }
}

const MESSAGE_KIND: u8 = hello::MESSAGE;

impl Peer {
    fn dialed<M: Wire + Send + 'static>(common: &Arc<Common<M>>, node: NodeId, address: String) -> Self {
        let outgoing = Arc::new(Outgoing::default());
        let dial = outgoing::dial(Arc::clone(common), node, address.clone(), Arc::clone(&outgoing));
        Self { node, address, dialing: tokio::spawn(dial), gathered: Vec::new(), outgoing }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.dialing.abort();
    }
}

impl<M> Drop for Net<M> {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// Decodes the payload of a message frame.
///
/// # Errors
/// When the bytes are no message.
pub fn decode_message<M: Wire>(payload: bytes::Bytes) -> Result<Inbound<M>, DecodeError> {
    let wire_bytes = HEADER_BYTES + payload.len();
    let mut reader = Reader::new(payload);
    let sent = HybridTime::decode(&mut reader)?;
    let from = Pid::decode(&mut reader)?;
    let to = Pid::decode(&mut reader)?;
    let message = M::decode(&mut reader)?;
    reader.end()?;
    Ok(Inbound { from, to, message, sent, wire_bytes })
}

fn note_link(metrics: &NetMetrics, is_up: &AtomicBool, up: bool) {
    if is_up.swap(up, Ordering::Relaxed) != up {
        let counter = if up { &metrics.links_up } else { &metrics.links_down };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}
