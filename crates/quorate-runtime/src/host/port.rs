//! A port: where a host meets whoever stands outside the system.

use std::collections::BTreeMap;

use quorate_model::time::HybridTime;
use quorate_model::{Instant, NodeId, Pid, Process, Wire};

use super::driver::{Driver, HostMetrics, Links};
use crate::flight::Kind;
use crate::wal::Wal;

/// What embeds a host: turns asks from outside into messages, and messages to the outside into answers.
pub trait Port<P: Process> {
    /// Something asked from outside the system.
    type Ask: Send + 'static;

    /// Takes an ask: most often, [`PortContext::push`]es a message from an outside pid to a process.
    fn ask(&mut self, ask: Self::Ask, cx: &mut PortContext<'_, P>);

    /// A process tells an outside pid something; every record before it is durable.
    fn tell(&mut self, from: Pid, to: Pid, message: P::Message, cx: &mut PortContext<'_, P>);

    /// Comes after each batch, before what the batch wrote and sent leaves.
    fn after_batch(&mut self, cx: &mut PortContext<'_, P>) {
        let _ = cx;
    }

    /// Whether the log may be compacted now, when it has grown enough. Asked again after each batch until it may.
    fn may_compact(&mut self, cx: &mut PortContext<'_, P>) -> bool {
        let _ = cx;
        true
    }

    /// A compaction of the log, which the port allowed, began.
    fn compaction_began(&mut self, cx: &mut PortContext<'_, P>) {
        let _ = cx;
    }
}

/// Too much waits already. Nothing was taken; whoever asked should hear "busy".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("busy: too much waits for the processes of this node")]
pub struct Busy;

/// What a port has at hand.
pub struct PortContext<'a, P: Process> {
    /// The reading of the chip clock at the start of the batch.
    pub now: Instant,
    pub(super) driver: &'a mut Driver<P>,
    pub(super) links: &'a mut dyn Links<P::Message>,
}

impl<P: Process> PortContext<'_, P>
where
    P::Message: Wire,
    P::Record: Wire,
{
    /// This node.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.driver.node()
    }

    /// Hands a message to a process, most often from an outside pid of this node.
    ///
    /// # Errors
    /// If the receiver is of this node and too much waits.
    pub fn push(&mut self, from: Pid, to: Pid, message: impl Into<P::Message>) -> Result<(), Busy> {
        self.driver.push(from, to, message.into(), self.links)
    }

    /// The process `pid`, if this node runs it.
    #[must_use]
    pub fn process(&self, pid: Pid) -> Option<&P> {
        self.driver.process(pid)
    }

    /// All processes of this node, by pid.
    pub fn processes(&self) -> impl Iterator<Item = (Pid, &P)> {
        self.driver.processes()
    }

    /// Stamps an event with the hybrid clock of this node.
    pub fn stamp(&mut self) -> HybridTime {
        self.links.stamp()
    }

    /// These are the other nodes from now on, each with its address; see [`crate::net::Net::know`].
    pub fn know(&mut self, peers: &BTreeMap<NodeId, String>) {
        self.links.know(peers);
    }

    /// The log: how full it is, and what it did.
    #[must_use]
    pub fn wal(&self) -> &Wal {
        self.driver.wal()
    }

    /// What the host did so far.
    #[must_use]
    pub fn metrics(&self) -> HostMetrics {
        self.driver.metrics()
    }

    /// Whether new work should be refused: the log is full, or too much waits for the disk or the processes.
    #[must_use]
    pub fn is_overloaded(&self) -> bool {
        self.driver.is_overloaded()
    }

    /// Notes something in the flight recorder.
    pub fn note(&mut self, first: u64, second: u64) {
        self.driver.flight.note(self.now, Kind::Port, first, second);
    }
}
