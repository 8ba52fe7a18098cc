//! Datagrams: messages over UDP that only members of the cluster can say and hear ([`seal`](Seal)).
//!
//! One message, one datagram: a message may be lost, late or out of order, and is never heard twice. Nothing is answered
//! to what is refused, so nobody can use a node to send more than was sent to it. What is refused is counted by its reason.
//!
//! A node is sent to where the book says that it is ([`Datagrams::know`]: from configuration, and from what members say
//! of themselves); until the book knows, to where it was last heard, so that a newcomer can be answered.

mod host;
mod key_ring;
mod record_file;
mod seal;
mod window;

use std::collections::BTreeMap;
use std::io;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use quorate_model::{NodeId, Wire};
use tokio::net::UdpSocket;

pub use host::DatagramHost;
pub use key_ring::{KEYS_LEN_MAX, Key, KeyRing, KeyRingError, KeyTag};
pub use record_file::{RecordFile, RecordFileError};
pub use seal::{ANYONE, DATAGRAM_BYTES_MAX, Opened, PAYLOAD_BYTES_MAX, Refusal, SEAL_BYTES, Seal, TooLong};
pub use window::WINDOW_LEN;

/// How many nodes are remembered by where they were heard.
const HEARD_LEN_MAX: usize = 1024;

/// How many datagrams are taken at a time.
const BATCH_LEN_MAX: usize = 64;

/// Counters, read by whoever shows them.
#[derive(Debug, Default)]
pub struct DatagramMetrics {
    /// Datagrams handed to the kernel.
    pub sent: AtomicU64,
    /// Their bytes.
    pub sent_bytes: AtomicU64,
    /// Messages heard.
    pub received: AtomicU64,
    /// The bytes of all that arrived.
    pub received_bytes: AtomicU64,
    /// Messages dropped because nobody knows where their node is.
    pub dropped_nowhere: AtomicU64,
    /// Messages dropped because the kernel took no more, or refused the address.
    pub dropped_kernel: AtomicU64,
    /// Messages dropped because they are larger than a datagram.
    pub dropped_too_long: AtomicU64,
    /// How often the kernel reported an error instead of a datagram.
    pub failed_kernel: AtomicU64,
    /// Datagrams refused, by [`Refusal::index`].
    pub refused: [AtomicU64; Refusal::COUNT],
}

impl DatagramMetrics {
    /// How many datagrams were refused for a reason like `refusal`.
    #[must_use]
    pub fn refused(&self, refusal: &Refusal) -> u64 {
        self.refused[refusal.index()].load(Ordering::Relaxed)
    }
}

/// The socket of a node.
pub struct Datagrams<M> {
    socket: UdpSocket,
    seal: Seal,
    book: BTreeMap<NodeId, SocketAddr>,
    heard: BTreeMap<NodeId, SocketAddr>,
    metrics: Arc<DatagramMetrics>,
    /// Room for one datagram, and a byte more to see that one is too long.
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
    messages: PhantomData<fn(M) -> M>,
}

impl<M: Wire> Datagrams<M> {
    /// Sends and receives on `socket`, once the kernel takes something for it.
    ///
    /// # Errors
    /// When the socket is broken.
    pub async fn new(socket: UdpSocket, seal: Seal) -> io::Result<Self> {
        socket.writable().await?; // else the first messages would be dropped, since nobody asked the kernel yet
        Ok(Self {
            socket,
            seal,
            book: BTreeMap::new(),
            heard: BTreeMap::new(),
            metrics: Arc::default(),
            incoming: vec![0; DATAGRAM_BYTES_MAX + 1],
            outgoing: Vec::with_capacity(DATAGRAM_BYTES_MAX),
            messages: PhantomData,
        })
    }

    /// Writes into the book where `node` is.
    pub fn know(&mut self, node: NodeId, address: SocketAddr) {
        self.book.insert(node, address);
        self.heard.remove(&node);
    }

    /// Forgets a node that is gone for good.
    pub fn forget(&mut self, node: NodeId) {
        self.book.remove(&node);
        self.heard.remove(&node);
        self.seal.forget(node);
    }

    /// What seals and opens, to change its keys.
    pub fn seal_mut(&mut self) -> &mut Seal {
        &mut self.seal
    }

    /// What it did so far.
    #[must_use]
    pub fn metrics(&self) -> Arc<DatagramMetrics> {
        Arc::clone(&self.metrics)
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Sends a message, at once or not at all: what cannot be sent is dropped and counted.
    pub fn send(&mut self, to: NodeId, message: &M) {
        let Some(&address) = self.book.get(&to).or_else(|| self.heard.get(&to)) else {
            return count(&self.metrics.dropped_nowhere);
        };
        if self.seal.seal(to, &message.to_bytes(), &mut self.outgoing).is_err() {
            return count(&self.metrics.dropped_too_long);
        }
        match self.socket.try_send_to(&self.outgoing, address) {
            Ok(bytes) => {
                count(&self.metrics.sent);
                self.metrics.sent_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
            }
            Err(_) => count(&self.metrics.dropped_kernel),
        }
    }

    /// Waits for datagrams, and takes those that are there, at most so many that whoever asks has its turn soon: none, if
    /// all were refused, which is counted. May be dropped while it waits: nothing is lost.
    ///
    /// # Errors
    /// When the kernel reports an error of the socket; it can be asked again, after a while.
    pub async fn receive_some(&mut self, into: &mut Vec<(NodeId, M)>) -> io::Result<()> {
        self.socket.readable().await?;
        for _ in 0..BATCH_LEN_MAX {
            let (length, address) = match self.socket.try_recv_from(&mut self.incoming) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            };
            self.metrics.received_bytes.fetch_add(length as u64, Ordering::Relaxed);
            match self.take(length, address) {
                Ok(received) => {
                    count(&self.metrics.received);
                    into.push(received);
                }
                Err(refusal) => count(&self.metrics.refused[refusal.index()]),
            }
        }
        Ok(())
    }

    fn take(&mut self, length: usize, address: SocketAddr) -> Result<(NodeId, M), Refusal> {
        let Opened { from, payload } = self.seal.open(&mut self.incoming[..length])?;
        let message = M::from_bytes(Bytes::copy_from_slice(payload)).map_err(|_| Refusal::Malformed)?;
        if !self.book.contains_key(&from) && (self.heard.len() < HEARD_LEN_MAX || self.heard.contains_key(&from)) {
            self.heard.insert(from, address);
        }
        Ok((from, message))
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
